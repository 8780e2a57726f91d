"""The watchdog killed, then frozen: the main port never says 503."""

import contextlib
import json
import os
import re
import signal
import threading

import pytest

from tests.health.conftest import FAST
from tests.server import Installation, wait_for


class Watch:
    """Ask ready on the main port again and again, on a thread of its own."""

    def __init__(self, site: Installation) -> None:
        self.site, self.statuses = site, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self.statuses

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(5)

    def run(self):
        while not self.stop.wait(0.05):
            self.statuses.append(self.site.get("/api/health/ready").status)


def holder(site) -> int:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((site.data / "run" / "snapshot.json").read_text())["holder"]
    return 0


@pytest.fixture
def running(own_site):
    site = own_site()
    site.start_watchdog("--period", "0.5", "--timeout", "0.5")
    site.start_web(config=FAST)
    site.wait_ready()
    return site


def test_a_killed_watchdog_is_stood_in_for_and_gets_its_place_back(running):
    workers = running.children("web")

    with Watch(running) as statuses:
        running.parts["watchdog"].send_signal(signal.SIGKILL)
        running.parts["watchdog"].wait(5)
        wait_for(lambda: holder(running) in workers, 5, "a stand-in")
        wait_for(lambda: running.probe("/api/health/live").status == 200, 3)
        running.start_watchdog("--period", "0.5", "--timeout", "0.5")
        back = running.parts["watchdog"].pid
        wait_for(lambda: holder(running) == back, 6, "the watchdog")
        wait_for(lambda: running.probe("/api/health/ready").status == 200, 3)

    assert set(statuses) == {200}
    assert running.children("web") == workers


def test_a_frozen_watchdog_is_killed_for_its_lock(running):
    frozen = running.parts["watchdog"]
    workers = running.children("web")

    with Watch(running) as statuses:
        os.kill(frozen.pid, signal.SIGSTOP)
        wait_for(lambda: holder(running) in workers, 14, "a stand-in")
        wait_for(lambda: running.probe("/api/health/ready").status == 200, 3)

    assert frozen.wait(1) == -signal.SIGKILL
    assert set(statuses) == {200}
    wait_for(lambda: told(running)[-2:] == ["intent", "outcome"], 5, "artifacts")


def told(site) -> list[str]:
    """What the log says of the watchdog's doings, in order."""
    return re.findall(r'"type\\":\\"watchdog_(\w+)', site.output("web"))


def test_a_bare_web_server_samples_for_itself(own_site):
    site = own_site()
    site.start_web(config=FAST)

    first = site.get("/api/health/ready")
    site.wait_ready()

    assert first.status == 503
    assert holder(site) in site.children("web")
    assert site.probe("/metrics").status == 200


def test_a_worker_that_dies_is_replaced_and_told_of(own_site):
    site = own_site()
    site.start_watchdog("--period", "0.5")
    site.start_web()
    site.wait_ready()
    victim = site.children("web")[0]

    os.kill(victim, signal.SIGKILL)

    def told():
        rows = site.get("/api/health/health").json["artifacts"]["recent"]
        return [r for r in rows if r["subject"].endswith(f"/{victim}")]

    (row,) = wait_for(told, 6, "the artifact")
    assert (row["type"], row["source"]) == ("restart", "liveness")
    wait_for(lambda: len(site.children("web")) == 2, 3)
