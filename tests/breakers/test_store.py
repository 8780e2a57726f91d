"""The table is the truth: processes that share nothing else agree by it."""

import os
import time
from dataclasses import dataclass, replace
from datetime import timedelta

import hypothesis
import pytest
from django.utils import timezone
from hypothesis import example, given
from hypothesis import strategies as st

from breakers import CircuitBreaker, registry
from breakers.models import BreakerState
from breakers.permits import Refusal
from breakers.services import override_breaker
from breakers.states import Row
from breakers.store import Store, merge
from ledger.models import Artifact
from tests.server import wait_for

CLOSED = Row("search", version=4)
OPEN = Row("search", state="OPEN", version=4, remaining=30.0, trips=1)
FORCED = {"override": "forced_open", "override_by": "user:7", "override_remaining": 60}


# -- What two versions come to -----------------------------------------------------
@pytest.mark.parametrize(
    ("mine", "theirs", "agreed"),
    [
        (CLOSED, CLOSED, CLOSED),
        (CLOSED, OPEN, CLOSED),
        (OPEN, OPEN, CLOSED),
        (CLOSED, replace(CLOSED, version=5, **FORCED), CLOSED),
        (replace(OPEN, version=5), replace(CLOSED, version=6), CLOSED),
        (replace(CLOSED, version=0), OPEN, None),
        (replace(OPEN, version=1), OPEN, None),
        (replace(CLOSED, override="disabled", override_remaining=0.0), CLOSED, CLOSED),
    ],
)
def test_what_the_table_knows_better_is_adopted_as_it_is(mine, theirs, agreed):
    assert merge(mine, theirs, agreed, said=False) is theirs


def test_a_newer_version_is_written_as_it_is():
    mine = replace(OPEN, version=5)

    assert merge(mine, CLOSED, CLOSED, said=False) == mine


def test_of_one_version_the_open_one_counts_and_gets_the_next():
    assert merge(OPEN, CLOSED, CLOSED, said=False) == replace(OPEN, version=5)


@pytest.mark.parametrize("version", [4, 5, 7])
@pytest.mark.parametrize("agreed", [CLOSED, None])
def test_an_override_of_the_table_is_not_lost_to_a_trip_at_the_same_moment(
    version, agreed
):
    theirs = replace(CLOSED, version=5, **FORCED)

    merged = merge(replace(OPEN, version=version), theirs, agreed, said=False)

    assert merged.override == "forced_open"
    assert merged.version > version or version < 5
    if version >= 5:
        assert (merged.state, merged.version) == ("OPEN", version + 1)


def test_an_override_that_the_table_lost_meanwhile_is_ended():
    agreed = replace(CLOSED, **FORCED)
    mine = replace(agreed, version=5, state="OPEN")

    merged = merge(mine, replace(CLOSED, version=5), agreed, said=False)

    assert (merged.override, merged.state, merged.version) == ("", "OPEN", 6)


def test_an_override_by_code_survives_another_change_of_the_same_version():
    mine = replace(CLOSED, version=5, **FORCED)

    merged = merge(mine, replace(OPEN, version=5), CLOSED, said=True)

    assert (merged.override, merged.state, merged.version) == ("forced_open", "OPEN", 6)


def test_a_trip_before_the_first_look_is_no_less_than_what_the_table_says():
    mine = replace(OPEN, version=1)

    merged = merge(mine, replace(CLOSED, version=9), None, said=False)

    assert (merged.state, merged.version) == ("OPEN", 10)


def test_an_override_by_code_before_the_first_look_counts_if_there_is_no_other():
    mine = replace(CLOSED, version=1, **FORCED)
    theirs = replace(OPEN, version=9)
    held = replace(theirs, override="disabled")

    merged = merge(mine, theirs, None, said=True)

    assert (merged.override, merged.state, merged.version) == (
        *("forced_open", "OPEN"),
        10,
    )
    assert merge(mine, held, None, said=True) is held


