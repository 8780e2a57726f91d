"""The watchdog's hands on real processes, with shortened limits."""

import json
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from tests.server import Installation, get, wait_for

LIMITS = {
    "worker_frozen": 3,
    "worker_stuck": 1.5,
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


def wait_for_artifacts(site: Installation, count: int, *kinds: str) -> list[dict]:
    def there():
        found = artifacts(site, *kinds)
        return found if len(found) >= count else None

    return wait_for(there, 5, f"{count} of {kinds}")


def lines(site: Installation, kind: str) -> list[dict]:
    """Return the details of the log's lines of one type about a process."""
    text = (site.data / "logs" / "watchdog.log").read_text()
    found = map(json.loads, text.splitlines())
    shown = [line["details"] for line in found if line["type"] == kind]
    return [details for details in shown if "subject" in details]


@pytest.fixture
def start(own_site):
    """Start a watchdog and a web server in an installation of their own."""

    def start(
        *more: str, application: str = "", mode="enforce", **options
    ) -> Installation:
        limits = {name: options.pop(name) for name in LIMITS if name in options}
        site = own_site(**options)
        site.start_watchdog(*flags(mode, **limits), *more)
        if application == BROKEN:
            python = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py")
            site.start("web", "web", *python, application)
            wait_for(lambda: site.get("/").status, 10, "web")
        else:
            site.start_web(application or "fortheweebs.wsgi")
        return site

    return start


# -- web workers -----------------------------------------------------------------------
def test_a_frozen_worker_is_killed_replaced_and_told_of(start):
    site = start()
    victim, other = site.children("web")

    os.kill(victim, signal.SIGSTOP)

    wait_for(lambda: victim not in site.children("web"), 7, "the end of the worker")
    wait_for(lambda: len(site.children("web")) == 2, 3, "another worker")
    assert other in site.children("web")
    intent, outcome = wait_for_artifacts(site, 2, "intent", "outcome")
    assert [intent["type"], outcome["type"]] == ["watchdog_intent", "watchdog_outcome"]
    assert intent["subject"] == outcome["subject"]
    assert intent["subject"].endswith(f"/{victim}")
    assert intent["actor"] == "watchdog"
    assert intent["details"]["action"] == "SIGKILL"
    assert intent["details"]["heartbeat_age_ms"] > 3000
    assert outcome["details"]["result"] == "gone"
    assert outcome["details"]["signals"] == ["SIGKILL"]
    assert outcome["details"]["intent"] == intent["id"]
    assert [line["rule"] for line in lines(site, "kill")] == ["worker_frozen"]
    (recovered,) = wait_for(lambda: lines(site, "recover"), 4)
    assert recovered["rule"] == "worker_frozen"
    metrics = site.probe("/metrics").body.decode()
    assert 'ftw_restarts_total{reason="worker_frozen",target="worker"} 1.0' in metrics
    assert 'decisions_total{action="SIGKILL",result="done"} 1.0' in metrics
    assert 'ftw_recovery_seconds_count{failure="worker_frozen"} 1.0' in metrics


def ask(site: Installation, path: str, count: int = 1) -> None:
    """Ask on threads of their own; nobody waits for an answer."""
    for _ in range(count):
        threading.Thread(
            target=get, args=(site.port, path), kwargs={"timeout": 9}, daemon=True
        ).start()


def test_a_worker_whose_threads_are_all_stuck_says_where_and_is_replaced(start):
    site = start(application=BUSY, WEB_WORKERS="1", WEB_THREADS="2")
    (victim,) = site.children("web")

    ask(site, "/stuck", 2)

    wait_for(lambda: victim not in site.children("web"), 8, "the end of the worker")
    wait_for(lambda: site.get("/").status == 200, 4, "another worker")
    (outcome,) = wait_for_artifacts(site, 1, "outcome")
    details = outcome["details"]
    assert details["rule"] == "worker_stuck"
    assert details["signals"] == ["SIGTERM", "SIGKILL"]
    assert "stuck_site.py" in details["dump"]
    assert "misbehave" in details["dump"]
    assert len(details["dump_sha256"]) == 64
    assert str(site.data) not in details["dump"]


def test_a_worker_that_leaks_ends_after_its_request(start):
    site = start(
        application=BUSY,
        WEB_WORKERS="1",
        LIVE_MAX_RSS=str(256 << 20),
        GRACEFUL_TIMEOUT="5",
    )
    (victim,) = site.children("web")
    replies = []

    slow = threading.Thread(target=lambda: replies.append(site.get("/slow", timeout=5)))
    assert site.get("/leak", timeout=5).status == 200
    slow.start()

    wait_for(lambda: victim not in site.children("web"), 7, "the end of the worker")
    slow.join(5)
    assert [reply.status for reply in replies] == [200]
    (outcome,) = wait_for_artifacts(site, 1, "outcome")
    assert outcome["details"]["rule"] == "worker_memory"
    assert outcome["details"]["signals"] == ["SIGTERM"]
    assert outcome["details"]["result"] == "gone"


# -- the web master --------------------------------------------------------------------
def test_a_stopped_master_is_killed_for_its_supervisor(start):
    site = start()
    master = site.parts["web"]

    os.kill(master.pid, signal.SIGSTOP)

    assert master.wait(7) == -signal.SIGKILL
    (outcome,) = wait_for_artifacts(site, 1, "outcome")
    assert outcome["details"]["rule"] == "master_hung"
    assert outcome["details"]["state"] == "T"


def test_a_master_that_only_runs_in_circles_is_killed_for_its_silence(own_site):
    site = own_site()
    site.start_watchdog(*flags())
    site.start_web(config=HANGS)
    wait_for(lambda: "control_socket_answers" in site.output("watchdog"), 5, "a word")

    (site.data / "run" / "hang").touch()

    assert site.parts["web"].wait(9) == -signal.SIGKILL
    (outcome,) = wait_for_artifacts(site, 1, "outcome")
    assert outcome["details"]["rule"] == "master_hung"
    assert outcome["details"]["state"] != "T"
    assert outcome["details"]["silent_ms"] >= 2000


def test_below_enforce_a_stopped_master_is_only_told_of(start):
    site = start(mode="workers")
    master = site.parts["web"]

    os.kill(master.pid, signal.SIGSTOP)

    (refusal,) = wait_for_artifacts(site, 1, "refused")
    assert refusal["details"]["refused"] == "observe_only"
    assert refusal["details"]["rule"] == "master_hung"
    assert master.poll() is None
    assert artifacts(site, "intent") == []


def test_strikes_renew_the_workers_and_then_end_the_server(start):
    site = start("--interval=0.3", "--strikes=2", application=BROKEN)
    workers = set(site.children("web"))

    wait_for(lambda: not workers & set(site.children("web")), 6, "other workers")

    assert site.parts["web"].wait(8) == -signal.SIGKILL
    found = wait_for_artifacts(site, 2, "outcome")
    assert [one["details"]["action"] for one in found] == ["SIGHUP", "SIGKILL"]
    assert {one["details"]["rule"] for one in found} == {"http_strikes"}


# -- the watchdog itself ---------------------------------------------------------------
def test_an_intent_of_a_watchdog_that_died_stays_without_an_outcome(start):
    options = {"application": BUSY, "WEB_WORKERS": "1", "WEB_THREADS": "2"}
    site = start(terminate=60, **options)
    ask(site, "/stuck", 2)
    (intent,) = wait_for_artifacts(site, 1, "intent")

    site.parts["watchdog"].kill()
    site.parts["watchdog"].wait(3)
    (site.data / "run" / "snapshot.json").unlink()
    site.start_watchdog(*flags())

    wait_for(lambda: site.get("/").status == 200, 9, "another worker")
    found = artifacts(site, "intent", "outcome")
    intents = [one["id"] for one in found if one["type"] == "watchdog_intent"]
    told = [one["details"]["intent"] for one in found if "intent" in one["details"]]
    assert intents[0] == intent["id"]
    assert intent["id"] not in told
    assert set(told) <= set(intents)


def test_a_watchdog_that_stops_says_what_it_did_not_wait_for(start):
    options = {"application": BUSY, "WEB_WORKERS": "1", "WEB_THREADS": "2"}
    site = start(terminate=60, GRACEFUL_TIMEOUT="4", **options)
    ask(site, "/stuck", 2)
    (intent,) = wait_for_artifacts(site, 1, "intent")

    code = site.stop("watchdog")

    spools = "".join(path.read_text() for path in (site.data / "spool").iterdir())
    told = spools + json.dumps(artifacts(site, "outcome"))
    assert code == 0
    assert "left: the watchdog stopped" in told
    assert intent["id"] in told


def test_of_two_watchdogs_only_the_one_with_the_lock_acts(start):
    site = start()
    command = (sys.executable, "manage.py", "watchdog", *flags())
    site.start("second", "watchdog", *command)
    wait_for(lambda: len(site.slots("watchdog")) == 2, 8, "the second watchdog")
    victim, _ = site.children("web")

    os.kill(victim, signal.SIGSTOP)

    wait_for(lambda: victim not in site.children("web"), 7, "the end of the worker")
    wait_for_artifacts(site, 1, "outcome")
    wait_for(lambda: lines(site, "recover"), 4)
    assert len(artifacts(site, "intent")) == 1
