"""A worker that ticks and takes nothing, told from one that is busy. No process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health.budget import Spending
from health.canary import Sight
from health.judge import Act, Decision, Facts, Judge, Kind, Mode, Rule, Why
from health.processes import Identity
from tests.health.test_judge import NOW, SECOND, decided, make_process, refused

MAIN, CHILD = Identity(4711, 99), Identity(4712, 99)


def make_sight(*, now_ns: int = NOW, age: float = 1.0, **ages: float | None) -> Sight:
    """Make a queue whose canaries nobody takes, unless it is told otherwise."""
    known = {"sent": 5.0, "waiting": 65.0, "ran": 91.0}
    queue = {"queue": "celery", "depth": 3}
    return Sight(at_ns=now_ns - int(age * SECOND), **queue, **(known | ages))


def make_main(**changes):
    return make_process(Kind.MAIN, **({"identity": MAIN} | changes))


def make_child(**changes):
    known = {"identity": CHILD, "parent": MAIN.pid}
    return make_process(Kind.CHILD, **(known | changes))


def watching(seconds: int = 100, **options) -> Judge:
    """Return a judge that has looked for so long."""
    judge = Judge(**({"mode": Mode.ENFORCE} | options))
    for second in range(-seconds, 0):
        judge.judge(Facts(NOW + second * SECOND))
    return judge


def decide(*processes, judge: Judge | None = None, sight=None, **facts):
    who = processes or (make_main(), make_child())
    told = Facts(NOW, who, sights=[sight or make_sight()], **facts)
    return (judge or watching()).judge(told)


def test_a_main_whose_canaries_nobody_takes_is_asked_to_end_and_then_made_to():
    (found,) = decide()

    assert isinstance(found, Decision)
    assert (found.rule, found.act, found.then_kill) == (Rule.MAIN_DEAF, Act.TERM, 5.0)
    assert found.target.identity == MAIN
    assert found.since_ns == NOW - 92 * SECOND
    assert found.evidence == {
        "queue": "celery",
        "unseen_ms": 92_000,
        "idle_ms": 1_000_000,
        "depth": 3,
    }


@pytest.mark.parametrize(
    "sight",
    [
        make_sight(waiting=None, ran=1),
        make_sight(ran=90),
        make_sight(waiting=59),
        make_sight(sent=91),
        make_sight(age=8.1),
    ],
    ids=["taken", "two-and-a-half", "begun-anew", "no-beat", "unasked"],
)
def test_a_queue_that_is_not_known_to_be_late_accuses_nobody(sight):
    assert decide(sight=sight) == []


@pytest.mark.parametrize(
    "processes",
    [
        [make_main(), make_child(task=50)],
        [make_main(), make_child(task=3000, task_limit=3600.0)],
        [make_main(), make_child(idle=29)],
        [make_main(), make_child(up=29)],
        [make_main(), make_child(), make_child(identity=Identity(4713, 1), idle=1)],
        [make_main()],
        [make_main(), make_child(parent=1)],
        [make_main(up=89), make_child()],
        [make_main(age=2.1), make_child()],
    ],
    ids=[
        "at-a-task",
        "at-a-long-task",
        "between-two-tasks",
        "a-child-replaced",
        "one-of-two-is-busy",
        "no-child-known",
        "no-child-of-its-own",
        "main-has-begun-since",
        "main-does-not-tick",
    ],
)
def test_whoever_is_busy_new_or_unknown_is_not_deaf(processes):
    assert decide(*processes) == []


def test_a_main_that_never_took_any_is_deaf_too_and_restarted_once():
    judge, sight = watching(), make_sight(ran=None, waiting=95.0)

    found = decide(judge=judge, sight=sight)

    assert decided(found) == [(Rule.MAIN_DEAF, Act.TERM)]
    assert found[0].since_ns == NOW - 96 * SECOND
    assert refused(restarted(judge, after=200, ran=None, waiting=295)) == {Why.REPEAT}


def test_a_judge_that_has_looked_for_less_than_a_period_waits():
    assert decide(judge=watching(29)) == []
    assert decided(decide(judge=watching(31))) == [(Rule.MAIN_DEAF, Act.TERM)]


def test_a_pause_of_the_machine_begins_that_period_anew():
    judge, found = watching(), []
    for second in range(60, 90):
        now = NOW + second * SECOND
        who = [make_main(now_ns=now), make_child(now_ns=now)]
        told = Facts(now, who, sights=[make_sight(now_ns=now)])
        found += [second for _ in decided(judge.judge(told))]

    assert found == []


@given(
    st.integers(0, 10_000),
    st.lists(st.floats(0, 29.9) | st.none(), min_size=1, max_size=4),
)
def test_however_long_its_queue_a_worker_that_works_is_never_restarted(late, idles):
    """An idle of None: that child is at a task."""
    children = [
        make_child(
            identity=Identity(5000 + n, 1), **{"task": 9} if i is None else {"idle": i}
        )
        for n, i in enumerate(idles)
    ]

    sight = make_sight(ran=91.0 + late, waiting=61.0 + late)

    assert decide(make_main(), *children, sight=sight) == []


# -- gates -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"broker_well": False}, Why.DEPENDENCY),
        ({"holds": {"worker": "observe"}}, Why.OBSERVE),
        ({"holds": {"watchdog": "observe"}}, Why.OBSERVE),
        ({"holds": {"worker": "drain"}}, Why.DRAINING),
        ({"judge": watching(mode=Mode.WORKERS)}, Why.OBSERVE),
        (
            {"judge": watching(spending={"worker": Spending(hold_until_ns=2 * NOW)})},
            Why.BUDGET,
        ),
    ],
    ids=["broker", "held", "watchdog-held", "draining", "mode", "budget"],
)
def test_what_holds_for_every_action_holds_here(changes, why):
    found = decide(**changes)

    assert decided(found) == []
    assert refused(found) == {why}


# -- once ------------------------------------------------------------------------------
def restarted(judge: Judge, *, after: int, ran: float | None, waiting: float = 75.0):
    """Return what is decided so much later, with a new main that listens no better."""
    for second in range(1, after):
        judge.judge(Facts(NOW + second * SECOND))
    now = NOW + after * SECOND
    who = [
        make_main(now_ns=now, identity=Identity(5000, 1)),
        make_child(now_ns=now, parent=5000),
    ]
    sight = make_sight(now_ns=now, ran=ran, waiting=waiting)
    return judge.judge(Facts(now, who, sights=[sight]))


def test_a_second_restart_for_the_same_silence_is_refused():
    judge = watching()
    decide(judge=judge)

    found = restarted(judge, after=200, ran=291)

    assert decided(found) == []
    assert refused(found) == {Why.REPEAT}


def test_a_canary_that_was_taken_arms_it_again():
    judge = watching()
    decide(judge=judge)

    found = restarted(judge, after=200, ran=95)

    assert decided(found) == [(Rule.MAIN_DEAF, Act.TERM)]


def test_once_means_once_also_after_the_budget_is_given_back_and_for_the_next_judge():
    first = watching()
    decide(judge=first)
    for second in range(1, 400):
        first.judge(Facts(NOW + second * SECOND))
    heir = Judge(mode=Mode.ENFORCE, spending=first.spending)

    found = restarted(heir, after=600, ran=691)

    assert first.spending["worker"].actions_ns == ()
    assert refused(found) == {Why.REPEAT}


def test_of_two_late_queues_the_one_taken_from_last_decides():
    judge = watching(spending={"worker": Spending(deaf_ns=NOW - 200 * SECOND)})
    old, new = make_sight(ran=300.0, waiting=280.0), make_sight(ran=100.0)

    found = judge.judge(Facts(NOW, [make_main(), make_child()], sights=[old, new]))

    assert decided(found) == [(Rule.MAIN_DEAF, Act.TERM)]