def test_an_override_is_ended_from_here_only_by_who_speaks_of_it():
    agreed = replace(CLOSED, **FORCED)
    mine = replace(CLOSED, version=5)

    heard = merge(mine, agreed, agreed, said=False)
    said = merge(mine, agreed, agreed, said=True)

    assert (heard.override, heard.version) == ("forced_open", 6)
    assert (said.override, said.version) == ("", 5)


def test_a_reason_too_long_for_the_table_does_not_differ_for_ever():
    mine = replace(CLOSED, **FORCED, override_reason="x" * 300)
    theirs = replace(mine, override_reason="x" * 200)

    assert merge(mine, theirs, theirs, said=False) is theirs


# -- Whatever happens in whatever order ---------------------------------------------
@dataclass
class Process:
    """A breaker and what its process agreed on, without a thread."""

    store: Store
    breaker: CircuitBreaker

    def trip(self) -> None:
        for _ in range(5):
            permit, _ = self.breaker.circuit.admit()
            if not isinstance(permit, Refusal):
                self.breaker.circuit.failed(permit, "E")
        self.store.note(self.breaker)

    def close(self) -> None:
        self.breaker.reset()
        self.store.note(self.breaker)

    def look(self) -> None:
        row = BreakerState.objects.filter(pk="kept").first()
        self.store._settle(self.breaker, row, timezone.now())

    @property
    def seen(self) -> tuple[str, str, int]:
        row = self.breaker.circuit.row()
        return row.state, row.override, row.version


NUMBERS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["trip", "close", "look"]), NUMBERS),
    st.tuples(st.just("hear"), NUMBERS, NUMBERS),
    st.tuples(st.just("act"), st.sampled_from(["forced_open", "disabled", "auto"])),
)


# 0 is far ahead when it is first heard of, and never saw the act.
UNSEEN = [
    *(("trip", 0), ("close", 0), ("trip", 0), ("act", "disabled")),
    *(("look", 1), ("hear", 1, 0), ("look", 1)),
]
# 1 hears of an act before its first look, and it is ended before that.
HEARD = [("act", "forced_open"), ("look", 0), ("hear", 1, 0), ("act", "auto")]
TRIED = [*HEARD[:3], ("close", 1), ("trip", 1), HEARD[3]]


@pytest.mark.django_db
@pytest.mark.usefixtures("_alone")
@given(steps=st.lists(STEPS, max_size=14))
@example(steps=UNSEEN)
@example(steps=HEARD)
@example(steps=TRIED)
@hypothesis.settings(max_examples=80)
def test_all_agree_in_the_end_and_the_last_act_of_an_operator_stands(steps):
    BreakerState.objects.all().delete()
    make_row(version=1)
    processes = [Process(Store(), CircuitBreaker("kept")) for _ in range(3)]
    last = "auto"

    for name, *rest in steps:
        if name == "act":
            last = rest[0]
            end = None if last == "auto" else timezone.now() + timedelta(hours=1)
            override_breaker("kept", last, reason="enough", until=end, actor="user:7")
        elif name == "hear":
            processes[rest[0]].breaker.adopt(processes[rest[1]].breaker.circuit.row())
        else:
            getattr(processes[rest[0]], name)()
    for process in [*processes, *processes]:
        process.look()

    row = BreakerState.objects.get()
    assert {process.seen for process in processes} == {
        (row.state, row.override, row.version)
    }
    assert (row.override or "auto") == last


# -- One pass ----------------------------------------------------------------------
@pytest.fixture
def breaker(_alone):
    made = registry.get_breaker("kept", reset_timeout=30.0)
    yield made
    registry._breakers.pop("kept")


def make_row(**columns) -> BreakerState:
    now = timezone.now()
    return BreakerState.objects.create(name="kept", **({"updated_at": now} | columns))


@pytest.mark.django_db
def test_a_quiet_pass_is_one_query_whatever_there_is(
    breaker, django_assert_num_queries
):
    store = Store()
    make_row()
    for number in range(20):
        BreakerState.objects.create(name=f"b{number}", updated_at=timezone.now())

    with django_assert_num_queries(1):
        store.look()


