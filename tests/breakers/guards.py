"""Builders and calls for the tests of the breakers' pure core."""

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from breakers import CircuitBreaker
from breakers.circuit import Circuit
from breakers.options import Options
from tests.server import wait_for

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


def new_name() -> str:
    """Return a name no other test has."""
    return f"test-{next(_numbers)}"


def make_breaker(**options: Any) -> CircuitBreaker:
    """Build a breaker of its own that three failures open."""
    return CircuitBreaker(new_name(), **{"failure_threshold": 3, **options})


def make_circuit(clock: Clock, **options: Any) -> Circuit:
    """Build a circuit on a clock, without jitter."""
    circuit = Circuit(
        new_name(), Options(**options), clock=clock, spread=lambda low, high: 1.0
    )
    circuit.arm()
    return circuit


def boom() -> None:
    raise ConnectionError("down")


def fine() -> str:
    return "fine"


async def aboom() -> None:
    raise ConnectionError("down")


async def afine() -> str:
    return "fine"


def run(
    breaker: CircuitBreaker, call: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Call as functions do."""
    return breaker.execute(call, *args, **kw)


def arun(
    breaker: CircuitBreaker, call: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Call as coroutines do."""
    return asyncio.run(breaker.aexecute(call, *args, **kw))


WAYS = [run, arun]


def trip(breaker: CircuitBreaker) -> None:
    """Open a breaker by failures."""
    while breaker.state == "CLOSED":
        with suppress(ConnectionError):
            breaker.execute(boom)
    assert breaker.state == "OPEN"


def wait_open_time(breaker: CircuitBreaker) -> None:
    """Wait until an open breaker may be tried."""
    wait_for(lambda: time.monotonic() > breaker.circuit.open_until, 5, "the open time")


class Hanging:
    """A guarded call that is under way in a thread until told how to end."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.outcome: list[object] = []
        self._end: Callable[[], Any] = fine
        self._entered, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(breaker,))
        self._thread.start()
        assert self._entered.wait(5)

    def _run(self, breaker: CircuitBreaker) -> None:
        try:
            self.outcome.append(breaker.execute(self._hang))
        except BaseException as error:  # noqa: BLE001 - whatever it is
            self.outcome.append(error)

    def _hang(self) -> Any:
        self._entered.set()
        assert self._go.wait(10)
        return self._end()

    def end(self, how: Callable[[], Any] = fine) -> None:
        """Let the call end, by returning or raising."""
        self._end = how
        self._go.set()
        self._thread.join(5)
        assert not self._thread.is_alive()


def in_threads(count: int, call: Callable[[], Any]) -> None:
    """Run a call in so many threads at once and wait for all."""
    gate = threading.Barrier(count)

    def one() -> None:
        gate.wait()
        call()

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_python(script: str, **environ: str) -> str:
    """Run a script in a Python of its own, where only `breakers` is at hand."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
