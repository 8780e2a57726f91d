"""The watchdog's hands on real processes, with shortened limits."""

import json
import os
import signal

import pytest

from tests.server import Installation, wait_for

LIMITS = {
    "worker_frozen": 3,
    "grace": 1,
    "void": 1,
    "pause": 1,
    "worker_stuck": 2,
    "terminate": 1,
    "broker_back": 0,
}


def flags(**changes: float) -> list[str]:
    """Return the flags of a watchdog that is quick to judge."""
    return [f"--limit={name}={value}" for name, value in (LIMITS | changes).items()]


def start_watchdog(site: Installation, mode: str = "enforce", **changes: float) -> None:
    site.start_watchdog(
        "--period=0.5", "--timeout=0.5", f"--mode={mode}", *flags(**changes)
    )


def artifacts(site: Installation, *kinds: str) -> list[dict]:
    """Return the watchdog's artifacts as the spool and the ledger have them."""
    shown = site.get("/api/health/artifacts?limit=1000&source=watchdog")
    if shown.status != 200:
        return []
    rows = shown.json["artifacts"]
    return [row for row in rows if row["type"].removeprefix("watchdog_") in kinds]


def lines(site: Installation, kind: str) -> list[dict]:
    """Return the details of the log's lines of one type."""
    path = site.data / "logs" / "watchdog.log"
    found = map(json.loads, path.read_text().splitlines())
    return [line["details"] for line in found if line["type"] == kind]


@pytest.fixture
def running(own_site):
    site = own_site()
    start_watchdog(site)
    site.start_web()
    site.wait_ready()
    return site


def test_a_frozen_worker_is_killed_replaced_and_told_of(running):
    victim, other = running.children("web")

    os.kill(victim, signal.SIGSTOP)

    wait_for(lambda: victim not in running.children("web"), 7, "the end of the worker")
    wait_for(lambda: len(running.children("web")) == 2, 3, "another worker")
    assert other in running.children("web")
    intent, outcome = wait_for(
        lambda: (
            told if len(told := artifacts(running, "intent", "outcome")) == 2 else 0
        ),
        5,
    )
    assert [intent["type"], outcome["type"]] == ["watchdog_intent", "watchdog_outcome"]
    assert intent["subject"] == outcome["subject"]
    assert intent["subject"].endswith(f"/{victim}")
    assert intent["details"]["action"] == "SIGKILL"
    assert intent["details"]["heartbeat_age_ms"] > 3000
    assert outcome["details"]["result"] == "gone"
    assert outcome["details"]["signals"] == ["SIGKILL"]
    (killed,) = lines(running, "kill")
    assert killed["rule"] == "worker_frozen"
    wait_for(
        lambda: [one["rule"] for one in lines(running, "recover") if "rule" in one], 4
    )