@pytest.mark.django_db
def test_a_row_that_was_deleted_is_written_again(breaker):
    store = Store()
    breaker.override("disabled", reason="by the code")
    store.look()
    BreakerState.objects.all().delete()

    store.look()

    assert BreakerState.objects.get().override == "disabled"


@pytest.mark.django_db
def test_an_open_time_that_no_option_allows_is_cut(breaker):
    far = timezone.now() + timedelta(days=300)
    make_row(state="OPEN", version=3, trips=1, open_until=far, opened_at=far)

    Store().look()

    row = breaker.circuit.row()
    assert (row.state, row.version) == ("OPEN", 3)
    assert row.remaining <= 30.0 * 11


@pytest.mark.django_db
def test_of_two_who_see_an_override_over_one_records_it(breaker):
    over = timezone.now() - timedelta(seconds=1)
    make_row(version=3, override="disabled", override_by="user:7", override_until=over)
    stale = BreakerState.objects.get()

    Store().look()
    BreakerState.objects.filter(pk="kept").update(
        override="disabled", override_until=stale.override_until
    )
    Store().look()

    row = BreakerState.objects.get()
    assert (row.override, row.override_by, row.override_until) == ("", "", None)
    artifact = Artifact.objects.get()
    assert (artifact.type, artifact.details["before"]) == ("override", "disabled")
    assert artifact.fields["source"] == "circuit_breaker"


@pytest.mark.django_db
def test_who_lost_looks_again_at_once(breaker, monkeypatch):
    store = Store()
    make_row(version=1)
    store.look()
    breaker.override("disabled", reason="by the code")
    late = BreakerState.objects.get()
    BreakerState.objects.update(version=2, reason="by another")
    store._due = time.monotonic() + 60

    store._settle(breaker, late, timezone.now())

    assert BreakerState.objects.get().override == ""
    assert store._due <= time.monotonic()


# -- Real processes ----------------------------------------------------------------
def test_a_trip_is_seen_in_another_process_by_the_table_alone(deploy):
    deployment = deploy(SECONDS="{}")
    one, other = deployment.start(2)

    one.do("fail")
    tripped = time.time()
    told = other.do("wait", "OPEN", 5)

    assert told["state"] == "OPEN"
    assert told["at"] - tripped < 2.5
    assert abs(told["remaining"] - one.do("state")["remaining"]) < 1


def test_all_processes_restarted_stand_where_they_stood(deployment):
    members = deployment.start(2, reset_timeout=60.0)
    members[0].do("fail")
    before = members[0].do("state")
    deployment.wait_for_row(state="OPEN")
    left_at = time.time()
    for member in members:
        deployment.end(member)

    restarted = deployment.start(2, reset_timeout=60.0)

    for member in restarted:
        told = member.do("wait", "OPEN", 3)
        assert (told["state"], told["version"], told["trips"]) == ("OPEN", 1, 1)
        assert abs(told["remaining"] - before["remaining"] + told["at"] - left_at) < 1


def test_the_grown_open_time_survives_a_restart(deployment):
    one = deployment.start(reset_timeout=0.2)
    one.do("fail")
    time.sleep(0.25)
    one.do("fail", 1)
    assert one.do("state")["opens"] == 1
    deployment.wait_for_row(opens=1)
    one.kill()

    other = deployment.start(reset_timeout=0.2)

    assert other.do("state")["opens"] == 1


def test_a_process_that_ends_writes_its_trip_first(deployment):
    one = deployment.start()

    one.do("fail")
    deployment.end(one)

    assert deployment.row()["state"] == "OPEN"


def test_a_forked_child_of_a_used_parent_learns_from_the_table(deployment):
    parent, other = deployment.start(2)
    parent.ask("in_child", "OPEN", 5)
    assert parent.answer() == "forked"

    other.do("fail")
    tripped = time.time()
    told = parent.answer()

    assert told["state"] == "OPEN"
    assert told["at"] - tripped < 2.5
    assert told["threads"].count("breakers-store") == 1
    assert parent.do("wait", "OPEN", 3)["state"] == "OPEN"


