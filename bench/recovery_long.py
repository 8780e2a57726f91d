"""Disk, ledger, outages and the flapper: what is told of, or left alone, for long."""

import os
import statistics
import time
from collections.abc import Callable
from datetime import datetime

import psycopg

from bench.recovery_rows import freeze
from bench.recovery_site import LIVE, READY, Site, now, say, seconds_until
from health.slots import Role
from tests.server import get, wait_for


# -- Disk and ledger -------------------------------------------------------------------
def disk_full(site: Site) -> None:
    """Fill DATA_DIR to the warning, then to the last byte."""
    ballast, before = site.data / "ballast", site.everybody()

    def fill(share: float) -> None:
        stat = os.statvfs(site.data)
        left = int(stat.f_blocks * stat.f_frsize * share)
        size = stat.f_bavail * stat.f_frsize - left
        with ballast.open("ab") as file:
            for _ in range(size >> 12):
                try:
                    file.write(b"x" * 4096)
                    file.flush()
                except OSError:
                    break

    def status(wanted: int) -> Callable[[], bool]:
        return lambda: get(site.port, READY).status == wanted

    steps = (
        ("3 % free", 0.03, lambda: site.check("disk") == 0.5, "warned"),
        ("full", 0.0, status(503), "not ready"),
    )
    for what, share, seen, word in steps:
        fill(share)
        took = seconds_until(seen, 60)
        say(f"disk {what}: {word}", "<= 30 s", f"{took:.1f} s", ok=took <= 30)
    time.sleep(20)
    live = get(site.port, LIVE).status
    ballast.unlink()
    took = seconds_until(
        lambda: status(200)() and site.check("disk") == 1,
        60,
    )
    say("disk free again: ready", "<= 30 s", f"{took:.1f} s", ok=took <= 30)
    gone = len(before - site.everybody())
    say(
        "processes that the full disk ended; live meanwhile",
        "0, 200",
        f"{gone}, {live}",
        ok=not gone and live == 200,
    )


def ledger_broken(site: Site) -> None:
    """Edit a row past its guards; one verification finds it, nothing mends it."""
    on = "ALTER TABLE ledger_artifact ENABLE ALWAYS TRIGGER {}"
    guards = (
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'ledger_artifact'::regclass"
        " AND NOT tgisinternal"
    )
    victim = (
        "SELECT artifact_id, sequence FROM ledger_leaf ORDER BY sequence DESC LIMIT 1"
    )
    read = "SELECT body FROM ledger_artifact WHERE id = %s"
    since = now()
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        row, sequence = wait_for(
            lambda: connection.execute(victim).fetchone(), 20, "an artifact"
        )
        connection.execute("ALTER TABLE ledger_artifact DISABLE TRIGGER ALL")
        edit = "UPDATE ledger_artifact SET body = body || ' ' WHERE id = %s"
        connection.execute(edit, [row])
        for (name,) in connection.execute(guards).fetchall():
            connection.execute(on.format(name))
    began = time.monotonic()
    asked = get(
        site.port,
        "/api/ledger/verify",
        method="POST",
        headers={"Content-Type": "application/json"},
        body=b"{}",
        timeout=5,
    )
    assert asked.status == 202, asked
    found = wait_for(
        lambda: site.artifacts(since, type="ledger_verify"), 60, "a verification"
    )
    details, took = found[0]["details"], time.monotonic() - began
    warned = seconds_until(lambda: site.check("ledger") == 0, 30)
    time.sleep(15)
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        body = connection.execute(read, [row]).fetchone()
    is_left = bool(body) and str(body[0]).endswith(" ")
    say(
        "ledger row edited past the guards",
        "found in 1 run by its sequence, told, never repaired",
        f"{'found' if not details['ok'] else 'not found'} in {took:.1f} s at "
        f"{details['first_bad']} ({sequence}), check failed after {warned:.0f} s, "
        f"{'left as it is' if is_left else 'repaired'}, ready "
        f"{get(site.port, READY).status}",
        ok=not details["ok"]
        and details["first_bad"] == sequence
        and warned < 30
        and is_left
        and len(found) == 1,
    )


