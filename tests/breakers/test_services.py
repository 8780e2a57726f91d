"""What operators do to breakers: with a reason, an end, a version, and an artifact."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from breakers import CircuitOpenError, registry
from breakers.errors import (
    ActRefusedError,
    BreakerChangedError,
    EndRefusedError,
    UnknownBreakerError,
)
from breakers.models import BreakerState
from breakers.services import (
    get_breaker_row,
    list_breakers,
    override_breaker,
    reset_breaker,
)
from ledger.models import Artifact

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def force_open(name: str = "openai", **changes):
    asked = {
        "mode": "forced_open",
        "reason": "their status page is red",
        "until": timezone.now() + HOUR,
        "actor": "user:7",
    }
    return override_breaker(name, **(asked | changes))


def make_row(name: str = "openai", **columns) -> BreakerState:
    now = timezone.now()
    return BreakerState.objects.create(name=name, **({"updated_at": now} | columns))


def make_open(name: str = "openai", *, seconds: float = 30, **columns) -> BreakerState:
    now = timezone.now()
    return make_row(
        name,
        **{
            "state": "OPEN",
            "version": 1,
            "trips": 1,
            "reason": "5 failures in a row",
            "opened_at": now,
            "open_until": now + timedelta(seconds=seconds),
            "last_error": "ConnectError",
        }
        | columns,
    )


@pytest.fixture
def local(_alone):
    """Make a breaker of this process alone, gone after the test."""
    made = []

    def make(name: str, **options):
        made.append(name)
        return registry.get_breaker(name, **options)

    yield make
    for name in made:
        registry._breakers.pop(name)


def test_an_override_and_its_artifact_are_made_together():
    told = force_open()

    artifact = Artifact.objects.get()
    assert (told.state, told.circuit_state, told.version) == (
        "FORCED_OPEN",
        "CLOSED",
        1,
    )
    assert (told.override.mode, told.override.by) == ("forced_open", "user:7")
    assert (artifact.type, artifact.subject) == ("override", "breaker:openai")
    assert (artifact.fields["source"], artifact.actor) == ("operator", "user:7")
    assert artifact.details["before"] == "auto"
    assert artifact.details["after"] == "forced_open"


def test_auto_ends_an_override_and_says_what_it_was():
    force_open()

    told = override_breaker(
        "openai", "auto", reason="they are back", until=None, actor="user:8"
    )

    row = BreakerState.objects.get()
    assert (told.state, told.override.mode, told.version) == ("CLOSED", "auto", 2)
    assert (row.override, row.override_by, row.override_until) == ("", "", None)
    assert Artifact.objects.latest("pk").details["before"] == "forced_open"


def test_ending_nothing_changes_and_records_nothing():
    told = override_breaker(
        "openai", "auto", reason="they are back", until=None, actor="user:8"
    )

    assert told.version == 0
    assert not Artifact.objects.exists()


def test_a_reset_closes_the_circuit_and_keeps_the_override():
    make_open(opens=3, override="metrics_only", override_reason="looking at it")

    told = reset_breaker("openai", reason="key was renewed", actor="user:7")

    artifact = Artifact.objects.get()
    assert (told.circuit_state, told.state) == ("CLOSED", "METRICS_ONLY")
    assert (told.version, told.open_until, told.trips) == (2, None, 1)
    assert BreakerState.objects.get().opens == 0
    assert (artifact.type, artifact.details["before"]) == ("breaker_reset", "OPEN")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": "closed"}, "mode"),
        ({"mode": ""}, "mode"),
        ({"mode": "auto"}, "until"),
        ({"reason": "abcd"}, "reason"),
        ({"reason": "   a    "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"until": None}, "until"),
        ({"until": timezone.now() - HOUR}, "until"),
        ({"until": timezone.now() + 9 * HOUR}, "until"),
    ],
)
def test_an_override_that_may_not_be_names_its_field(changes, field):
    with pytest.raises(ActRefusedError) as refused:
        force_open(**changes)

    assert refused.value.field == field
    assert not BreakerState.objects.exists()
    assert not Artifact.objects.exists()


def test_only_who_may_go_without_an_end_does():
    with pytest.raises(EndRefusedError):
        force_open(until=None)

    assert force_open(until=None, endless=True).override.until is None


def test_a_reset_needs_its_reason_too():
    with pytest.raises(ActRefusedError) as refused:
        reset_breaker("openai", reason="no", actor="user:7")

    assert refused.value.field == "reason"


def test_an_unknown_breaker_is_refused_and_the_known_are_named():
    make_row("search")

    for act in (
        lambda: get_breaker_row("nobody"),
        lambda: force_open("nobody"),
        lambda: reset_breaker("nobody", reason="enough", actor="user:7"),
    ):
        with pytest.raises(UnknownBreakerError) as refused:
            act()

        assert {"openai", "search", "stripe"} <= set(refused.value.known)


def test_an_act_for_an_older_version_is_refused_and_changes_nothing():
    force_open()

    with pytest.raises(BreakerChangedError) as refused:
        force_open(mode="disabled", if_version=0)

    assert (refused.value.version, refused.value.state) == (1, "FORCED_OPEN")
    assert BreakerState.objects.get().override == "forced_open"
    assert force_open(mode="disabled", if_version=1).state == "DISABLED"


def test_the_same_act_posted_twice_acts_once():
    key = uuid4()

    first = force_open(event_id=key)
    again = force_open(event_id=key, if_version=0)

    assert (first.version, again.version) == (1, 1)
    assert Artifact.objects.count() == 1


def test_what_is_listed_is_the_table_the_settings_and_this_process(local):
    make_row("search")
    local("prices")

    names = [row.name for row in list_breakers()]

    assert names == sorted(
        {"search", "prices", *("openai", "stripe", "supabase", "coinbase")}
    )


def test_one_query_lists_them_all(django_assert_num_queries, local):
    for number in range(30):
        make_row(f"b{number}")

    with django_assert_num_queries(1):
        assert len(list_breakers()) == 34
    with django_assert_num_queries(1):
        get_breaker_row("b7")


def test_an_open_circuit_whose_time_is_over_shows_half_open():
    make_open("stripe", seconds=30)
    make_open("coinbase", seconds=-1)

    assert get_breaker_row("stripe").state == "OPEN"
    assert get_breaker_row("coinbase").state == "HALF_OPEN"


def test_an_override_that_is_over_is_shown_no_more():
    make_open(override="disabled", override_until=timezone.now() - HOUR)

    told = get_breaker_row("openai")

    assert (told.state, told.override.mode) == ("OPEN", "auto")


def test_an_act_is_in_force_in_this_process_once_it_is_committed(
    local, django_capture_on_commit_callbacks
):
    breaker = local("prices", reset_timeout=30.0)

    with django_capture_on_commit_callbacks(execute=True):
        force_open("prices")
        before = breaker.state

    assert before == "CLOSED"
    with pytest.raises(CircuitOpenError):
        breaker.execute(lambda: 1)


def test_a_reset_counts_from_what_this_process_knows_and_the_table_not_yet(
    local, django_capture_on_commit_callbacks
):
    breaker = local("prices", failure_threshold=1)
    with pytest.raises(ZeroDivisionError):
        breaker.execute(lambda: 1 / 0)
    assert get_breaker_row("prices").state == "OPEN"

    with django_capture_on_commit_callbacks(execute=True):
        told = reset_breaker("prices", reason="it was our mistake", actor="user:7")

    assert (told.state, told.version) == ("CLOSED", 2)
    assert breaker.state == "CLOSED"


def test_failures_and_threshold_are_those_of_this_process(local):
    breaker = local("prices", failure_threshold=3)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            breaker.execute(lambda: 1 / 0)

    told = get_breaker_row("prices")

    assert (told.failures, told.threshold) == (2, 3)


def test_the_reads_have_names():
    now = timezone.now()
    make_open("a")
    make_row("b", override="disabled", override_until=now + HOUR)
    make_row("c", override="disabled", override_until=now - HOUR)
    make_row("d", override="disabled")

    def names(rows):
        return "".join(row.name for row in rows)

    assert names(BreakerState.objects.open_now()) == "a"
    assert names(BreakerState.objects.overridden(now)) == "bd"
    assert names(BreakerState.objects.lapsed(now)) == "c"