def test_an_override_by_code_reaches_the_table_and_every_process(deployment):
    one, other = deployment.start(2)

    one.do("override", "forced_open", 60)

    assert other.do("wait", "FORCED_OPEN", 5)["state"] == "FORCED_OPEN"
    row = deployment.row()
    assert (row["override"], row["override_reason"]) == ("forced_open", "by the code")
    assert deployment.artifacts() == [["override", "FORCED_OPEN"]]


def test_an_override_that_is_over_leaves_the_row_and_one_artifact(deployment):
    members = deployment.start(3)
    members[0].do("override", "disabled", 1)
    deployment.wait_for_row(override="disabled")

    deployment.wait_for_row(8, override="")

    for member in members:
        wait_for(lambda member=member: not member.do("state")["override"], 5)
    assert deployment.artifacts() == [["override", "DISABLED"], ["override", "auto"]]


def test_an_override_of_the_same_moment_as_a_trip_is_kept_with_it(deploy):
    deployment = deploy(SECONDS='{"POLL_ALONE": 60}')
    one = deployment.start()
    deployment.site.run(OVERRIDE)

    one.do("fail")

    assert one.do("wait", "FORCED_OPEN", 5)["version"] == 2
    row = deployment.wait_for_row(version=2)
    assert (row["state"], row["override"]) == ("OPEN", "forced_open")
    assert row["override_by"] == "user:7"


OVERRIDE = """
from django.utils import timezone
from breakers.models import BreakerState
BreakerState.objects.create(
    name="search", version=1, override="forced_open", override_by="user:7",
    updated_at=timezone.now(),
)
"""


def test_an_act_by_command_is_in_force_in_every_process(deployment):
    one, other = deployment.start(2)
    one.do("fail")
    deployment.wait_for_row(state="OPEN")

    said = deployment.act("reset", "search", "--reason", "key renewed")

    assert said == "search is CLOSED\n"
    for member in (one, other):
        assert member.do("wait", "CLOSED", 3)["version"] == 2
    assert deployment.artifacts() == [
        ["breaker_trip", "OPEN"],
        ["breaker_reset", "CLOSED"],
    ]


def test_with_redis_an_act_does_not_wait_for_the_next_look(deploy):
    deployment = deploy(REDIS_URL=os.environ["REDIS_URL"], SECONDS='{"POLL": 60}')
    one = deployment.start(reset_timeout=300.0)
    one.do("fail")
    deployment.wait_for_row(state="OPEN")

    deployment.act("reset", "search", "--reason", "key renewed")

    assert one.do("wait", "CLOSED", 2)["state"] == "CLOSED"


# -- Audit -------------------------------------------------------------------------
def test_four_processes_that_trip_at_once_leave_one_artifact(deployment):
    members = deployment.start(4)
    moment = time.time() + 0.2

    for member in members:
        member.ask("fail_at", moment)
    outcomes = [member.answer() for member in members]

    assert [told[0] for told in outcomes] == ["failed"] * 4
    versions = {member.do("wait", "OPEN", 5)["version"] for member in members}
    assert versions == {1}
    assert deployment.artifacts() == [["breaker_trip", "OPEN"]]


def test_a_trip_and_its_closing_are_two_artifacts_and_failed_trials_none(deployment):
    one = deployment.start(reset_timeout=0.1)
    one.do("fail")
    for _ in range(3):
        wait_over(one)
        assert one.do("fail", 1) == ["failed"]
    wait_over(one)

    assert one.do("good", 3) == ["ok"] * 3

    assert one.do("agreed")
    assert deployment.artifacts() == [
        ["breaker_trip", "OPEN"],
        ["breaker_reset", "CLOSED"],
    ]


def wait_over(member) -> None:
    time.sleep(member.do("state")["remaining"] + 0.005)


def test_a_process_killed_at_its_trip_has_been_heard(deployment):
    one = deployment.start()

    one.do("fail")
    one.kill()

    assert deployment.artifacts() == [["breaker_trip", "OPEN"]]
