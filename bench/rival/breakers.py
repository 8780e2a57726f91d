"""The rivals of our guard, in the benches' environment.

Reads the name of a row a line and answers with one JSON object: ratios by rival.
"""

import json
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import count

from bench.calls import ROWS, Guard

logging.disable()
_numbers = count()


def make_circuitbreaker(threshold: int, reset: float) -> Guard:
    import circuitbreaker

    one = circuitbreaker.CircuitBreaker(
        failure_threshold=threshold, recovery_timeout=reset
    )
    return Guard(
        make_circuitbreaker,
        circuitbreaker.CircuitBreakerError,
        wrap=one.decorate,
        awrap=one.decorate,
    )


def make_pybreaker(threshold: int, reset: float) -> Guard:
    import pybreaker

    one = pybreaker.CircuitBreaker(fail_max=threshold, reset_timeout=reset)
    return Guard(make_pybreaker, pybreaker.CircuitBreakerError, call=one.call)


def make_aiobreaker(threshold: int, reset: float) -> Guard:
    import aiobreaker

    one = aiobreaker.CircuitBreaker(
        fail_max=threshold, timeout_duration=timedelta(seconds=reset)
    )
    return Guard(
        make_aiobreaker,
        aiobreaker.CircuitBreakerError,
        call=one.call,
        acall=one.call_async,
    )


def make_purgatory(threshold: int, reset: float) -> Guard:
    import purgatory
    from purgatory.domain.model import OpenedState

    name = f"bench-{next(_numbers)}"
    factory = purgatory.SyncCircuitBreakerFactory(threshold, reset)
    afactory = purgatory.AsyncCircuitBreakerFactory(threshold, reset)
    return Guard(
        make_purgatory,
        OpenedState,
        wrap=factory(name),
        awrap=afactory(name),
    )


def make_interlock(threshold: int, reset: float) -> Guard:
    import interlock

    config = interlock.Config(
        minimum_number_of_calls=min(threshold, 100),
        failure_rate_threshold=1.0,
        wait_duration_in_open=reset,
    )
    one = interlock.CircuitBreaker(name=f"bench-{next(_numbers)}", config=config)
    if threshold > 100:  # its window cannot hold so many: count, never open
        one.metrics_only()
    return Guard(
        make_interlock, interlock.CircuitOpenError, call=one.call, acall=one.call
    )


MAKERS: dict[str, Callable[[int, float], Guard]] = {
    "circuitbreaker": make_circuitbreaker,
    "pybreaker": make_pybreaker,
    "aiobreaker": make_aiobreaker,
    "purgatory": make_purgatory,
    "interlock-cb": make_interlock,
}


def measure(row: str, guards: dict[str, Guard]) -> dict[str, float]:
    """Run one row over every rival that can do it."""
    return {
        name: ROWS[row](guard)
        for name, guard in guards.items()
        if row != "awaited" or guard.acall or guard.awrap
    }


def main() -> None:
    """Answer until the lines end."""
    guards = {name: make(5, 3600.0) for name, make in MAKERS.items()}
    for line in sys.stdin:
        print(json.dumps(measure(line.strip(), guards)), flush=True)


if __name__ == "__main__":
    main()
