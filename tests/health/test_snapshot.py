import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health.snapshot import (
    FRESH_SECONDS,
    CheckResult,
    Hold,
    Outcome,
    Probe,
    ProbeState,
    Snapshot,
    State,
    first_result,
    judge_live,
    judge_ready,
    judge_startup,
    next_result,
    overdue_runs,
    parse_snapshot,
)

SECOND = 1_000_000_000
NOW_NS = 1000 * SECOND


def make_outcome(state: State, at: float = 0.0) -> Outcome:
    return Outcome(state, at, int(at * SECOND), 0.01, "" if state == "pass" else "no")


def make_check(name: str, state: State = State.PASS, **changes) -> CheckResult:
    check = CheckResult(name, state, required=True, since=0, at=0, at_ns=0, duration=0)
    return replace(check, **changes)


def make_snapshot(**changes) -> Snapshot:
    whole = Snapshot(
        at=1.0,
        at_ns=NOW_NS,
        boot="boot",
        holder=1,
        checks=tuple(make_check(name) for name in ("db", "cache", "queue")),
        missing_migrations=(),
    )
    return replace(whole, **changes)


def ready(snapshot: Snapshot | None, *, now_ns: int = NOW_NS, draining: bool = False):
    return judge_ready(snapshot, now=0.0, now_ns=now_ns, draining=draining)


def after(*states: State) -> CheckResult:
    result = first_result("db", make_outcome(states[0]), required=True)
    for number, state in enumerate(states[1:], start=1):
        result = next_result(result, make_outcome(state, at=float(number)))
    return result


P, W, F = State.PASS, State.WARN, State.FAIL


@pytest.mark.parametrize(
    ("states", "state", "since"),
    [
        ((P,), P, 0),
        ((F,), F, 0),
        ((P, F), P, 0),
        ((P, F, F), F, 2),
        ((P, F, P, F), P, 0),
        ((F, P), F, 0),
        ((F, P, P), P, 2),
        ((F, P, F, P), F, 0),
        ((P, W), W, 1),
        ((W, P), P, 1),
        ((F, W, W), W, 2),
        ((P, F, F, F, P, P, P), P, 5),
    ],
)
def test_a_check_goes_down_after_two_fails_and_up_after_two_passes(
    states, state, since
):
    result = after(*states)

    assert (result.state, result.since) == (state, since)


@given(st.lists(st.sampled_from([P, W, F]), min_size=2, max_size=30))
def test_a_check_never_changes_between_up_and_down_on_one_outcome(states):
    before = after(*states[:-1])

    result = after(*states)

    if (before.state is F) != (result.state is F):
        assert (states[-1] is F) == (states[-2] is F) or len(states) == 2


@pytest.mark.parametrize(
    ("late", "runs"),
    [(0.0, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 2), (10.0, 5)],
)
def test_a_hanging_run_costs_one_fail_at_its_deadline_and_one_each_period(late, runs):
    now = int(late * SECOND)

    assert overdue_runs(0, now, period=2.0, timeout=2.0) == runs


def test_ready_needs_every_required_check():
    failing = make_check("cache", F)
    snapshot = make_snapshot(checks=(make_check("db"), failing, make_check("queue")))

    verdict = ready(snapshot)

    assert not verdict.ready
    assert verdict.checks["cache"] is False
    assert verdict.checks["db"] is True
    assert verdict.reasons == ("cache fails",)


def test_a_degradable_check_that_fails_keeps_ready():
    ledger = make_check("ledger", F, required=False)
    whole = make_snapshot()

    verdict = ready(replace(whole, checks=(*whole.checks, ledger)))

    assert verdict.ready
    assert verdict.checks["ledger"] is False


def test_a_warning_keeps_ready():
    snapshot = make_snapshot(
        checks=(make_check("db", W), make_check("cache"), make_check("queue"))
    )

    assert ready(snapshot).ready


