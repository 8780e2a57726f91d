"""One process of a fleet: obeys a line of JSON at a time, answers with one.

``python -m tests.breakers.member URL FOLDER OPTIONS``. The dependency is a folder: it
is dead while FOLDER/dead is there, and each call that reaches it adds a byte to
FOLDER/reached.
"""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

from breakers import CallRefusedError, CircuitBreaker, on_transition
from tests.breakers.obeying import in_child, obey, say

FOLDER = Path(sys.argv[2])
REACHED = os.open(FOLDER / "reached", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
MOVES: list[list[object]] = []


def reach() -> None:
    os.write(REACHED, b".")
    if (FOLDER / "dead").exists():
        raise ConnectionError("down")


def hang() -> None:
    os.write(REACHED, b".")
    say("hanging")
    time.sleep(60)


def call(breaker, fn=reach):
    try:
        breaker.execute(fn)
    except CallRefusedError:
        return "refused"
    except ConnectionError:
        return "failed"
    return "ok"


def state(breaker):
    row = breaker.circuit.row()
    return {"state": breaker.state, "version": row.version, "remaining": row.remaining}


def calls(breaker, times):
    return [call(breaker) for _ in range(times)]


def wait(breaker, states, seconds):
    end = time.monotonic() + seconds
    while breaker.state not in states and time.monotonic() < end:
        time.sleep(0.001)
    return {"at": time.time(), **state(breaker)}


def hammer(breaker, threads, seconds):
    end = time.monotonic() + seconds
    told = {"ok": 0, "failed": 0, "refused": 0}
    slowest = [0.0]
    last = [0.0]

    def loop():
        while time.monotonic() < end:
            started = time.perf_counter()
            outcome = call(breaker)
            if outcome == "refused":
                slowest.append(time.perf_counter() - started)
                last[0] = time.time()
            told[outcome] += 1
            time.sleep(0.002)

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    slowest.sort()
    p99 = slowest[int(len(slowest) * 0.99)]
    return {**told, "p99": p99, "last_refused": last[0], **state(breaker)}


def cancel(breaker):
    """Begin a trial in an event loop and cancel it, as a client that goes away."""

    async def run():
        task = asyncio.create_task(breaker.aexecute(asyncio.sleep, 30))
        await asyncio.sleep(0.05)
        begun = breaker.circuit.trial is not None
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return begun
        except CallRefusedError:
            return False
        return None

    return asyncio.run(run())


def child(breaker, states, seconds):
    """Fork; the child uses the breaker and tells what it learns."""

    def learn():
        # Refused, if it is so late that it has heard already.
        call(breaker, lambda: None)
        return wait(breaker, states, seconds)

    return in_child(learn)


def override(breaker, mode, seconds):
    breaker.override(mode, reason="vendor outage", seconds=seconds)
    return time.time()


def slow_calls(breaker, seconds):
    """Call a healthy dependency for some seconds; return the slowest call."""
    end, slowest, outcomes = time.monotonic() + seconds, 0.0, {}
    while time.monotonic() < end:
        started = time.perf_counter()
        outcome = call(breaker)
        slowest = max(slowest, time.perf_counter() - started)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        time.sleep(0.005)
    return {"slowest": slowest, **outcomes}


COMMANDS = {
    "call": call,
    "calls": calls,
    "cancel": cancel,
    "hammer": hammer,
    "hang": lambda breaker: call(breaker, hang),
    "in_child": child,
    "now": lambda breaker: time.time(),
    "moves": lambda breaker: MOVES,
    "override": override,
    "reset": lambda breaker: breaker.reset("by hand"),
    "slow_calls": slow_calls,
    "state": state,
    "wait": wait,
}


def main() -> None:
    logging.disable()
    on_transition(lambda move: MOVES.append([move.old, move.new, move.adopted]))
    options = json.loads(sys.argv[3])
    breaker = CircuitBreaker("fleet", redis_url=sys.argv[1] or None, **options)
    call(breaker, lambda: None)  # to join; refused if it has heard already
    obey(breaker, COMMANDS)


if __name__ == "__main__":
    main()
