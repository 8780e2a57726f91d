"""Sample guarded calls beside bare ones; used for our guard and for its rivals.

A guard is a :class:`Guard`; every row is a function that takes one and returns a ratio
to the same work without it, both timed in turn. Knows neither Django nor any breaker.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat
from typing import Any

CALLS = 4_000
# Long enough that threads lose the interpreter in the middle: it changes hands all 5 ms.
CROWD_CALLS = 20_000
THREADS = 16
Work = Callable[[], Any]
AWork = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Guard:
    """One breaker as its users spell it: ``call(work)``, or ``wrap(work)`` once.

    ``refused`` is what it raises when it is open; ``fresh`` makes another one that
    opens after so many failures and tries again after so many seconds.
    """

    fresh: Callable[[int, float], "Guard"]
    refused: type[BaseException]
    call: Callable[[Work], Any] | None = None
    wrap: Callable[[Work], Work] | None = None
    acall: Callable[[AWork], Awaitable[Any]] | None = None
    awrap: Callable[[AWork], AWork] | None = None

    def around(self, work: Work) -> Work:
        """Return the guarded work as a function of no arguments."""
        if self.wrap is not None:
            return self.wrap(work)
        call = self.call
        assert call is not None
        return lambda: call(work)


def work() -> int:
    return 1


async def awork() -> int:
    return 1


def fail() -> None:
    raise ConnectionError("down")


@contextmanager
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- Loops: bare, call(work) and wrapped() are each one call a turn, no more ---------
def timed(
    run: Callable[..., object], *args: object, clock: Callable[[], float]
) -> float:
    started = clock()
    run(*args)
    return clock() - started


def loop(call: Work, count: int) -> None:
    for _ in repeat(None, count):
        call()


def loop_call(call: Callable[[Work], Any], given: Work, count: int) -> None:
    for _ in repeat(None, count):
        call(given)


def loop_caught(call: Work, count: int, caught: type[BaseException]) -> None:
    for _ in repeat(None, count):
        try:  # noqa: SIM105 - suppress() costs several bare calls
            call()
        except caught:
            pass


def loop_call_caught(
    call: Callable[[Work], Any], given: Work, count: int, caught: type[BaseException]
) -> None:
    for _ in repeat(None, count):
        try:  # noqa: SIM105 - suppress() costs several bare calls
            call(given)
        except caught:
            pass


def run_guarded(guard: Guard, count: int) -> Callable[[], None]:
    """Return the loop over the guard's own spelling."""
    if guard.wrap is not None:
        wrapped = guard.wrap(work)
        return lambda: loop(wrapped, count)
    call = guard.call
    assert call is not None
    return lambda: loop_call(call, work, count)


def run_caught(
    guard: Guard, given: Work, count: int, caught: type[BaseException]
) -> Callable[[], None]:
    if guard.wrap is not None:
        wrapped = guard.wrap(given)
        return lambda: loop_caught(wrapped, count, caught)
    call = guard.call
    assert call is not None
    return lambda: loop_call_caught(call, given, count, caught)


# -- Rows --------------------------------------------------------------------------
def closed(guard: Guard) -> float:
    """One thread, processor time."""
    guarded = run_guarded(guard, CALLS)
    guarded()  # warm
    with no_collector():
        bare = timed(loop, work, CALLS, clock=time.thread_time)
        return timed(guarded, clock=time.thread_time) / bare


def crowded(guard: Guard) -> float:
    """Sixteen threads at once, the sum of their processor time."""

    def crowd(run: Callable[[], None]) -> float:
        gate, spent = threading.Barrier(THREADS), []

        def one() -> None:
            gate.wait()
            spent.append(timed(run, clock=time.thread_time))

        threads = [threading.Thread(target=one) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(spent)

    guarded = run_guarded(guard, CROWD_CALLS)
    guarded()
    with no_collector():
        bare = crowd(lambda: loop(work, CROWD_CALLS))
        return crowd(guarded) / bare


def opened(guard: Guard, seconds: float = 3600.0) -> Guard:
    """Return a guard of the same kind that is open."""
    one = guard.fresh(1, seconds)
    for _ in range(2):  # some trip only with the call after the last failure
        with suppress(ConnectionError, guard.refused):
            one.around(fail)()
    return one


def refused(guard: Guard) -> float:
    """Open, the refusal raised and caught, beside a bare call."""
    guarded = run_caught(opened(guard), work, CALLS, guard.refused)
    guarded()
    with no_collector():
        bare = timed(loop, work, CALLS, clock=time.thread_time)
        return timed(guarded, clock=time.thread_time) / bare


def failing(guard: Guard) -> float:
    """A call that raises while the circuit stays closed, beside raise and catch."""
    one = guard.fresh(1_000_000_000, 3600.0)
    one.around(work)()
    guarded = run_caught(one, fail, CALLS, ConnectionError)
    guarded()
    with no_collector():
        bare = timed(loop_caught, fail, CALLS, ConnectionError, clock=time.thread_time)
        return timed(guarded, clock=time.thread_time) / bare


def awaited(guard: Guard) -> float:
    """A coroutine, beside a bare await."""

    async def wrapped(one: AWork) -> None:
        for _ in repeat(None, CALLS):
            await one()

    async def called(acall: Callable[[AWork], Awaitable[Any]]) -> None:
        for _ in repeat(None, CALLS):
            await acall(awork)

    def guarded() -> Awaitable[None]:
        if guard.awrap is not None:
            return wrapped(guard.awrap(awork))
        assert guard.acall is not None
        return called(guard.acall)

    async def both() -> float:
        await guarded()  # warm
        started = time.thread_time()
        await wrapped(awork)
        between = time.thread_time()
        await guarded()
        return (time.thread_time() - between) / (between - started)

    with no_collector():
        return asyncio.run(both())


def blocking(guard: Guard) -> float:
    """Eight threads that each block 20 times for 5 ms, by the wall clock."""
    nap = guard.around(lambda: time.sleep(0.005))

    def eight(one: Work) -> float:
        threads = [threading.Thread(target=loop, args=(one, 20)) for _ in range(8)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    return eight(nap) / eight(lambda: time.sleep(0.005))


def herd(guard: Guard) -> tuple[int, float]:
    """Send 50 callers at an expired OPEN: how many reach, and the slowest refusal (s)."""
    reset = 0.2
    one = opened(guard, reset)
    reached, slowest, gate = [], [0.0], threading.Barrier(50)

    def nap() -> None:
        reached.append(1)
        time.sleep(0.1)

    guarded = one.around(nap)

    def caller() -> None:
        gate.wait()
        started = time.thread_time()
        try:
            guarded()
        except guard.refused:
            slowest.append(time.thread_time() - started)

    time.sleep(reset * 1.5)
    threads = [threading.Thread(target=caller) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(reached), max(slowest)


ROWS: dict[str, Callable[[Guard], float]] = {
    "closed": closed,
    "crowded": crowded,
    "refused": refused,
    "failing": failing,
    "awaited": awaited,
    "blocking": blocking,
    "herd": lambda guard: float(herd(guard)[0]),
}
