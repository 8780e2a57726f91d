"""What breakers get wrong in the field; each as it happens, with real parts."""

import asyncio
import gc
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from breakers import CircuitOpenError, CircuitState, Transition, on_transition
from tests.breakers.guards import (
    Hanging,
    boom,
    fine,
    in_threads,
    make_breaker,
    trip,
    wait_open_time,
)
from tests.server import wait_for

pytestmark = pytest.mark.usefixtures("_alone")


# -- who reaches a dependency that may be well again ---------------------------------
def test_one_of_fifty_callers_reaches_at_an_expired_open():
    breaker = make_breaker(reset_timeout=0.02)
    trip(breaker)
    wait_open_time(breaker)
    reached, refused = [], []

    def trial():
        reached.append(1)
        wait_for(lambda: len(refused) == 49, 5, "the others' refusals")

    def caller():
        try:
            breaker.execute(trial)
        except CircuitOpenError as error:
            refused.append(error)

    in_threads(50, caller)

    assert len(reached) == 1
    assert len(refused) == 49
    assert {error.reason for error in refused} == {"a trial is under way"}


def test_one_of_fifty_tasks_reaches_at_an_expired_open():
    breaker = make_breaker(reset_timeout=0.02)
    trip(breaker)
    wait_open_time(breaker)
    reached = []

    async def trial():
        reached.append(1)
        await asyncio.sleep(0.05)

    async def fifty():
        calls = [breaker.aexecute(trial) for _ in range(50)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(fifty())

    assert len(reached) == 1
    assert sum(isinstance(one, CircuitOpenError) for one in answers) == 49


# -- who waits for whom --------------------------------------------------------------
@pytest.mark.parametrize("timeout", [None, 30.0])
def test_an_innocent_call_returns_while_another_hangs(timeout):
    breaker = make_breaker(timeout=timeout)
    hanging = Hanging(breaker)

    answer = breaker.execute(fine)

    assert answer == "fine"
    assert hanging.outcome == []
    hanging.end()
    assert hanging.outcome == ["fine"]


# -- results that come too late ------------------------------------------------------
@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_late_success_closes_nothing(timeout):
    breaker = make_breaker(timeout=timeout)
    hanging = Hanging(breaker)
    trip(breaker)

    hanging.end(fine)

    assert hanging.outcome == ["fine"]
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_late_failure_prolongs_nothing(timeout):
    breaker = make_breaker(timeout=timeout, reset_timeout=0.02)
    late = [Hanging(breaker), Hanging(breaker)]
    trip(breaker)
    until = breaker.circuit.open_until

    late[0].end(boom)
    after_open = breaker.circuit.open_until
    wait_open_time(breaker)
    breaker.execute(fine)
    late[1].end(boom)

    assert after_open == until
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.circuit.successes == 1


def test_late_results_do_not_count_for_the_generation_after():
    breaker = make_breaker(success_threshold=1, reset_timeout=0.02)
    late = [Hanging(breaker) for _ in range(4)]
    trip(breaker)
    wait_open_time(breaker)
    breaker.execute(fine)
    assert breaker.state is CircuitState.CLOSED

    for one in late:
        one.end(boom)

    assert breaker.state is CircuitState.CLOSED
    assert breaker.circuit.recent() == (0, 0)


# -- cancelled calls -----------------------------------------------------------------
def test_a_cancelled_call_neither_counts_nor_breaks_a_run():
    breaker = make_breaker()

    async def hang():
        await asyncio.Event().wait()

    async def story():
        seen = []
        for step in "FFcFF":
            if step == "F":
                with suppress(ConnectionError, CircuitOpenError):
                    await breaker.aexecute(boom)
            else:
                task = asyncio.create_task(breaker.aexecute(hang))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            seen.append(str(breaker.state))
        return seen

    assert asyncio.run(story()) == ["CLOSED", "CLOSED", "CLOSED", "OPEN", "OPEN"]
    assert breaker.counts()["ignored"] == 1


def test_a_cancelled_trial_gives_its_permit_back():
    breaker = make_breaker(reset_timeout=0.02)
    trip(breaker)
    wait_open_time(breaker)

    async def story():
        task = asyncio.create_task(breaker.aexecute(asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await breaker.aexecute(fine)

    assert asyncio.run(story()) == "fine"
    assert breaker.state is CircuitState.HALF_OPEN


# -- errors that say nothing about the dependency ------------------------------------
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_the_process_is_no_failure(kind):
    breaker = make_breaker()

    def leave():
        raise kind

    for _ in range(3):
        with pytest.raises(kind):
            breaker.execute(leave)

    assert breaker.state is CircuitState.CLOSED
    assert breaker.counts()["failure"] == 0


# -- streams -------------------------------------------------------------------------
def broken_stream():
    yield 1
    raise ConnectionError("down")


async def broken_astream():
    yield 1
    raise ConnectionError("down")


def endless_stream():
    yield from iter(int, 1)


async def endless_astream():
    while True:
        yield 0


def read(breaker, stream):
    return list(breaker.execute(stream))


def read_async(breaker, stream):
    async def collect():
        return [item async for item in breaker.execute(stream)]

    return asyncio.run(collect())


STREAMS = [(read, broken_stream), (read_async, broken_astream)]


@pytest.mark.parametrize(("reader", "stream"), STREAMS, ids=["sync", "async"])
def test_a_stream_that_breaks_midway_is_a_failure(reader, stream):
    breaker = make_breaker()

    for _ in range(3):
        with pytest.raises(ConnectionError):
            reader(breaker, stream)

    assert breaker.state is CircuitState.OPEN
    with pytest.raises(CircuitOpenError):
        reader(breaker, stream)


def test_a_stream_that_is_given_up_says_nothing():
    breaker = make_breaker()

    for _ in range(5):
        stream = breaker.execute(endless_stream)
        next(stream)
        stream.close()

    assert breaker.state is CircuitState.CLOSED
    assert breaker.counts() | {"ignored": 5} == breaker.counts()
    assert breaker.counts()["failure"] == breaker.counts()["success"] == 0


def test_an_async_stream_that_is_given_up_says_nothing():
    breaker = make_breaker()

    async def give_up():
        stream = breaker.execute(endless_astream)
        async for _ in stream:
            break
        await stream.aclose()

    for _ in range(5):
        asyncio.run(give_up())

    assert breaker.state is CircuitState.CLOSED
    assert breaker.counts()["ignored"] == 5
    assert breaker.counts()["failure"] == breaker.counts()["success"] == 0


@pytest.mark.parametrize("reader", [read, read_async], ids=["sync", "async"])
def test_a_trial_by_stream_holds_its_permit_until_the_end(reader):
    breaker = make_breaker(reset_timeout=0.02)
    trip(breaker)
    wait_open_time(breaker)
    seen = []

    def other():
        with pytest.raises(CircuitOpenError) as refused:
            breaker.execute(fine)
        seen.append(refused.value.reason)

    def stream():
        other()
        yield 1

    async def astream():
        other()
        yield 1

    assert reader(breaker, stream if reader is read else astream) == [1]
    assert seen == ["a trial is under way"]
    assert breaker.circuit.successes == 1


# -- a failing dependency that answers now and then ----------------------------------
def test_four_failures_of_five_open_it_without_any_run_of_five():
    breaker = make_breaker(failure_threshold=5)
    calls = 0

    while breaker.state is CircuitState.CLOSED and calls < 100:
        with suppress(ConnectionError):
            breaker.execute(fine if calls % 5 == 4 else boom)
        calls += 1

    assert breaker.state is CircuitState.OPEN
    assert calls == 21  # the first failure after minimum_calls=20
    assert breaker.circuit.reason == "80 % of 21 calls failed"


# -- listeners -----------------------------------------------------------------------
def test_a_listener_that_raises_harms_neither_the_call_nor_other_listeners(caplog):
    heard: list[Transition] = []

    def bad(transition):
        raise RuntimeError("listener")

    offs = [on_transition(bad), on_transition(heard.append)]
    breaker = make_breaker()

    try:
        trip(breaker)
    finally:
        for off in offs:
            off()

    ours = [one for one in heard if one.name == breaker.name]
    assert [(one.old, one.new) for one in ours] == [("CLOSED", "OPEN")]
    assert f"a listener of breaker {breaker.name} raised" in caplog.text


def test_a_listener_may_use_the_breaker_it_hears_of():
    heard = []
    breaker = make_breaker()

    def curious(transition):
        if transition.name == breaker.name:
            heard.append((str(breaker.state), breaker.counts()["failure"]))

    off = on_transition(curious)
    try:
        trip(breaker)
    finally:
        off()

    assert heard == [("OPEN", 3)]


def test_a_listener_taken_off_hears_nothing_more():
    heard = []
    off = on_transition(heard.append)
    off()
    off()

    trip(make_breaker())

    assert heard == []


# -- clocks --------------------------------------------------------------------------
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_another_time_zone_changes_neither_open_time_nor_records(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    heard = []
    off = on_transition(heard.append)
    breaker = make_breaker(reset_timeout=0.02)

    try:
        trip(breaker)
        with pytest.raises(CircuitOpenError) as refused:
            breaker.execute(fine)
        wait_open_time(breaker)
        breaker.execute(fine)
    finally:
        off()
        monkeypatch.undo()
        time.tzset()

    assert 0 <= refused.value.retry_after <= 0.022
    assert breaker.state is CircuitState.HALF_OPEN
    assert heard[0].at.tzinfo is UTC
    assert abs((datetime.now(UTC) - heard[0].at).total_seconds()) < 60


# -- what looks like a plain function ------------------------------------------------
async def acall_boom():
    raise ConnectionError("down")


def by_execute(breaker, call):
    async def await_it():
        return await breaker.execute(call)

    return asyncio.run(await_it())


def by_aexecute(breaker, call):
    return asyncio.run(breaker.aexecute(call))


def by_decorator(breaker, call):
    async def await_it():
        return await breaker(call)()

    return asyncio.run(await_it())


@pytest.mark.parametrize("way", [by_execute, by_aexecute, by_decorator])
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_lambda_that_returns_a_coroutine_is_counted(way, timeout):
    breaker = make_breaker(timeout=timeout)

    for _ in range(3):
        with pytest.raises(ConnectionError):
            way(breaker, lambda: acall_boom())  # noqa: PLW0108 - no coroutine function

    assert breaker.state is CircuitState.OPEN
    assert breaker.counts()["failure"] == 3
    with pytest.raises(CircuitOpenError):
        way(breaker, lambda: acall_boom())  # noqa: PLW0108


def test_a_coroutine_that_is_refused_after_all_is_closed():
    breaker = make_breaker()

    async def story():
        waiting = breaker.execute(acall_boom)
        trip(breaker)
        with pytest.raises(CircuitOpenError):
            await waiting

    asyncio.run(story())  # "never awaited" is a warning, and that an error
    gc.collect()
