"""Limits on calls: deadlines, and threads for those that keep none."""

import asyncio
import contextvars
import threading
import time

import pytest

from breakers import (
    BulkheadFullError,
    CallRefusedError,
    CallTimeoutError,
    CircuitState,
    deadline,
    remaining,
)
from tests.breakers.guards import (
    WAYS,
    arun,
    fine,
    make_breaker,
)
from tests.server import wait_for

pytestmark = pytest.mark.usefixtures("_alone")


# -- Limits --------------------------------------------------------------------------
def late():
    time.sleep(0.03)
    return "late"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"is_failure": lambda outcome: False}])
def test_a_late_return_is_a_timeout_and_still_returned(way, options):
    breaker = make_breaker(timeout=0.02, failure_rate_threshold=None, **options)

    answers = [way(breaker, late) for _ in range(3)]

    assert answers == ["late"] * 3
    assert breaker.state is CircuitState.OPEN
    assert breaker.circuit.reason == "3 timeouts in a row"
    assert breaker.counts()["timeout"] == 3


@pytest.mark.parametrize("way", WAYS)
def test_without_a_timeout_nothing_is_late(way):
    breaker = make_breaker(timeout=None)

    assert way(breaker, late) == "late"
    assert breaker.counts()["timeout"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_call_knows_the_time_it_has(way):
    breaker = make_breaker(timeout=5.0)

    assert 4 < way(breaker, remaining) <= 5
    assert remaining() is None


@pytest.mark.parametrize("way", WAYS)
def test_nested_guards_share_the_shorter_time(way):
    outer, inner = make_breaker(timeout=2.0), make_breaker(timeout=60.0)
    short = make_breaker(timeout=1.0)

    def ask():
        return inner.execute(remaining), short.execute(remaining), remaining()

    within, shorter, after = way(outer, ask)

    assert 1.5 < within <= 2
    assert 0.5 < shorter <= 1
    assert 1.5 < after <= 2


def test_an_awaited_guard_shares_the_time_of_the_one_around_it():
    outer, inner = make_breaker(timeout=2.0), make_breaker(timeout=60.0)

    async def nested():
        return await asyncio.create_task(inner.aexecute(remaining))

    assert 1.5 < arun(outer, nested) <= 2


@pytest.mark.parametrize("way", WAYS)
def test_a_call_with_no_time_left_is_not_made_and_blames_nobody(way):
    breaker = make_breaker(timeout=5.0)
    called = []

    def call():
        with deadline(1e-9):
            while remaining() > 0:
                pass
            return way(breaker, lambda: called.append(1))

    with pytest.raises(CallRefusedError, match="no time is left"):
        call()

    assert called == []
    assert breaker.counts()["failure"] == breaker.counts()["timeout"] == 0


def test_remaining_is_at_most_what_is_asked_for():
    with deadline(10.0):
        assert remaining(3.0) == 3.0
        assert 9 < remaining(60.0) <= 10
    assert remaining(3.0) == 3.0
    assert remaining() is None


def test_an_awaited_call_is_cut_at_its_deadline():
    breaker = make_breaker(timeout=0.02)
    ended = []

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    with pytest.raises(CallTimeoutError) as cut:
        arun(breaker, hang)

    assert ended == [1]
    assert (cut.value.name, breaker.counts()["timeout"]) == (breaker.name, 1)
    assert cut.value.timeout == pytest.approx(0.02)
    assert isinstance(cut.value, TimeoutError)


def test_a_timeout_error_of_the_call_itself_stays_what_it_is():
    breaker = make_breaker(timeout=5.0)

    async def time_out():
        raise TimeoutError("by the client")

    with pytest.raises(TimeoutError, match="by the client") as raised:
        arun(breaker, time_out)

    assert not isinstance(raised.value, CallTimeoutError)
    assert breaker.counts()["timeout"] == 1


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_cancel_from_outside_keeps_its_meaning(timeout):
    breaker = make_breaker(timeout=timeout)

    async def story():
        task = asyncio.create_task(breaker.aexecute(asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel("by hand")
        with pytest.raises(asyncio.CancelledError, match="by hand"):
            await task
        return task.cancelled()

    assert asyncio.run(story())
    assert breaker.counts()["timeout"] == breaker.counts()["failure"] == 0


def test_a_timeout_around_the_guard_is_no_failure_of_the_dependency():
    breaker = make_breaker(timeout=5.0)

    async def story():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await breaker.aexecute(asyncio.Event().wait)

    asyncio.run(story())

    assert breaker.counts()["timeout"] == breaker.counts()["failure"] == 0


# -- isolation="thread" ----------------------------------------------------------------
def make_isolated(**options):
    return make_breaker(**{"isolation": "thread", "timeout": 0.05, **options})


def wait_free(breaker):
    wait_for(lambda: breaker._pool.taken == 0, 5, "the pool to be free")


@pytest.mark.parametrize("way", WAYS)
def test_a_hung_call_is_left_at_the_deadline(way):
    breaker = make_isolated()
    go = threading.Event()

    with pytest.raises(CallTimeoutError) as cut:
        way(breaker, go.wait)

    assert cut.value.name == breaker.name
    assert breaker.counts()["timeout"] == 1
    assert breaker._pool.taken == 1
    go.set()
    wait_free(breaker)


@pytest.mark.parametrize("way", WAYS)
def test_a_full_bulkhead_refuses_and_blames_nobody(way):
    breaker = make_isolated(max_concurrent=2, failure_threshold=9)
    go = threading.Event()
    for _ in range(2):
        with pytest.raises(CallTimeoutError):
            way(breaker, go.wait)

    with pytest.raises(BulkheadFullError, match="all 2 threads are taken"):
        way(breaker, fine)

    assert breaker.counts()["ignored"] == 1
    assert breaker.counts()["failure"] == 0
    go.set()
    wait_free(breaker)
    assert way(breaker, fine) == "fine"


def type_of(error):
    return type(error)


def test_a_full_bulkhead_falls_back():
    breaker = make_isolated(max_concurrent=1, fallback=type_of)
    go = threading.Event()

    answers = [breaker.execute(go.wait), breaker.execute(fine)]

    assert answers == [CallTimeoutError, BulkheadFullError]
    go.set()


@pytest.mark.parametrize("way", WAYS)
def test_threads_are_used_again_and_none_is_left_over(way):
    breaker = make_isolated(max_concurrent=3, failure_threshold=99)
    for _ in range(3):
        go = threading.Event()
        for _ in range(3):
            with pytest.raises(CallTimeoutError):
                way(breaker, go.wait)
        go.set()
        wait_free(breaker)

    names = [thread.name for thread in threading.enumerate()]

    assert names.count(f"breaker-{breaker.name}") == 3
    assert way(breaker, fine) == "fine"


def test_an_isolated_call_sees_the_callers_context():
    breaker = make_isolated(timeout=5.0)
    who = contextvars.ContextVar("who", default="nobody")
    who.set("user:7")

    name, left, thread = breaker.execute(
        lambda: (who.get(), remaining(), threading.current_thread().name)
    )

    assert name == "user:7"
    assert 4 < left <= 5
    assert thread == f"breaker-{breaker.name}"


@pytest.mark.parametrize("way", WAYS)
def test_an_isolated_calls_own_timeout_error_stays_what_it_is(way):
    breaker = make_isolated(timeout=5.0)

    def time_out():
        raise TimeoutError("by the client")

    with pytest.raises(TimeoutError, match="by the client") as raised:
        way(breaker, time_out)

    assert not isinstance(raised.value, CallTimeoutError)


def test_an_isolated_call_cancelled_by_its_task_frees_its_thread():
    breaker = make_isolated(timeout=None, max_concurrent=1)
    go = threading.Event()

    async def story():
        task = asyncio.create_task(breaker.aexecute(go.wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    go.set()
    wait_free(breaker)

    assert breaker.execute(fine) == "fine"


def test_a_thread_the_system_does_not_give_costs_no_place():
    breaker = make_isolated(max_concurrent=1, timeout=5.0, failure_threshold=9)
    before = threading.stack_size(1 << 46)  # no address space has room for that
    try:
        with pytest.raises(RuntimeError):
            breaker.execute(fine)
    finally:
        threading.stack_size(before)

    assert breaker._pool.taken == 0
    assert breaker.execute(fine) == "fine"
