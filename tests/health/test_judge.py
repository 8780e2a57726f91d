"""What is decided from what was seen, without a clock or a process."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health.budget import Budget, Spending
from health.judge import (
    Act,
    Decision,
    Facts,
    Judge,
    Kind,
    Limits,
    Mode,
    Process,
    Refusal,
    Rule,
    Why,
)
from health.processes import Identity
from health.slots import Role, SlotReading

SECOND = 1_000_000_000
NOW = 10_000 * SECOND
ROLES = {
    Kind.WORKER: ("web", Role.WEB),
    Kind.MAIN: ("worker", Role.WORKER),
    Kind.CHILD: ("worker", Role.POOL),
    Kind.BEAT: ("beat", Role.BEAT),
}


def make_process(
    kind: Kind = Kind.WORKER, *, now_ns: int = NOW, age: float = 0.0, **changes
) -> Process:
    """Make a process that is well unless it is told otherwise."""
    part, role = ROLES[kind]
    ago = {
        name: now_ns - int(changes.pop(name) * SECOND) if name in changes else 0
        for name in ("oldest", "task", "idle")
    }
    slot = SlotReading(
        role=role,
        identity=changes.pop("identity", Identity(4711, 99)),
        parent=1,
        heartbeat_ns=now_ns - int(age * SECOND),
        in_flight=changes.pop("in_flight", 0),
        limit=10,
        task=7,
        oldest_ns=ago["oldest"],
        task_ns=ago["task"],
        idle_ns=ago["idle"],
        rss=changes.pop("rss", 100),
        cap=changes.pop("cap", 1000),
    )
    known = {"up": 1000.0, "state": "S", "slot": slot, "task_limit": 60.0}
    return Process(part, kind, slot.identity, **(known | changes))


def make_master(**changes) -> Process:
    known = {"up": 1000.0, "state": "S"}
    return Process("web", Kind.MASTER, Identity(1, 1), **(known | changes))


def awake(mode: Mode = Mode.ENFORCE, **options) -> Judge:
    """Return a judge that has ticked for long enough to act."""
    judge = Judge(mode=mode, **options)
    for second in range(-12, 0):
        judge.judge(Facts(NOW + second * SECOND))
    return judge


def decide(*processes: Process, judge: Judge | None = None, **facts):
    return (judge or awake()).judge(Facts(NOW, processes, **facts))


def decided(found: Iterable) -> list[tuple[Rule, Act]]:
    return [(one.rule, one.act) for one in found if isinstance(one, Decision)]


@pytest.mark.parametrize(
    ("process", "rule", "act"),
    [
        (make_process(age=8.1), Rule.WORKER_FROZEN, Act.KILL),
        (make_process(in_flight=10, oldest=30.1), Rule.WORKER_STUCK, Act.TERM),
        (make_process(rss=1001), Rule.WORKER_MEMORY, Act.TERM),
        (make_process(Kind.MAIN, age=30.1), Rule.MAIN_FROZEN, Act.KILL),
        (make_process(Kind.CHILD, age=30.1), Rule.CHILD_FROZEN, Act.KILL),
        (make_process(Kind.CHILD, task=120.1), Rule.CHILD_STUCK, Act.KILL),
        (make_process(Kind.BEAT, age=40.1), Rule.BEAT_LATE, Act.KILL),
    ],
)
def test_each_failure_has_its_action(process, rule, act):
    assert decided(decide(process)) == [(rule, act)]


@pytest.mark.parametrize(
    "process",
    [
        make_process(age=7.9),
        make_process(in_flight=9, oldest=99),
        make_process(in_flight=10, oldest=29.9),
        make_process(rss=1000),
        make_process(rss=10**12, cap=0),
        make_process(Kind.MAIN, age=29.9),
        make_process(Kind.CHILD, age=29.9, task=119.9),
        make_process(Kind.CHILD, task=3500, task_limit=3600.0),
        make_process(Kind.CHILD, task=9999, task_limit=0.0),
        make_process(Kind.BEAT, age=39.9),
        make_process(age=99, up=9.9),
        make_process(age=-99),
        make_process(Kind.CHILD, slot=None),
    ],
)
def test_what_is_just_within_its_limit_is_left_alone(process):
    assert decide(process) == []


def test_a_stuck_worker_is_killed_5_seconds_after_it_was_asked():
    (found,) = decide(make_process(in_flight=10, oldest=31))

    assert (found.act, found.then_kill) == (Act.TERM, 5.0)


# -- the master ------------------------------------------------------------------------
def test_a_silent_master_is_killed_after_10_seconds():
    assert decided(decide(master=make_master(), silent=9.9)) == []
    assert decided(decide(master=make_master(), silent=10.0)) == [
        (Rule.MASTER_HUNG, Act.KILL)
    ]


def test_a_stopped_master_is_killed_after_8_seconds_and_its_workers_wait():
    judge, killed = awake(), []
    for second in range(10):
        now = NOW + second * SECOND
        frozen = make_process(now_ns=now, age=9)
        facts = Facts(now, [frozen], master=make_master(state="T"))
        killed += [(second, rule) for rule, _ in decided(judge.judge(facts))]

    assert killed == [(8, Rule.MASTER_HUNG)]


def test_a_master_that_somebody_debugs_is_not_stopped():
    judge, found = awake(), []
    for second in range(60):
        now = NOW + second * SECOND
        found += judge.judge(Facts(now, master=make_master(state="t")))

    assert found == []


def test_a_pause_of_the_machine_voids_what_a_stopped_master_is_due():
    judge, killed = awake(), []
    for second in [*range(7), *range(30, 46)]:
        now = NOW + second * SECOND
        found = judge.judge(Facts(now, master=make_master(state="T")))
        killed += [second for _ in decided(found)]

    assert killed == [38]


def test_a_master_that_goes_on_in_between_begins_anew():
    judge, killed = awake(), []
    for second in range(15):
        state = "S" if second == 7 else "T"
        facts = Facts(NOW + second * SECOND, master=make_master(state=state))
        killed += decided(judge.judge(facts))

    assert killed == []


def test_strikes_renew_the_workers_first_and_then_the_server():
    judge = awake()

    first = decide(judge=judge, master=make_master(), struck_out=True)
    later = NOW
    for second in range(1, 91):
        later = NOW + second * SECOND
        judge.judge(Facts(later, master=make_master()))
    second = judge.judge(Facts(later + SECOND, master=make_master(), struck_out=True))

    assert decided(first) == [(Rule.HTTP, Act.HUP)]
    assert decided(second) == [(Rule.HTTP, Act.KILL)]


def test_strikes_without_a_master_are_the_supervisors_business():
    assert decide(struck_out=True) == []


# -- gates -----------------------------------------------------------------------------
FAILING = [
    make_process(age=99),
    make_process(Kind.MAIN, age=99),
    make_process(Kind.CHILD, age=99),
    make_process(Kind.BEAT, age=99),
]


def refused(found: Iterable) -> set[Why]:
    return {one.reason for one in found if isinstance(one, Refusal)}


@pytest.mark.parametrize(
    ("mode", "acted_on"),
    [
        (Mode.OFF, []),
        (Mode.OBSERVE, []),
        (Mode.WORKERS, [Kind.WORKER, Kind.CHILD]),
        (Mode.ENFORCE, [Kind.WORKER, Kind.MAIN, Kind.CHILD, Kind.BEAT]),
    ],
)
def test_a_mode_says_how_far_the_watchdog_may_go(mode, acted_on):
    kinds = [
        found.target.kind
        for process in FAILING
        for found in decide(process, judge=awake(mode))
        if isinstance(found, Decision)
    ]

    assert kinds == acted_on


@pytest.mark.parametrize("mode", [Mode.WORKERS, Mode.OBSERVE])
def test_a_master_is_only_observed_below_enforce(mode):
    found = decide(judge=awake(mode), master=make_master(), silent=99)

    assert refused(found) == {Why.OBSERVE}


kinds = st.sampled_from(FAILING)
holds = st.sampled_from(
    [
        {"holds": {"web": "observe", "worker": "observe", "beat": "observe"}},
        {"holds": {"web": "drain", "worker": "drain", "beat": "drain"}},
        {"holds": {"watchdog": "observe"}},
    ]
)


@given(st.lists(kinds, max_size=4), holds, st.sampled_from(Mode))
def test_whatever_is_held_is_never_acted_on(processes, held, mode):
    assert decided(decide(*processes, judge=awake(mode), **held)) == []


@given(st.floats(8.1, 1e6), st.integers(0, 99), st.integers(0, 10**12))
def test_a_draining_web_server_is_never_acted_on(age, in_flight, rss):
    process = make_process(age=age, in_flight=in_flight, rss=rss, oldest=age)

    found = decide(process, draining=True, master=make_master(), silent=99)

    assert decided(found) == []
    assert refused(found) == {Why.DRAINING}


def test_a_process_that_is_not_ours_is_refused_and_costs_nothing():
    judge = awake()
    strange = make_process(age=99, fault="it belongs to another user")

    found = decide(strange, judge=judge)

    assert refused(found) == {Why.IDENTITY}
    assert found[0].detail == "it belongs to another user"
    assert judge.spending == {}


@pytest.mark.parametrize("kind", [Kind.MAIN, Kind.BEAT])
def test_a_broker_that_is_away_is_no_reason_to_kill(kind):
    found = decide(make_process(kind, age=99), broker_well=False)

    assert refused(found) == {Why.DEPENDENCY}


def test_one_that_is_being_acted_on_is_not_acted_on_again():
    process = make_process(age=99)

    assert decide(process, busy=frozenset([process.identity])) == []


# -- our own time ----------------------------------------------------------------------
@given(st.floats(2.01, 1e5), st.integers(1, 60))
def test_a_late_tick_of_our_own_voids_every_kill_for_8_seconds(gap, worst):
    judge = awake()
    woke = NOW + int(gap * SECOND)
    for second in range(8):
        now = woke + second * SECOND
        found = judge.judge(Facts(now, [make_process(now_ns=now, age=8 + worst)]))

        assert found == []

    now = woke + 8 * SECOND
    assert decided(judge.judge(Facts(now, [make_process(now_ns=now, age=9)])))


def test_a_judge_that_has_just_begun_acts_on_nobody():
    assert decide(make_process(age=99), judge=Judge(mode=Mode.ENFORCE)) == []


def test_a_clock_that_goes_back_voids_too():
    judge = awake()
    judge.judge(Facts(NOW + SECOND))

    assert decide(make_process(age=99), judge=judge) == []


# -- budget ----------------------------------------------------------------------------
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=400), st.data())
def test_no_flapper_gets_more_than_its_budget(flaps, data):
    """Whatever it does second by second: 1 in 10 s, 3 in 5 min."""
    judge, at, acted = awake(limits=Limits(late=100.0)), NOW, []
    for number, (is_ill, step) in enumerate(flaps):
        at += step * SECOND
        who = Identity(1000 + number, 1)
        ill = make_process(now_ns=at, age=9, identity=who)
        found = judge.judge(Facts(at, [ill] if is_ill else []))
        acted += [at for _ in decided(found)]

    for place, moment in enumerate(acted):
        later = [(other - moment) / SECOND for other in acted[place + 1 :]]
        assert sum(gap < 10 for gap in later) == 0
        assert sum(gap < 300 for gap in later) <= 2


def run_ill(judge: Judge, seconds: int, start_ns: int = NOW) -> list[int]:
    """Return the seconds at which one that never gets well is acted on."""
    acted = []
    for second in range(seconds):
        now = start_ns + second * SECOND
        who = Identity(1000 + second, 1)
        ill = make_process(now_ns=now, age=9, identity=who)
        acted += [second for _ in decided(judge.judge(Facts(now, [ill])))]
    return acted


def test_one_that_never_gets_well_is_tried_again_and_again_ever_more_rarely():
    acted = run_ill(awake(), 6 * 3600)

    bursts = [at for at in acted if at - 20 not in acted and at - 10 not in acted]
    gaps = [later - earlier for earlier, later in pairwise(bursts)]
    assert acted[:3] == [0, 10, 20]
    assert gaps == [30 + hold for hold in (900, 1800, 3600, 7200, 7200)]


def test_the_hold_ends_with_5_minutes_of_being_well():
    judge = awake()
    run_ill(judge, 40)
    for second in range(40, 341):
        judge.judge(Facts(NOW + second * SECOND))

    again = run_ill(judge, 40, NOW + 341 * SECOND)

    assert again == [0, 10, 20]


def test_a_hold_is_one_refusal_however_often_it_is_asked():
    judge, keys = awake(), set()
    for second in range(600):
        now = NOW + second * SECOND
        ill = make_process(now_ns=now, age=9)
        keys |= {
            one.key
            for one in judge.judge(Facts(now, [ill]))
            if isinstance(one, Refusal)
        }

    assert len(keys) == 1


def test_two_instances_do_not_share_a_budget():
    found = decide(make_process(age=99), make_process(Kind.BEAT, age=99))

    assert [one.target.part for one in found] == ["web", "beat"]


def test_two_frozen_workers_are_killed_10_seconds_apart():
    judge, killed = awake(), []
    for second in range(12):
        now = NOW + second * SECOND
        one = make_process(now_ns=now, age=9)
        two = make_process(now_ns=now, age=9, identity=Identity(2, 2))
        killed += [second for _ in decided(judge.judge(Facts(now, [one, two])))]

    assert killed == [0, 10]


def test_a_judge_goes_on_with_what_the_one_before_has_spent():
    first = awake()
    run_ill(first, 25)

    second = Judge(mode=Mode.ENFORCE, spending=first.spending)
    for at in range(25, 40):
        second.judge(Facts(NOW + at * SECOND))
    now = NOW + 40 * SECOND
    found = second.judge(Facts(now, [make_process(now_ns=now, age=99)]))

    assert refused(found) == {Why.BUDGET}


@given(st.integers(0, 40))
def test_a_hold_never_outlasts_two_hours(holds):
    budget = Budget()
    full = Spending(actions_ns=(NOW - 3, NOW - 2, NOW - 1), holds=min(holds, 10))

    held, is_allowed = budget.spend(full, NOW)

    assert not is_allowed
    assert 900 <= budget.held_for(held, NOW) <= 7200
    assert replace(held, hold_until_ns=0).actions_ns == full.actions_ns
