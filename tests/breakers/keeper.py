"""One process of a deployment, Django and all: obeys a line of JSON at a time.

``python -m tests.breakers.keeper OPTIONS`` in a site's environment. It guards one
dependency, ``search``, that fails when told to. ``SECONDS`` shorten the database thread's.
"""

import json
import logging
import os
import sys
import threading
import time
from datetime import timedelta

import django

django.setup()

from django.utils import timezone  # noqa: E402

from breakers import CallRefusedError, get_breaker, store, tally  # noqa: E402
from breakers.services import override_breaker  # noqa: E402
from breakers.store import store as keeper  # noqa: E402
from ledger import spool  # noqa: E402
from tests.breakers.obeying import in_child, obey  # noqa: E402

OPTIONS = json.loads(sys.argv[1])


def boom():
    raise ConnectionError("down")


def call(breaker, fn=lambda: "ok"):
    started = time.perf_counter()
    try:
        outcome = breaker.execute(fn)
    except CallRefusedError:
        outcome = "refused"
    except ConnectionError:
        outcome = "failed"
    return outcome, time.perf_counter() - started


def good(breaker, times=1):
    return [call(breaker)[0] for _ in range(times)]


def fail(breaker, times=5):
    return [call(breaker, boom)[0] for _ in range(times)]


def fail_at(breaker, moment, times=5):
    """Fail at a moment that several processes agreed on."""
    time.sleep(max(0.0, moment - time.time()))
    return fail(breaker, times)


def measured(breaker):
    """Let a second pass and call."""
    breaker.tend()
    return good(breaker)


def state(breaker):
    row = breaker.circuit.row()
    return {
        "state": breaker.state,
        "version": row.version,
        "remaining": row.remaining,
        "opens": row.opens,
        "trips": row.trips,
        "override": row.override,
    }


def wait(breaker, wanted, seconds):
    end = time.monotonic() + seconds
    while breaker.state != wanted and time.monotonic() < end:
        time.sleep(0.005)
    return {"at": time.time(), **state(breaker)}


def agreed(breaker, seconds=5.0):
    """Wait until this process and the table agreed; tell whether they did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if breaker.name in keeper._agreed and not keeper.is_ahead(breaker):
            return True
        time.sleep(0.005)
    return False


def calls_for(breaker, seconds):
    """Call for some seconds; return the slowest call and what came of them."""
    end, slowest, told = time.monotonic() + seconds, 0.0, {}
    while time.monotonic() < end:
        outcome, took = call(breaker)
        slowest = max(slowest, took)
        told[outcome] = told.get(outcome, 0) + 1
        time.sleep(0.005)
    return {"slowest": slowest, **told}


def child(breaker, wanted, seconds):
    """Fork; the child uses the breaker and tells what it learns of the table."""

    def learn():
        call(breaker)
        told = wait(breaker, wanted, seconds)
        return {**told, "threads": sorted(one.name for one in threading.enumerate())}

    return in_child(learn)


def override(breaker, mode, seconds=None):
    breaker.override(mode, reason="by the code", seconds=seconds)


def act(breaker, mode, seconds=None):
    """Do what the console and the API do; return when it was asked for."""
    began = time.time()
    until = timezone.now() + timedelta(seconds=seconds) if seconds else None
    override_breaker(
        breaker.name, mode, reason="vendor outage", until=until, actor="user:7"
    )
    return began


COMMANDS = {
    "act": act,
    "agreed": agreed,
    "calls_for": calls_for,
    "fail": fail,
    "fail_at": fail_at,
    "good": good,
    "in_child": child,
    "measured": measured,
    "override": override,
    "reset": lambda breaker: breaker.reset("by the code"),
    "ship": lambda breaker: spool.ship(),
    "state": state,
    "wait": wait,
}


def main() -> None:
    logging.disable()
    for name, seconds in json.loads(os.environ.get("SECONDS", "{}")).items():
        setattr(tally if name == "EVERY" else store, name, seconds)
    breaker = get_breaker("search", **OPTIONS)
    obey(breaker, COMMANDS)


if __name__ == "__main__":
    main()
