"""The watchdog's hands on real processes, with shortened limits."""

import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from health.control import Control
from health.processes import identify
from tests.server import Installation, get, wait_for

LIMITS = {
    "worker_frozen": 3,
    "worker_stuck": 1.5,
    "master_stopped": 2,
    "master_hung": 2,
    "main_frozen": 2,
    "terminate": 1,
    "grace": 1,
    "void": 1,
    "pause": 1,
    "broker_back": 0,
}
HANGS = str(Path(__file__).parent / "gunicorn_hangs.py")
BUSY = "tests.health.stuck_site:application"
BROKEN = "tests.health.stuck_site:broken"


def flags(mode: str = "enforce", **changes: float) -> list[str]:
    """Return the flags of a watchdog that is quick to judge."""
    limits = [f"--limit={name}={value}" for name, value in (LIMITS | changes).items()]
    return ["--period=0.5", "--timeout=0.5", f"--mode={mode}", *limits]


def artifacts(site: Installation, *kinds: str) -> list[dict]:
    """Return the watchdog's artifacts of these kinds, oldest first."""
    with sqlite3.connect(site.data / "db.sqlite3") as connection:
        rows = connection.execute(
            "SELECT body FROM ledger_artifact WHERE source = 'watchdog' ORDER BY id"
        ).fetchall()
    connection.close()
    bodies = [json.loads(body) for (body,) in rows]
    return [body for body in bodies if body["type"].removeprefix("watchdog_") in kinds]


def told_of(site: Installation, pid: int, *kinds: str) -> list[dict]:
    """Return what was told of that process, oldest first."""
    found = artifacts(site, *kinds)
    return [one for one in found if one["subject"].endswith(f"/{pid}")]


def outcome_of(site: Installation, pid: int) -> dict:
    """Return what the outcome says of the end of that process."""
    (outcome,) = wait_for(lambda: told_of(site, pid, "outcome"), 6, "the outcome")
    return outcome["details"]


def lines(site: Installation, kind: str, pid: int) -> list[str]:
    """Return the rules of the log's lines of one type about that process."""
    text = (site.data / "logs" / "watchdog.log").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [
        line["details"]["rule"]
        for line in found
        if line["type"] == kind
        and line["details"].get("subject", "").endswith(f"/{pid}")
    ]


def metric(site: Installation, series: str) -> float:
    """Return the value of one series; 0 where there is none yet."""
    text = site.probe("/metrics").body.decode()
    found = [line for line in text.splitlines() if line.startswith(series)]
    return float(found[0].split()[-1]) if found else 0.0


@pytest.fixture(scope="module")
def watched() -> Iterator[Installation]:
    """A watchdog for every test that needs no other: it may act as often as asked."""
    with Installation(LOCAL_OPERATOR="1") as site:
        site.start_watchdog(*flags(pause=0, most=99), "--interval=600")
        yield site


@pytest.fixture
def serve(watched: Installation):
    """Start a web server of its own for a test; it is gone after it."""
    before = dict(watched.environment)

    def serve(application: str = "fortheweebs.wsgi", config: str = "", **options: str):
        watched.environment.update(options)
        watched.start_web(application, config=config or "gunicorn.conf.py")
        return watched

    yield serve
    watched.end("web")
    watched.environment = before
    for path in [*watched.data.glob("run/web-*.slot"), watched.data / "run" / "hang"]:
        path.unlink(missing_ok=True)


# -- web workers -----------------------------------------------------------------------
def test_a_frozen_worker_is_killed_replaced_and_told_of(serve):
    site = serve()
    victim, other = site.children("web")
    counted = (
        'ftw_restarts_total{reason="worker_frozen",target="worker"}',
        'ftw_watchdog_decisions_total{action="SIGKILL",result="done"}',
        'ftw_recovery_seconds_count{failure="worker_frozen"}',
    )
    before = [metric(site, series) for series in counted]

    os.kill(victim, signal.SIGSTOP)

    wait_for(lambda: victim not in site.children("web"), 7, "the end of the worker")
    wait_for(lambda: len(site.children("web")) == 2, 3, "another worker")
    assert other in site.children("web")
    details = outcome_of(site, victim)
    intent, outcome = told_of(site, victim, "intent", "outcome")
    assert [intent["type"], outcome["type"]] == ["watchdog_intent", "watchdog_outcome"]
    assert intent["subject"] == outcome["subject"]
    assert intent["actor"] == "watchdog"
    assert intent["details"]["action"] == "SIGKILL"
    assert intent["details"]["heartbeat_age_ms"] > 3000
    assert details["result"] == "gone"
    assert details["signals"] == ["SIGKILL"]
    assert details["intent"] == intent["id"]
    assert lines(site, "kill", victim) == ["worker_frozen"]
    wait_for(lambda: lines(site, "recover", victim) == ["worker_frozen"], 4)
    assert [metric(site, series) for series in counted] == [n + 1 for n in before]


def ask(site: Installation, path: str, count: int = 1) -> None:
    """Ask on threads of their own; nobody waits for an answer."""
    for _ in range(count):
        threading.Thread(
            target=get, args=(site.port, path), kwargs={"timeout": 9}, daemon=True
        ).start()


def test_a_worker_whose_threads_are_all_stuck_says_where_and_is_replaced(serve):
    site = serve(BUSY, WEB_WORKERS="1", WEB_THREADS="2")
    (victim,) = site.children("web")

    ask(site, "/stuck", 2)

    wait_for(lambda: victim not in site.children("web"), 8, "the end of the worker")
    wait_for(lambda: site.get("/").status == 200, 4, "another worker")
    details = outcome_of(site, victim)
    assert details["rule"] == "worker_stuck"
    assert details["signals"] == ["SIGTERM", "SIGKILL"]
    assert "stuck_site.py" in details["dump"]
    assert "misbehave" in details["dump"]
    assert len(details["dump_sha256"]) == 64
    assert str(site.data) not in details["dump"]


