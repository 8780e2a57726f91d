"""The failures, one function each: produce it, wait until it is healed, print a line."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.recovery_site import LOOPS, READY, Site, ask, now, say, seconds_until
from health.slots import Role
from tests.server import get, wait_for


def measure(
    site: Site,
    what: str,
    limit: float,
    *,
    fault: Callable[[], None],
    cured: Callable[[], Any],
    victims: list[int],
    rule: str | None = "",
    lost: int = 0,
) -> None:
    """Produce a fault; print how long it took, what was lost, what is written of it."""
    since, began = now(), time.monotonic()
    fault()
    took = seconds_until(cured, 3 * limit, began)
    if rule is None:
        wanted = written = "no act of ours"
    elif rule:
        wanted, written = "intent and outcome", site.told(since, rule, victims[0])
    else:
        wanted, written = "an artifact", site.told_of_end(since, victims)
    counts = site.load.since(began)
    well, gone = counts.pop("200", 0), counts.pop("lost", 0)
    odd = "".join(f", {many} {how}" for how, many in sorted(counts.items()))
    say(
        what,
        f"<= {limit:g} s, lost <= {lost}, {wanted}",
        f"{took:.1f} s, lost {gone} of {well + gone}{odd}, {written}",
        ok=took <= limit
        and gone <= lost
        and written == wanted
        and counts.keys() <= {"refused", "503"},
    )


def kill(pid: int) -> Callable[[], None]:
    return lambda: os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> Callable[[], None]:
    return lambda: os.kill(pid, signal.SIGSTOP)


def replaced(site: Site, role: Role, victim: int, count: int) -> Callable[[], bool]:
    """Return a condition: the victim is gone and all places are taken by others."""

    def condition() -> bool:
        pids = site.pids(role)
        return len(pids) == count and victim not in pids

    return condition


# -- Web workers -----------------------------------------------------------------------
def worker_killed(site: Site) -> None:
    victim = site.pids(Role.WEB)[0]
    measure(
        site,
        "web worker killed",
        0.5,
        fault=kill(victim),
        cured=replaced(site, Role.WEB, victim, 2),
        victims=[victim],
        lost=site.load.in_flight(),
    )


def worker_drained(site: Site) -> None:
    victim, began = site.pids(Role.WEB)[0], time.monotonic()
    os.kill(victim, signal.SIGTERM)
    took = seconds_until(replaced(site, Role.WEB, victim, 2), 20)
    counts = site.load.since(began)
    say(
        "web worker asked to end",
        "lost 0, others start at once",
        f"{took:.1f} s, {dict(counts)}",
        ok=took < 20 and counts.keys() <= {"200"},
    )


def worker_frozen(site: Site) -> None:
    victim = site.pids(Role.WEB)[0]
    measure(
        site,
        "web worker frozen",
        12,
        fault=freeze(victim),
        cured=replaced(site, Role.WEB, victim, 2),
        victims=[victim],
        rule="worker_frozen",
        lost=site.load.in_flight(),
    )


def two_watchdogs(site: Site) -> None:
    """A second watchdog in the same installation must not act a second time."""
    command = (sys.executable, "manage.py", "watchdog", "--mode", "enforce")
    site.start("second", "watchdog", *command)
    wait_for(lambda: len(site.fresh(Role.WATCHDOG)) == 2, 30, "the second watchdog")
    site.settle()
    victim, since = site.pids(Role.WEB)[0], now()
    freeze(victim)()
    took = seconds_until(replaced(site, Role.WEB, victim, 2), 30)
    site.told(since, "worker_frozen", victim)
    count = len(site.artifacts(since, type="watchdog_intent"))
    site.stop("second")
    say(
        "worker frozen before two watchdogs",
        "<= 12 s, 1 intent",
        f"{took:.1f} s, {count}",
        ok=took <= 12 and count == 1,
    )


def pin(site: Site, victim: int) -> list[threading.Thread]:
    """Take every thread of a worker that is admitted to, each with one request."""
    path, threads = f"/stuck?pid={victim}", []

    def held() -> int:
        return sum(thread.is_alive() for thread in threads)

    def filled() -> bool:
        threads[:] = [thread for thread in threads if thread.is_alive()]
        while len(threads) < 10:
            thread = threading.Thread(target=ask, args=(site.port, path, 120.0))
            thread.start()
            threads.append(thread)
        time.sleep(0.3)
        slots = [s for s in site.fresh(Role.WEB) if s.identity.pid == victim]
        return held() == 10 and bool(slots) and slots[0].in_flight >= slots[0].limit

    wait_for(filled, 60, "every thread to be stuck")
    return threads


def worker_stuck(site: Site) -> None:
    victim = site.pids(Role.WEB)[0]
    pin(site, victim)
    measure(
        site,
        "all 10 threads of a web worker stuck (lost: of the others)",
        40,
        fault=lambda: None,
        cured=replaced(site, Role.WEB, victim, 2),
        victims=[victim],
        rule="worker_stuck",
    )


def watchdog_killed(site: Site) -> None:
    """Kill the watchdog between an intent and its outcome; the next one goes on."""
    victim, since = site.pids(Role.WEB)[0], now()
    pin(site, victim)
    intents = wait_for(
        lambda: site.artifacts(since, type="watchdog_intent"), 60, "the intent"
    )
    os.kill(site.part("watchdog"), signal.SIGKILL)
    took = seconds_until(replaced(site, Role.WEB, victim, 2), 90)
    seconds_until(lambda: site.artifacts(since, type="watchdog_outcome"), 20)
    outcomes = site.artifacts(since, type="watchdog_outcome")
    told = {one["details"]["intent"] for one in outcomes}
    say(
        "watchdog killed between intent and outcome",
        "healed within 60 s, that intent stays without an outcome",
        f"{took:.1f} s, {'with' if intents[0]['id'] in told else 'without'} one, "
        f"{len(outcomes)} outcomes of others",
        ok=took <= 60 and intents[0]["id"] not in told,
    )


def worker_leak(site: Site) -> None:
    victim = site.pids(Role.WEB)[0]

    def leak() -> None:
        path = f"/leak?pid={victim}"
        wait_for(
            lambda: b"true" in get(site.port, path, timeout=10).body, 30, "the leak"
        )

    measure(
        site,
        "web worker over LIVE_MAX_RSS (300 MiB), ends after its requests",
        12,
        fault=leak,
        cured=replaced(site, Role.WEB, victim, 2),
        victims=[victim],
        rule="worker_memory",
    )


# -- The web master --------------------------------------------------------------------
def another_master(site: Site, victim: int) -> Callable[[], bool]:
    def condition() -> bool:
        return (
            site.part("web") not in {0, victim}
            and get(site.port, READY, timeout=0.5).status == 200
        )

    return condition


def master_killed(site: Site) -> None:
    victim, workers = site.part("web"), site.pids(Role.WEB)
    measure(
        site,
        "web master killed, until ready",
        8,
        fault=kill(victim),
        cured=another_master(site, victim),
        victims=workers,
        lost=LOOPS,
    )


def master_frozen(site: Site) -> None:
    victim = site.part("web")
    measure(
        site,
        "web master frozen, until ready again",
        16,
        fault=freeze(victim),
        cured=another_master(site, victim),
        victims=[victim],
        rule="master_hung",
        lost=LOOPS,
    )


# -- Celery ----------------------------------------------------------------------------
def main_frozen(site: Site) -> None:
    victim = site.part("worker")
    measure(
        site,
        "Celery main frozen",
        35,
        fault=freeze(victim),
        cured=replaced(site, Role.WORKER, victim, 1),
        victims=[victim],
        rule="main_frozen",
    )


def child_frozen(site: Site) -> None:
    victim = site.pids(Role.POOL)[0]
    measure(
        site,
        "Celery pool child frozen",
        35,
        fault=freeze(victim),
        cured=replaced(site, Role.POOL, victim, 2),
        victims=[victim],
        rule="child_frozen",
    )


def child_stuck(site: Site) -> None:
    """One task stuck within Celery's own limit, then one whose main does not end it."""
    for what, limit, rule, options in (
        ("Celery task over its limit of 60 s, ended by Celery", 125, None, {}),
        (
            "Celery task over its limit of 60 s that its main does not end",
            125,
            "child_stuck",
            {"time_limit": 3600},
        ),
    ):
        site.settle()
        victims: list[int] = []

        def hang(options: Any = options, victims: list[int] = victims) -> None:
            number = site.stream.send("bench.hang", **options)
            if not options:
                # Celery's own limit makes it a failed task, which is not done again.
                site.stream.sent.pop(number)

            def busy() -> list[int]:
                now_ns = time.monotonic_ns()
                return [
                    slot.identity.pid
                    for slot in site.fresh(Role.POOL)
                    if slot.task_ns and now_ns - slot.task_ns > 3e9
                ]

            victims += wait_for(busy, 20, "a child to be stuck")

        def cured(victims: list[int] = victims) -> bool:
            return replaced(site, Role.POOL, victims[0], 2)()

        measure(
            site,
            what,
            limit,
            fault=hang,
            cured=cured,
            victims=victims,
            rule=rule,
        )


def consumer_deaf(site: Site) -> None:
    """Let the worker tick, hold its connection and take nothing."""
    victim = site.part("worker")
    measure(
        site,
        "Celery consumer alive but deaf",
        100,
        fault=site.stream.deafen,
        cured=replaced(site, Role.WORKER, victim, 1),
        victims=[victim],
        rule="main_deaf",
    )
    if site.part("worker") == victim:
        site.stream.hear()


def beat_killed(site: Site) -> None:
    victim = site.part("beat")
    measure(
        site,
        "beat killed",
        60,
        fault=kill(victim),
        cured=replaced(site, Role.BEAT, victim, 1),
        victims=[victim],
    )


def beat_frozen(site: Site) -> None:
    victim = site.part("beat")
    measure(
        site,
        "beat frozen",
        60,
        fault=freeze(victim),
        cured=replaced(site, Role.BEAT, victim, 1),
        victims=[victim],
        rule="beat_late",
    )