@pytest.mark.parametrize(
    ("age", "is_ready"), [(0.0, True), (FRESH_SECONDS, True), (15.1, False)]
)
def test_a_snapshot_older_than_15_seconds_is_not_ready(age, is_ready):
    now_ns = NOW_NS + int(age * SECOND)

    assert ready(make_snapshot(), now_ns=now_ns).ready is is_ready


def test_no_snapshot_is_not_ready():
    verdict = ready(None)

    assert not verdict.ready
    assert verdict.checks["db"] is verdict.checks["cache"] is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"missing_migrations": ("ledger.0001",)}, "migrations"),
        ({"missing_migrations": None}, "migrations"),
        ({"hold": Hold("drain", "why", "user:7", None)}, "held"),
        ({"checks": (make_check("db"),)}, "never checked"),
    ],
)
def test_ready_says_why_it_is_not(changes, reason):
    verdict = ready(make_snapshot(**changes))

    assert not verdict.ready
    assert reason in "; ".join(verdict.reasons)


@pytest.mark.parametrize(
    "hold",
    [Hold("observe", "why", "user:7", None), Hold("drain", "why", "user:7", -1.0)],
)
def test_an_observing_or_ended_hold_keeps_ready(hold):
    assert ready(make_snapshot(hold=hold)).ready


def test_draining_is_not_ready():
    assert not ready(make_snapshot(), draining=True).ready


def test_live_fails_on_memory_and_on_a_stopped_heartbeat_only():
    def live(rss: int, age: float | None):
        return judge_live(rss=rss, max_rss=100, slot_age=age, stale_after=8.0)

    assert live(100, 8.0).alive
    assert live(100, None).alive
    assert live(101, 0.0).reason == "memory_exhaustion"
    assert live(1, 8.1).reason == "workers_frozen"


def test_startup_stays_complete_once_it_was():
    failing = make_snapshot(checks=(make_check("db", F),), missing_migrations=None)

    before = judge_startup(failing, now_ns=NOW_NS, latched=False)
    later = judge_startup(None, now_ns=NOW_NS, latched=True)

    assert before == {
        "env": True,
        "database": False,
        "migrations": False,
        "sampled": True,
    }
    assert all(later.values())


def test_a_snapshot_survives_the_file():
    snapshot = make_snapshot(
        hold=Hold("drain", "why", "user:7", 5.0),
        probes=(ProbeState(Probe.READY, F, 3.0, "db fails"),),
        missing_migrations=("a.0001",),
    )

    assert parse_snapshot(snapshot.to_json(), boot="boot", now_ns=NOW_NS) == snapshot


@given(st.integers(min_value=0))
def test_half_of_a_snapshot_is_no_snapshot(cut):
    text = make_snapshot().to_json()

    half = text[: cut % len(text)]

    assert parse_snapshot(half, boot="boot", now_ns=NOW_NS) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\x00",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b'{"format":1}',
        b'{"format":2,"boot":"boot"}',
    ],
)
def test_garbage_is_no_snapshot(text):
    assert parse_snapshot(text, boot="boot", now_ns=NOW_NS) is None


def test_a_snapshot_of_another_boot_is_no_snapshot():
    text = make_snapshot().to_json()

    assert parse_snapshot(text, boot="another", now_ns=NOW_NS) is None


def test_a_snapshot_from_the_future_is_no_snapshot():
    text = make_snapshot().to_json()

    assert parse_snapshot(text, boot="boot", now_ns=NOW_NS - 1) is None


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_jump_of_the_wall_clock_changes_no_verdict(jump):
    whole = make_snapshot()
    jumped = replace(
        whole,
        at=whole.at + jump,
        checks=tuple(replace(c, at=c.at + jump, since=jump) for c in whole.checks),
    )

    verdict = judge_ready(jumped, now=jump, now_ns=NOW_NS, draining=False)

    assert verdict == ready(whole)


def test_unknown_keys_of_a_later_version_are_no_snapshot():
    raw = json.loads(make_snapshot().to_json()) | {"colour": "blue"}

    assert parse_snapshot(json.dumps(raw), boot="boot", now_ns=NOW_NS) is None