def test_a_worker_that_leaks_ends_after_its_request(serve):
    limits = {"LIVE_MAX_RSS": str(256 << 20), "GRACEFUL_TIMEOUT": "5"}
    site = serve(BUSY, WEB_WORKERS="1", **limits)
    (victim,) = site.children("web")
    replies = []

    slow = threading.Thread(target=lambda: replies.append(site.get("/slow", timeout=5)))
    assert site.get("/leak", timeout=5).status == 200
    slow.start()

    wait_for(lambda: victim not in site.children("web"), 7, "the end of the worker")
    slow.join(5)
    assert [reply.status for reply in replies] == [200]
    details = outcome_of(site, victim)
    assert details["rule"] == "worker_memory"
    assert details["signals"] == ["SIGTERM"]
    assert details["result"] == "gone"


# -- the web master --------------------------------------------------------------------
def test_a_stopped_master_is_killed_for_its_supervisor(serve):
    site = serve()
    master = site.parts["web"]

    os.kill(master.pid, signal.SIGSTOP)

    assert master.wait(7) == -signal.SIGKILL
    details = outcome_of(site, master.pid)
    assert details["rule"] == "master_hung"
    assert details["state"] == "T"


def test_a_master_that_only_runs_in_circles_is_killed_for_its_silence(serve):
    site = serve(config=HANGS)
    master = site.parts["web"]
    wait_for(lambda: answers(site, master.pid), 5, "the control socket")

    (site.data / "run" / "hang").touch()

    assert master.wait(9) == -signal.SIGKILL
    details = outcome_of(site, master.pid)
    assert details["rule"] == "master_hung"
    assert details["state"] != "T"
    assert details["silent_ms"] >= 2000


def answers(site: Installation, master: int) -> bool:
    control = Control(site.sockets / "gunicorn.ctl", lambda: identify(master))
    control.ask()
    return not control.said


def test_below_enforce_a_stopped_master_is_only_told_of(own_site):
    site = own_site()
    site.start_watchdog(*flags("workers"))
    site.start_web()
    master = site.parts["web"]

    os.kill(master.pid, signal.SIGSTOP)

    (refusal,) = wait_for(lambda: told_of(site, master.pid, "refused"), 6, "a refusal")
    assert refusal["details"]["refused"] == "observe_only"
    assert refusal["details"]["rule"] == "master_hung"
    assert master.poll() is None
    assert artifacts(site, "intent") == []


def test_strikes_renew_the_workers_and_then_end_the_server(own_site):
    site = own_site()
    site.start_watchdog(*flags(), "--interval=0.3", "--strikes=2")
    python = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py")
    master = site.start("web", "web", *python, BROKEN)
    wait_for(lambda: site.get("/").status, 10, "web")
    workers = set(site.children("web"))

    wait_for(lambda: not workers & set(site.children("web")), 6, "other workers")

    assert master.wait(8) == -signal.SIGKILL
    found = wait_for(
        lambda: artifacts(site, "outcome")[1:] and artifacts(site, "outcome"), 5
    )
    assert [one["details"]["action"] for one in found] == ["SIGHUP", "SIGKILL"]
    assert {one["details"]["rule"] for one in found} == {"http_strikes"}


# -- the watchdog itself ---------------------------------------------------------------
@pytest.fixture
def patient(own_site):
    """A worker that hangs, asked to end by a watchdog that waits a minute for it."""
    site = own_site(WEB_WORKERS="1", WEB_THREADS="2", GRACEFUL_TIMEOUT="4")
    site.start_watchdog(*flags(terminate=60))
    site.start_web(BUSY)
    ask(site, "/stuck", 2)
    wait_for(lambda: artifacts(site, "intent"), 6, "the intent")
    return site


def test_an_intent_of_a_watchdog_that_died_stays_without_an_outcome(patient):
    (intent,) = artifacts(patient, "intent")

    patient.end("watchdog")
    (patient.data / "run" / "snapshot.json").unlink()
    patient.start_watchdog(*flags())

    wait_for(lambda: patient.get("/").status == 200, 9, "another worker")
    found = artifacts(patient, "intent", "outcome")
    intents = [one["id"] for one in found if one["type"] == "watchdog_intent"]
    told = [one["details"]["intent"] for one in found if "intent" in one["details"]]
    assert intents[0] == intent["id"]
    assert intent["id"] not in told
    assert set(told) <= set(intents)


def test_a_watchdog_that_stops_says_what_it_did_not_wait_for(patient):
    (intent,) = artifacts(patient, "intent")

    code = patient.stop("watchdog")

    spools = "".join(path.read_text() for path in (patient.data / "spool").iterdir())
    told = spools + json.dumps(artifacts(patient, "outcome"))
    assert code == 0
    assert "left: the watchdog stopped" in told
    assert intent["id"] in told


def test_of_two_watchdogs_only_the_one_with_the_lock_acts(serve):
    site = serve()
    command = (sys.executable, "manage.py", "watchdog", *flags(pause=0, most=99))
    site.start("second", "watchdog", *command)
    try:
        wait_for(lambda: len(site.slots("watchdog")) == 2, 8, "the second watchdog")
        victim, _ = site.children("web")

        os.kill(victim, signal.SIGSTOP)

        wait_for(lambda: victim not in site.children("web"), 7, "the end of the worker")
        outcome_of(site, victim)
        wait_for(lambda: lines(site, "recover", victim), 4)
        assert len(told_of(site, victim, "intent")) == 1
    finally:
        site.end("second")