# -- Ten minutes -----------------------------------------------------------------------
def outage(site: Site, name: str, check: str, stop: Callable[[], None]) -> None:
    """Stop a service for long: told at once, answered throughout, nobody killed."""
    before, since, found = site.everybody(), now(), []
    began = time.monotonic()
    stop()
    verdict = float("inf")
    while time.monotonic() - began < site.outage:
        for port in (site.port, site.probe_port):
            for path in (LIVE, READY):
                reply = get(port, path, timeout=5)
                found.append(reply)
                if (port, path, reply.status) == (site.port, READY, 503):
                    verdict = min(verdict, time.monotonic() - began)
        time.sleep(0.25)
    killed, counts = len(before - site.everybody()), site.load.since(began)
    site.resume_services()
    back = seconds_until(lambda: get(site.port, READY).status == 200, 60)
    unanswered = sum(reply.status not in {200, 503} for reply in found)
    median = statistics.median(reply.seconds for reply in found) * 1000
    worst = statistics.quantiles((r.seconds for r in found), n=100)[-1] * 1000
    what = f"{name} hung for {site.outage:.0f} s"
    say(f"{what}: verdict", "<= 7 s", f"{verdict:.1f} s", ok=verdict <= 7)
    say(
        f"{what}: live and ready on both ports",
        "all answered, p50 <= 10 ms",
        f"{unanswered} of {len(found)} unanswered, p50 {median:.1f}, p99 {worst:.0f} ms",
        ok=not unanswered and median <= 10,
    )
    say(
        f"{what}: what its clients got",
        "200 or 503, none lost",
        str(dict(counts)),
        ok=counts.keys() <= {"200", "503"},
    )
    say(f"{name} goes on: ready", "<= 7 s", f"{back:.1f} s", ok=back <= 7)

    def both() -> bool:
        kinds = {
            one["type"]
            for one in site.artifacts(since)
            if one["subject"] == f"check:{check}"
        }
        return {"degrade", "recover"} <= kinds

    written = seconds_until(both, 30) < 30
    intents = len(site.artifacts(since, type="watchdog_intent"))
    refused = len(site.artifacts(since, type="watchdog_refused"))
    say(
        f"{what}: processes ended, intents; artifacts",
        "0, 0; degrade and recover",
        f"{killed}, {intents} ({refused} refused); "
        f"{'degrade and recover' if written else 'missing'}",
        ok=not killed and not intents and written,
    )


def database_hung(site: Site) -> None:
    outage(site, "PostgreSQL", "db", site.stop_postgres)


def redis_hung(site: Site) -> None:
    outage(site, "Redis", "cache", site.stop_redis)


def flapper(site: Site) -> None:
    """Freeze a worker again the moment that two of them tick."""
    since, end = now(), time.monotonic() + site.outage
    frozen, statuses = 0, []
    while time.monotonic() < end:
        pids = site.pids(Role.WEB)
        if len(pids) == 2:
            freeze(pids[frozen % 2])()
            frozen += 1
            seconds_until(lambda: len(site.pids(Role.WEB)) < 2, 5)
        statuses.append(get(site.port, LIVE).status)
        time.sleep(0.2)
    wait_for(lambda: site.artifacts(since, type="watchdog_refused"), 30, "the hold")
    intents = site.artifacts(since, type="watchdog_intent")
    moments = [datetime.fromisoformat(one["timestamp"]) for one in intents]
    times = [moment.timestamp() for moment in moments]
    in_ten, in_window = _most(times, 9.5), _most(times, 299)
    refused = site.artifacts(since, type="watchdog_refused")
    held = any(one["details"]["refused"] == "refused_budget" for one in refused)
    answered = statuses.count(200)
    say(
        f"worker frozen again and again for {site.outage:.0f} s ({frozen} times)",
        "at most 1 action in 10 s, 3 in 5 min, then hands off",
        f"{in_ten} and {in_window}, {len(times)} in all, "
        f"{'then a hold' if held else 'no hold'}",
        ok=in_ten == 1 and in_window == 3 and len(times) == 3 and held,
    )
    say(
        "live meanwhile",
        "answered",
        f"{answered} of {len(statuses)}",
        ok=answered == len(statuses),
    )


def _most(times: list[float], window: float) -> int:
    """Return the most moments within one stretch of so many seconds."""
    return max((sum(0 <= t - at < window for t in times) for at in times), default=0)
