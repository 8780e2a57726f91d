"""How long calls take: one a second is measured, and nothing else changes by it."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from breakers import CallRefusedError, CircuitOpenError, CircuitState, deadline
from breakers.durations import KEPT
from breakers.pulse import pulse
from tests.breakers.guards import (
    WAYS,
    Hanging,
    arun,
    boom,
    fine,
    in_threads,
    make_breaker,
    run_python,
    trip,
    wait_open_time,
)

pytestmark = pytest.mark.usefixtures("_alone")
OPTIONS = {
    "no limit": {"timeout": None},
    "a limit": {"timeout": 5.0},
    "isolated": {"isolation": "thread"},
    "slow calls": {"slow_call_duration": 1.0},
}


def make_quiet_breaker(**options):
    """Build a breaker that no thread looks after: a second passes when told."""
    breaker = make_breaker(**options)
    breaker.execute(fine)
    pulse._watched.discard(breaker)
    breaker.durations()
    return breaker


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_one_call_of_a_second_is_measured_and_all_are_counted(way, options):
    breaker = make_quiet_breaker(**options)
    breaker.tend()
    breaker.tend()

    answers = [way(breaker, fine) for _ in range(5)]
    first = breaker.durations()
    breaker.tend()
    way(breaker, fine)

    assert answers == ["fine"] * 5
    assert len(first) == len(breaker.durations()) == 1
    assert breaker.counts()["success"] == 7
    assert breaker.durations() == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_failure_is_measured_too(way, options):
    breaker = make_quiet_breaker(**options)
    breaker.tend()

    with pytest.raises(ConnectionError):
        way(breaker, boom)

    assert len(breaker.durations()) == 1
    assert breaker.counts()["failure"] == 1


@pytest.mark.parametrize("timeout", [None, 5.0], ids=str)
def test_every_call_but_the_measured_one_takes_the_fast_way(timeout):
    breaker = make_quiet_breaker(timeout=timeout, failure_threshold=99)
    breaker.tend()
    gated = []

    for _ in range(3):
        with pytest.raises(ConnectionError) as failed:
            breaker.execute(boom)
        gated.append("_gate" in [entry.name for entry in failed.traceback])

    assert gated == [True, False, False]


def test_the_time_is_that_of_the_call():
    breaker = make_quiet_breaker()
    breaker.tend()

    breaker.execute(time.sleep, 0.03)

    (seconds,) = breaker.durations()
    assert 0.03 <= seconds < 1


def test_a_slow_call_is_measured_though_quick_ones_began_and_ended_meanwhile():
    breaker = make_quiet_breaker()
    breaker.tend()
    slow = Hanging(breaker)

    for _ in range(5):
        breaker.execute(fine)
    before = breaker.durations()
    slow.end()

    assert before == []
    assert len(breaker.durations()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_never_left_is_not_measured(way):
    breaker = make_quiet_breaker()
    breaker.tend()

    def refuse():
        raise CallRefusedError("other", None, "no")

    with pytest.raises(CallRefusedError):
        way(breaker, refuse)

    assert breaker.durations() == []


def test_a_cancelled_call_is_not_measured():
    breaker = make_quiet_breaker()
    breaker.tend()

    async def story():
        task = asyncio.create_task(breaker.aexecute(asyncio.sleep, 30))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())

    assert breaker.durations() == []


def test_a_coroutine_is_measured_while_it_is_awaited():
    breaker = make_quiet_breaker()
    breaker.tend()

    async def story():
        waiting = breaker.execute(asyncio.sleep, 0.03)
        before = breaker.durations()
        await waiting
        return before

    assert asyncio.run(story()) == []
    (seconds,) = breaker.durations()
    assert 0.02 < seconds < 1


def test_a_stream_is_not_measured_and_the_next_call_has_the_fast_way():
    breaker = make_quiet_breaker(timeout=None)
    breaker.tend()

    def stream():
        yield from "abc"

    letters = list(breaker.execute(stream))
    breaker.execute(fine)

    assert letters == ["a", "b", "c"]
    assert breaker.durations() == []


# -- States --------------------------------------------------------------------------
def test_a_refused_call_is_not_measured_and_the_trial_is():
    breaker = make_quiet_breaker(reset_timeout=0.05)
    trip(breaker)
    breaker.tend()

    with pytest.raises(CircuitOpenError):
        breaker.execute(fine)
    refused = breaker.durations()
    wait_open_time(breaker)
    breaker.execute(fine)

    assert refused == []
    assert breaker.state is CircuitState.HALF_OPEN
    assert len(breaker.durations()) == 1


def test_an_open_circuit_stays_open_when_a_call_is_asked_for_or_ends():
    breaker = make_quiet_breaker()
    breaker.tend()
    measured = Hanging(breaker)
    breaker.tend()
    trip(breaker)

    measured.end()
    breaker.tend()

    with pytest.raises(CircuitOpenError):
        breaker.execute(fine)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize(
    ("mode", "measured"), [("disabled", 0), ("metrics_only", 1)], ids=str
)
def test_what_is_counted_is_measured(mode, measured):
    breaker = make_quiet_breaker()
    breaker.override(mode)
    breaker.tend()

    breaker.execute(fine)

    assert len(breaker.durations()) == measured


def test_a_measured_call_without_a_limit_looks_at_none_either():
    breaker = make_quiet_breaker(timeout=None)

    def answers():
        with deadline(1e-9):
            return breaker.execute(fine), arun(breaker, fine)

    unmeasured = answers()
    breaker.tend()
    measured = answers()

    assert unmeasured == measured == ("fine", "fine")
    assert len(breaker.durations()) == 1


# -- Many ----------------------------------------------------------------------------
@pytest.mark.usefixtures("_switching")
def test_of_many_threads_one_is_measured():
    breaker = make_quiet_breaker()
    seen = []

    for _ in range(20):
        breaker.tend()
        in_threads(8, lambda: breaker.execute(fine))
        seen.append(len(breaker.durations()))

    assert seen == [1] * 20
    assert breaker.counts()["success"] == 161


@pytest.mark.usefixtures("_switching")
def test_asking_while_others_trip_and_reset_leaves_each_state_what_it_is():
    breaker = make_quiet_breaker(failure_threshold=1)
    wrong, over = [], threading.Event()

    def ask():
        while not over.is_set():
            breaker.tend()

    def call():
        for _ in range(200):
            with suppress(CircuitOpenError):
                breaker.execute(fine)

    asking = threading.Thread(target=ask)
    calling = [threading.Thread(target=call) for _ in range(3)]
    for thread in (asking, *calling):
        thread.start()
    for _ in range(100):
        trip(breaker)
        try:
            wrong.append(breaker.execute(fine))
        except CircuitOpenError:
            breaker.reset()
        breaker.execute(fine)
    for thread in calling:
        thread.join()
    over.set()
    asking.join()

    assert wrong == []


def test_what_nobody_takes_is_not_kept_for_ever():
    breaker = make_quiet_breaker()

    for _ in range(KEPT + 10):
        breaker.tend()
        breaker.execute(fine)

    assert len(breaker.durations()) == KEPT


def test_a_child_measures_its_own_calls_alone():
    script = """
import os
from breakers import CircuitBreaker
breaker = CircuitBreaker("a")
breaker.execute(int)
breaker.tend()
breaker.execute(int)
breaker.tend()
reader, writer = os.pipe()
if not os.fork():
    before = len(breaker.durations())
    breaker.execute(int)
    breaker.tend()
    breaker.execute(int)
    os.write(writer, f"{before} {len(breaker.durations())}".encode())
    os._exit(0)
os.close(writer)
print(os.read(reader, 99).decode(), len(breaker.durations()))
"""

    assert run_python(script).split() == ["0", "1", "1"]
