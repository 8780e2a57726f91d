"""The breakers' pages: worst first, acts in two steps, each an artifact."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from breakers.lanes import Moment, openings, spans_of
from breakers.models import BreakerState, BreakerTraffic
from breakers.traffic import BUCKET, bucket_of
from ledger.models import Artifact
from ledger.services import record

pytestmark = pytest.mark.django_db
PAGE = "/admin/breakers/"


@pytest.fixture
def enter():
    def client_of(role):
        user = User.objects.create(username=role, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return client

    return client_of


def make_row(name="openai", **columns):
    return BreakerState.objects.create(name=name, updated_at=timezone.now(), **columns)


def open_row(name="openai", **columns):
    now = timezone.now()
    return make_row(
        name,
        state="OPEN",
        version=3,
        trips=1,
        reason="5 timeouts in a row",
        last_error="CallTimeoutError",
        opened_at=now - timedelta(minutes=29),
        open_until=now + timedelta(seconds=12),
        **columns,
    )


def act(client, slug, name="openai", **fields):
    given = {"seconds": 3600, "reason": "vendor outage", "version": 0, "key": uuid4()}
    return client.post(f"{PAGE}-/{name}/{slug}/", given | fields)


def test_the_worst_breaker_comes_first_with_its_reason_and_countdown(enter):
    make_row("aaa")
    open_row("zzz")

    text = enter("viewer").get(PAGE).text

    assert text.index(">zzz<") < text.index(">aaa<")
    assert "29 min" in text
    assert "trial in" in text
    assert "5 timeouts in a row: CallTimeoutError" in text


def test_the_page_costs_five_queries_at_most(enter, django_assert_max_num_queries):
    client = enter("viewer")
    for number in range(20):
        open_row(f"b{number}")
        record(
            type="breaker_trip", source="circuit_breaker", subject=f"breaker:b{number}"
        )
        call(f"b{number}", back=number, calls=7)

    with django_assert_max_num_queries(5):
        client.get(PAGE)
    with django_assert_max_num_queries(5):
        client.get(f"{PAGE}-/b1/")


def call(name, *, back, calls, failed=0):
    at = bucket_of(timezone.now()) - back * BUCKET
    BreakerTraffic.objects.create(name=name, at=at, calls=calls, failed=failed)


@pytest.mark.usefixtures("_mid_bucket")
def test_the_list_says_calls_and_failures_and_draws_what_is_known(enter):
    for name in ("few", "many", "held"):
        make_row(name, override="disabled" if name == "held" else "")
        call(name, back=30, calls=60)
    make_row("silent")
    call("few", back=1, calls=10, failed=8)
    call("many", back=1, calls=100_000, failed=400)

    text = enter("viewer").get(PAGE).text

    assert "8 of 10 " in text
    assert "0.4 % " in text
    assert "not counted" in text
    assert text.count('viewBox="0 0 144 24"') == 3
    assert "few: calls, open or held in the last 24 h" in text


@pytest.mark.usefixtures("_mid_bucket")
def test_the_detail_draws_a_day_with_its_failures_and_its_numbers(enter):
    make_row("openai")
    call("openai", back=2, calls=3000, failed=50)

    text = enter("viewer").get(f"{PAGE}-/openai/").text

    assert "most 600" in text
    assert 'viewBox="0 0 576 100"' in text
    assert 'class="fail" d="M' in text
    assert ">3,000<" in text
    assert text.count("no data") == 23


@pytest.mark.usefixtures("_mid_bucket")
def test_the_review_says_how_many_calls_it_touches(enter):
    make_row("calm", version=1)
    open_row()
    call("calm", back=1, calls=5000)
    call("openai", back=6, calls=5000)  # which opened 29 minutes ago
    client = enter("operator")

    before = act(client, "forced_open", version=3, step="review").text
    calm = act(client, "disabled", "calm", version=1, step="review").text

    assert "calls/min before it opened. Every process ref" in before
    assert "calls/min. Every process lets every call through" in calm
    assert 'viewBox="0 0 576 100"' in before


def test_the_stock_address_of_the_list_leads_to_the_page(enter):
    answer = enter("viewer").get("/admin/breakers/breakerstate/")

    assert (answer.status_code, answer["Location"]) == (302, PAGE)


def test_an_act_asks_then_shows_then_does_and_records(enter):
    open_row()
    client = enter("operator")
    key = uuid4()

    asked = client.get(f"{PAGE}-/openai/forced_open/")
    shown = act(client, "forced_open", version=3, key=key, step="review")
    done = act(client, "forced_open", version=3, key=key, step="do")

    artifact = Artifact.objects.get(event_id=key)
    assert "Force open openai" in asked.text
    assert "Force open openai: review" in shown.text
    assert "Force open everywhere" in shown.text
    assert done["Location"] == f"{PAGE}?done={key}"
    assert artifact.type == "override"
    assert artifact.actor == f"user:{User.objects.get().pk}"
    assert artifact.details["reason"] == "vendor outage"
    assert BreakerState.objects.get().override == "forced_open"


def test_a_review_changes_nothing(enter):
    open_row()

    act(enter("operator"), "disabled", version=3, step="review")

    assert BreakerState.objects.get().override == ""
    assert not Artifact.objects.filter(type="override").exists()


def test_what_was_done_is_shown_with_an_undo_that_is_an_act_itself(enter):
    open_row()
    client = enter("operator")
    key = uuid4()
    act(client, "metrics_only", version=3, key=key, step="do")

    page = client.get(f"{PAGE}?done={key}")
    undo = client.get(f"{PAGE}-/openai/auto/?reason=Undo%20of%20{'ab' * 4}")
    act(client, "auto", version=4, reason="Undo of abababab", step="do")

    assert "METRICS ONLY" in page.text
    assert "/-/openai/auto/?reason=Undo" in page.text
    assert 'value="Undo of abababab"' in undo.text
    assert BreakerState.objects.get().override == ""
    assert Artifact.objects.filter(type="override").count() == 2


def test_the_same_act_sent_twice_is_done_once(enter):
    open_row()
    client = enter("operator")
    key = uuid4()

    first = act(client, "forced_open", version=3, key=key, step="do")
    second = act(client, "forced_open", version=3, key=key, step="do")

    assert (first.status_code, second.status_code) == (302, 302)
    assert Artifact.objects.filter(type="override").count() == 1


def test_an_act_meant_for_an_older_version_is_409_with_the_new_state(enter):
    open_row()

    answer = act(enter("operator"), "forced_open", version=2, step="do")

    assert answer.status_code == 409
    assert "Nothing was done." in answer.text
    assert "OPEN at version 3" in answer.text
    assert BreakerState.objects.get().override == ""


@pytest.mark.parametrize(
    ("fields", "say"),
    [
        ({"reason": "no"}, "at least 5 characters"),
        ({"reason": "x" * 201}, "at most 200 characters"),
        ({"reason": "two\nlines here"}, "one line"),
        ({"seconds": "86400"}, "not one of the available choices"),
        ({"seconds": "0"}, "not one of the available choices"),
    ],
)
def test_nonsense_is_said_under_its_field(enter, fields, say):
    open_row()

    answer = act(enter("operator"), "forced_open", version=3, step="do", **fields)

    assert answer.status_code == 200
    assert say in answer.text
    assert BreakerState.objects.get().override == ""


def test_only_an_admin_may_go_without_an_end(enter):
    open_row()
    client = enter("admin")

    asked = client.get(f"{PAGE}-/openai/forced_open/")
    act(client, "forced_open", version=3, seconds=0, step="do")

    assert "without end" in asked.text
    assert BreakerState.objects.get().override_until is None
    assert BreakerState.objects.get().override == "forced_open"


def test_a_reset_closes_the_circuit_and_says_that_it_cannot_be_undone(enter):
    open_row()
    client = enter("operator")

    shown = act(client, "reset", version=3, step="review")
    act(client, "reset", version=3, step="do")

    assert "cannot be undone" in shown.text
    assert BreakerState.objects.get().state == "CLOSED"
    assert Artifact.objects.filter(type="breaker_reset").count() == 1


@pytest.mark.parametrize("role", ["viewer", "support"])
def test_who_may_only_look_sees_no_acts_and_does_none(enter, role):
    open_row()
    client = enter(role)

    page = client.get(PAGE)
    answer = act(client, "forced_open", version=3, step="do")

    assert "Force open" not in page.text
    assert answer.status_code == 403
    assert BreakerState.objects.get().override == ""


@pytest.mark.parametrize("path", ["-/nobody/", "-/nobody/reset/", "-/openai/smash/"])
def test_unknown_names_and_acts_are_404(enter, path):
    assert enter("operator").get(PAGE + path).status_code == 404


def test_a_stranger_is_sent_to_the_login():
    assert "/admin/login/" in Client().get(PAGE)["Location"]


def test_the_detail_shows_options_and_who_tripped(enter):
    open_row()
    record(
        type="breaker_trip",
        source="circuit_breaker",
        subject="breaker:openai",
        reason="5 timeouts in a row",
        first_error="CallTimeoutError",
    )

    text = enter("viewer").get(f"{PAGE}-/openai/").text

    assert "failure_threshold" in text
    assert "CallTimeoutError" in text
    assert ">test<" in text  # the node


def moment(minutes, kind, breaker="a", **details):
    at = timezone.now() - timedelta(minutes=minutes)
    return Moment(at, breaker, kind, details)


def test_spans_end_with_the_reset_and_overlap_with_holds():
    moments = [
        moment(50, "breaker_trip"),
        moment(40, "breaker_reset"),
        moment(30, "breaker_trip"),
        moment(20, "override", after="forced_open"),
        moment(10, "override", after="auto"),
    ]

    spans = spans_of(moments)

    assert [(one.kind, one.end is None) for one in spans] == [
        ("fail", False),
        ("ink", False),
        ("fail", True),
    ]


def test_an_opening_lasts_until_the_next_reset_of_the_same_breaker():
    moments = [
        moment(50, "breaker_trip"),
        moment(45, "breaker_reset", "b"),
        moment(40, "breaker_reset"),
        moment(30, "breaker_trip"),
    ]

    newest, oldest = openings(moments, now=timezone.now(), most=10)

    assert (newest.over, round(newest.seconds / 60)) == (False, 30)
    assert (oldest.over, round(oldest.seconds / 60)) == (True, 10)
