"""What the recovery proofs stand on: a whole run, a load on it, eyes on what heals."""

import contextlib
import ctypes
import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from bench.faulty.apps import DONE
from health.processes import Identity, identify, look_at
from health.slots import Role, SlotReading, read_slots
from tests.server import ROOT, Installation, get, wait_for

READY, LIVE = "/api/health/ready", "/api/health/live"
LOOPS = 4
SETTLED = 11.0  # the watchdog leaves alone who is younger than 10 s
# Unacknowledged tasks come back after 120 s, looked for every 5 s.
REDELIVERED = 150.0
_CLONE_NEWNS = 0x20000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def say(what: str, target: str, measured: str, *, ok: bool) -> None:
    print(f"{what} | {target} | {measured} | {'ok' if ok else 'missed'}", flush=True)


def end_with_parent() -> None:
    """Whatever ends the bench, what it started is asked to end too."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def seconds_until(
    condition: Callable[[], Any], limit: float, since: float | None = None
) -> float:
    """Return how long it took, from now or earlier; infinity when it did not come."""
    began = time.monotonic() if since is None else since
    while not condition():
        if time.monotonic() - began > limit:
            return float("inf")
        time.sleep(0.01)
    return time.monotonic() - began


def ask(port: int, path: str, timeout: float = 20.0) -> str:
    """Ask once; return the status, or that nobody listened, or that no answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.connect()
    except OSError:
        return "refused"
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException):
        return "lost"
    finally:
        connection.close()


class Load:
    """Closed loops on the main port that read the database; what came of each."""

    def __init__(self, port: int) -> None:
        self._port, self._stop = port, threading.Event()
        self._done: list[tuple[float, str]] = []
        self._asking: set[int] = set()
        self._threads = [threading.Thread(target=self._loop) for _ in range(LOOPS)]
        for thread in self._threads:
            thread.start()

    def _loop(self) -> None:
        me = threading.get_ident()
        while not self._stop.wait(0.02):
            self._asking.add(me)
            outcome = ask(self._port, "/read")
            self._asking.discard(me)
            self._done.append((time.monotonic(), outcome))
            if outcome != "200":
                self._stop.wait(0.5)

    def in_flight(self) -> int:
        return len(self._asking)

    def since(self, began: float) -> Counter[str]:
        """Count what the requests came to that ended after a moment."""
        return Counter(outcome for at, outcome in list(self._done) if at >= began)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(25)


class Stream:
    """Two tasks a second; each leaves a mark when it was done."""

    def __init__(self, redis_url: str) -> None:
        self._url, self._stop = redis_url, threading.Event()
        self.sent: dict[int, float] = {}
        self.refused = 0
        self._next, self._lock = 0, threading.Lock()
        limits = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25}
        self._app = Celery(
            broker=redis_url.replace("unix://", "redis+socket://"), set_as_current=False
        )
        self._app.conf.update(
            broker_transport_options=limits,
            task_publish_retry_policy={"max_retries": 0},
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            self.send("bench.note")

    def send(self, task: str, **options: Any) -> int:
        """Send one task; what the broker did not take was never sent."""
        with self._lock:
            self._next += 1
            number = self._next
            try:
                self._app.send_task(task, [number], **options)
                self.sent[number] = time.time()
            except (OperationalError, OSError, redis.RedisError):
                self.refused += 1
        return number

    def deafen(self) -> None:
        """Let every worker hold its connection, tick, and take nothing more."""
        self._app.control.cancel_consumer("celery")

    def hear(self) -> None:
        """Let them take tasks again."""
        self._app.control.add_consumer("celery")

    def done(self) -> dict[int, float]:
        with contextlib.closing(redis.Redis.from_url(self._url)) as client:
            marks: Any = client.lrange(DONE, 0, -1)
        pairs = [mark.decode().split() for mark in reversed(marks)]
        return {int(number): float(at) for number, at in pairs}

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._app.close()

    def report(self, rows: str, *, most: int) -> None:
        """Wait for every task that was sent, also for those that must come again."""
        self._stop.set()
        self._thread.join(5)
        seconds_until(lambda: self.sent.keys() <= self.done().keys(), REDELIVERED)
        done = self.done()
        lost = [number for number in self.sent if number not in done]
        late = max(
            (done[n] - at for n, at in self.sent.items() if n in done), default=0
        )
        refused = f", {self.refused} not taken by the broker" if self.refused else ""
        say(
            f"tasks lost through {rows}",
            f"<= {most}",
            f"{len(lost)} of {len(self.sent)}{refused}, the last after {late:.0f} s",
            ok=len(lost) <= most and bool(done),
        )


class Site(Installation):
    """An installation that the runner keeps, as `make run` does, on PostgreSQL."""

    def __init__(self, *, small_disk: bool = False) -> None:
        self.load: Load | None = None
        self.stream: Stream | None = None
        self._mounted = False
        self.outage = 600.0  # the seconds of a long one
        super().__init__(
            postgres=True,
            migrate=False,
            DJANGO_SETTINGS_MODULE="bench.faulty.settings",
            GRACEFUL_TIMEOUT="5",  # that of `make run`
            LIVE_MAX_RSS=str(300 << 20),
            LOCAL_OPERATOR="1",
        )
        try:
            if small_disk:
                self._mount()
            self._start()
        except BaseException:
            self.close()
            raise

    def _mount(self) -> None:
        """Make DATA_DIR a small disk that goes with this process, however it ends."""
        if _libc.unshare(_CLONE_NEWNS):
            raise OSError("no mount namespace of our own")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        words = ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(self.data)]
        subprocess.run(words, check=True)
        self._mounted = True

    def _start(self) -> None:
        with (self.data / "run.out").open("ab") as out:
            self.parts["run"] = subprocess.Popen(
                [sys.executable, "-m", "fortheweebs.runner"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - only calls prctl
            )
        wait_for(lambda: self.get(READY).status == 200, 90, "the first ready")
        wait_for(lambda: len(self.fresh(Role.POOL)) == 2, 60, "the Celery worker")
        wait_for(lambda: self.fresh(Role.BEAT), 60, "beat")
        self.load = Load(self.port)
        self.stream = Stream(self.environment["REDIS_URL"])

    def close(self) -> None:
        for one in (self.load, self.stream):
            if one is not None:
                one.stop()
        self.resume_services()
        for name in [name for name in self.parts if name != "run"]:
            self.stop(name)
        if runner := self.parts.get("run"):
            runner.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                runner.wait(20)
        left = self.left_behind()
        super().close()
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.data)], check=True)
            shutil.rmtree(self.data, ignore_errors=True)
        digest = hashlib.sha256(str(self.data).encode()).hexdigest()[:12]
        shutil.rmtree(f"/tmp/ftw-{os.getuid()}-{digest}", ignore_errors=True)
        if left:
            say("processes left behind", "none", ", ".join(map(str, left)), ok=False)

    def left_behind(self) -> list[int]:
        """Return the processes that still live in this DATA_DIR."""
        mark = f"DATA_DIR={self.data}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    # -- Who is there ------------------------------------------------------------------
    def part(self, role: str) -> int:
        """Return the pid of a part by its role; 0 while there is none."""
        for pid in self.children("run"):
            with contextlib.suppress(OSError):
                if (
                    f"\0ROLE={role}\0".encode()
                    in Path(f"/proc/{pid}/environ").read_bytes()
                ):
                    return pid
        return 0

    def fresh(self, role: Role) -> list[SlotReading]:
        """Return the slots of a role that tick."""
        now = time.monotonic_ns()
        found = [slot for slot in read_slots(self.data / "run") if slot.role is role]
        return [
            slot for slot in found if slot.age(now) < (7 if role is Role.BEAT else 2)
        ]

    def pids(self, role: Role) -> list[int]:
        return [slot.identity.pid for slot in self.fresh(role)]

    def everybody(self) -> set[Identity]:
        """Return every process of every part."""
        parts = {identify(pid) for pid in self.children("run")}
        return parts | {slot.identity for slot in read_slots(self.data / "run")}

    def settle(self) -> None:
        """Wait until nobody is so young that the watchdog would leave it alone."""

        def old_enough() -> bool:
            looks = [look_at(identity) for identity in self.everybody()]
            return all(look and look.up > SETTLED for look in looks)

        wait_for(lambda: self.get(READY).status == 200, 30, "ready")
        wait_for(old_enough, 60, "everybody to settle")

    # -- What was written down ---------------------------------------------------------
    def artifacts(self, since: datetime, **query: str) -> list[dict[str, Any]]:
        words = {"limit": "1000", "since": since.isoformat()[:-6] + "Z", **query}
        text = "&".join(f"{name}={value}" for name, value in words.items())
        reply = get(self.port, f"/api/health/artifacts?{text}", timeout=10)
        if reply.status != 200:
            return []
        found: list[dict[str, Any]] = reply.json["artifacts"]
        return [one for one in found if one["timestamp"] >= words["since"]]

    def told(self, since: datetime, rule: str, pid: int) -> str:
        """Return which artifacts of an act on a process there are, once there are."""

        def of(kind: str) -> list[dict[str, Any]]:
            return [
                one
                for one in self.artifacts(since, type=kind)
                if one["details"].get("rule") == rule
                and one["subject"].endswith(f"/{pid}")
            ]

        def both() -> bool:
            intents = {one["id"] for one in of("watchdog_intent")}
            outcomes = of("watchdog_outcome")
            return any(one["details"]["intent"] in intents for one in outcomes)

        if seconds_until(both, 20) < 20:
            return "intent and outcome"
        return "an intent alone" if of("watchdog_intent") else "no artifact"

    def told_of_end(self, since: datetime, pids: list[int]) -> str:
        """Return whether the end of one of these processes was written down."""

        def there() -> bool:
            found = self.artifacts(since, type="restart")
            ends = {one["subject"].rpartition("/")[2] for one in found}
            return bool(ends & set(map(str, pids)))

        return "an artifact" if seconds_until(there, 20) < 20 else "no artifact"

    def check(self, name: str) -> float:
        """Return what the metrics say of a check: 1 passes, 0.5 warns, 0 fails."""
        text = get(self.probe_port, "/metrics", timeout=5).body.decode()
        for line in text.splitlines():
            if line.startswith(f'ftw_check_status{{check="{name}"}}'):
                return float(line.split()[-1])
        return -1.0


def now() -> datetime:
    return datetime.now(UTC)
