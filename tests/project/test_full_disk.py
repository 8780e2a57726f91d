"""A disk that takes no byte more: the system stays up, says so, and comes back.

RLIMIT_FSIZE stands for the full disk: it needs no right to mount, and every write that
makes a file longer fails in the process that tries it. For one that became read-only
stand the permissions of a user, or of a root without the right to pass them over.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest
from celery import Celery

from health.celeryparts import TickingScheduler
from health.slots import Role, read_slots
from health.takeover import SamplerLock
from tests.health.test_acting import artifacts, flags
from tests.server import ROOT, Installation, wait_for

REPORT = "/api/bug-fixer/report"
GOOD = {"errorMessage": "E: disk", "pageUrl": "http://shop.test/", "severity": "low"}
STRANGER = {"Forwarded": "for=192.0.2.1"}


@contextmanager
def full(pids: list[int]) -> Iterator[None]:
    """Let these processes write no byte more for a while."""
    limits = {pid: psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, limit)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write below a folder for a while, nor make or remove a file there."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


class Obedient(Installation):
    """Parts that ask for permission although they are root's."""

    def start(self, name: str, role: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a part without CAP_DAC_OVERRIDE."""
        less = [f"--{caps}=-dac_override" for caps in ("bounding-set", "inh-caps")]
        plain = ["setpriv", *less] if os.geteuid() == 0 else []
        return super().start(name, role, *plain, *command)


@pytest.fixture
def site() -> Iterator[Installation]:
    with Obedient(REPORT_RATE="off") as running:
        running.start_watchdog(*flags(worker_frozen=5, master_hung=9))
        running.start_web()
        celery = (sys.executable, "-m", "celery", "-A", "fortheweebs")
        running.start("beat", "beat", *celery, "beat", "-l", "INFO")
        running.wait_ready()
        wait_for(lambda: running.slots("beat"), 10, "beat")
        yield running


def report(site: Installation) -> int:
    """Send a report; return the status."""
    headers = {"Content-Type": "application/json", **STRANGER}
    body = json.dumps(GOOD).encode()
    reply = site.get(REPORT, method="POST", headers=headers, body=body, timeout=9)
    if reply.status == 503:
        assert reply.headers["retry-after"]
        assert reply.json["error"]
    return reply.status


def all_ticked(site: Installation, after_ns: int) -> bool:
    """Tell whether the loop of every part has run since then."""
    slots = read_slots(site.data / "run")
    roles = {slot.role for slot in slots if slot.heartbeat_ns > after_ns}
    return {Role.WEB, Role.BEAT, Role.WATCHDOG} <= roles


def full_disk(site: Installation) -> AbstractContextManager[None]:
    leaders = [part.pid for part in site.parts.values()]
    children = [pid for name in site.parts for pid in site.children(name)]
    return full([*leaders, *children])


def read_only_folder(site: Installation) -> AbstractContextManager[None]:
    return read_only(site.data)


@pytest.mark.parametrize("failing", [full_disk, read_only_folder])
def test_a_disk_that_takes_nothing_stops_no_part_and_is_over_when_it_is(site, failing):
    workers = site.children("web")

    with failing(site):
        statuses = {report(site) for _ in range(3)}
        live = site.get("/api/health/live", headers=STRANGER).status
        health = site.get("/api/bug-fixer/health", headers=STRANGER).status
        began = time.monotonic_ns()
        wait_for(lambda: all_ticked(site, began + 2 * 10**9), 9, "every part to go on")
        alive = [part.poll() for part in site.parts.values()]
    site.wait_ready()

    assert statuses == {503}
    assert (live, health) == (200, 200)
    assert alive == [None, None, None]
    assert report(site) == 200
    # Nobody was ended, and the log says why, if the disk takes a log.
    assert site.children("web") == workers
    assert artifacts(site, "intent", "refused") == []
    assert failing is full_disk or "duty_failing" in site.output("watchdog")


def test_beat_goes_on_without_its_file(tmp_path):
    (tmp_path / "file").touch()
    app = Celery("test", set_as_current=False)
    app.conf.beat_schedule = {"one": {"task": "one", "schedule": 60.0}}

    beat = TickingScheduler(app, schedule_filename=str(tmp_path / "file" / "beat"))

    assert "one" in beat.schedule
    beat.sync()
    beat.close()


def test_a_lock_whose_holder_cannot_be_noted_is_held_by_nobody_else(tmp_path):
    path = tmp_path / "lock"
    path.write_text(json.dumps([1, 1]))
    lock = SamplerLock(path)

    with full([os.getpid()]):
        taken = lock.take()

    assert taken
    assert lock.holder() is None
    assert not SamplerLock(path).take()
    lock.release()


def run(data: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the runner in the expectation that it refuses."""
    return subprocess.run(
        [sys.executable, "-m", "fortheweebs.runner"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PORT": "3978", "DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


def test_a_full_disk_at_the_start_is_a_sentence_and_exit_1(tmp_path):
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = run(tmp_path / "var", preexec_fn=fill)

    assert done.returncode == 1
    assert f"DATA_DIR {tmp_path / 'var'} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_may_not_be_written_is_a_sentence_and_exit_1():
    # /proc takes no folder from anybody, root neither.
    done = run(Path("/proc/ftw"))

    assert done.returncode == 1
    assert "DATA_DIR /proc/ftw cannot be used" in done.stderr
    assert "set DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr
