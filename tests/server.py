"""The real parts as processes: a folder, a Redis, a database and ports of their own."""

import atexit
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.nursery import nursery
from tests.services import start_postgres, start_redis

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Of a machine that does other things as well: what takes 4 s alone took 7 with a load of 6.
PATIENCE = 2.0


def wait_for(condition: Callable[[], Any], seconds: float, what: str = "") -> Any:
    """Wait until a condition is true and return it; fail after twice so many seconds."""
    deadline = time.monotonic() + PATIENCE * seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what or condition} took over {seconds} s"
        time.sleep(0.02)


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; status 0 is no answer at all."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(
    port: int,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    timeout: float = 2.0,
    method: str = "GET",
    body: bytes | Iterator[bytes] | None = None,
) -> Reply:
    """Ask once over a connection of its own; a failure is status 0."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    began = time.monotonic()
    try:
        connection.request(
            method,
            path,
            body=body,
            headers=headers or {},
            encode_chunked=body is not None and not isinstance(body, bytes),
        )
        answer = connection.getresponse()
        content = answer.read()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, content, names, time.monotonic() - began)
    except (OSError, http.client.HTTPException):
        return Reply(0, seconds=time.monotonic() - began)
    finally:
        connection.close()


class Installation:
    """One DATA_DIR with its ports, database and Redis; parts are started into it.

    `with Installation() as site: site.start_watchdog(); site.start_web()`
    """

    _template = ""
    # Where the parts run from; `manage` runs the code of this checkout.
    code = ROOT

    def __init__(
        self, *, postgres: bool = False, migrate: bool = True, **environment: str
    ) -> None:
        """Start the services and migrate."""
        self.data = Path(tempfile.mkdtemp(prefix="ftw-site-", dir="/tmp"))
        self.port, self.probe_port = free_port(), free_port()
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self._stops: list[Callable[[], None]] = []
        redis_url, stop_redis, self.redis_pid = start_redis()
        self._stops.append(stop_redis)
        database = f"sqlite:///{self.data}/db.sqlite3"
        self.postgres_pid = 0
        if postgres:
            database, stop_postgres = start_postgres(free_port())
            self._stops.append(stop_postgres)
            home = Path(database.split("host=")[1].split("&")[0])
            pid_file = home / "data" / "postmaster.pid"
            self.postgres_pid = int(pid_file.read_text().splitlines()[0])
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
            "DATA_DIR": str(self.data),
            "DATABASE_URL": database,
            "REDIS_URL": redis_url,
            "PORT": str(self.port),
            "PROBE_PORT": str(self.probe_port),
            "SECRET_KEY": "only-for-tests-" + "x" * 40,
            "HTTPS_ONLY": "0",
            "GRACEFUL_TIMEOUT": "2",
            "NODE_NAME": "site",
            "DJANGO_SETTINGS_MODULE": "fortheweebs.settings",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        try:
            if migrate and not postgres:
                self._copy_migrated()
            elif migrate:
                self.manage("migrate", "-v", "0")
        except BaseException:
            self.close()  # nobody else will: there is no object yet
            raise

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every part at once, stop the services and leave nothing behind.

        At once: a polite end of Celery or gunicorn takes seconds, for nobody.
        """
        self.resume_services()
        for name in list(self.parts):
            self.end(name)
        if os.environ.get("SHOW_SITES"):
            for path in self.data.glob("*.out"):
                sys.stderr.write(f"== {path.name}\n{path.read_text()}")
        while self._stops:
            self._stops.pop()()
        for folder in (self.data, self.sockets):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def sockets(self) -> Path:
        """Return the folder that the settings of this installation name."""
        mark = hashlib.sha256(str(self.data).encode()).hexdigest()[:12]
        return Path(f"/tmp/ftw-{os.getuid()}-{mark}")

    def _copy_migrated(self) -> None:
        """Copy a migrated SQLite file, made once a run: migrating takes seconds."""
        if not Installation._template:
            self.manage("migrate", "-v", "0")
            folder = tempfile.mkdtemp(prefix="ftw-template-", dir="/tmp")
            Installation._template = f"{folder}/db.sqlite3"
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            shutil.copy(self.data / "db.sqlite3", Installation._template)
        else:
            shutil.copy(Installation._template, self.data / "db.sqlite3")

    # -- parts ---------------------------------------------------------------------
    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command to its end and return what it said."""
        env = {**self.environment, "ROLE": "command", **environment}
        done = nursery().run(["manage.py", *arguments], env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, role: str, *command: str) -> subprocess.Popen[bytes]:
        """Start one part in a session of its own; its output goes to a file."""
        out = (self.data / f"{name}.out").open("ab")
        with out:
            self.parts[name] = subprocess.Popen(
                command,
                cwd=self.code,
                env={**self.environment, "ROLE": role},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.parts[name]

    def start_web(
        self,
        application: str = "fortheweebs.wsgi",
        *,
        config: str = "gunicorn.conf.py",
    ) -> None:
        """Start gunicorn and wait until it answers."""
        command = [sys.executable, "-m", "gunicorn", "-c", config, application]
        self.start("web", "web", *command)
        workers = int(self.environment.get("WEB_WORKERS", "2"))
        wait_for(lambda: self.get("/api/health/live").status, 10, "web")
        wait_for(lambda: len(self.slots("web")) == workers, 10, "every worker")

    def start_watchdog(self, *flags: str) -> None:
        """Start the watchdog and wait for its first snapshot."""
        command = [sys.executable, "manage.py", "watchdog", *flags]
        self.start("watchdog", "watchdog", *command)
        wait_for((self.data / "run" / "snapshot.json").exists, 10, "watchdog")

    def wait_ready(self, seconds: float = 8.0) -> None:
        """Wait for the first 200 of ready on the main port."""
        wait_for(lambda: self.get("/api/health/ready").status == 200, seconds, "ready")

    def stop(self, name: str) -> int:
        """Stop one part politely, then its whole session; return its exit code."""
        part = self.parts.pop(name)
        for number in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                part.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            part.wait(6)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.pid, signal.SIGKILL)
        return part.wait(5)

    def end(self, name: str) -> None:
        """End one part and its whole session at once."""
        part = self.parts.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.pid, signal.SIGKILL)
        part.wait(5)

    def output(self, name: str) -> str:
        """Return what a part wrote."""
        return (self.data / f"{name}.out").read_text(errors="replace")

    def slots(self, role: str) -> list[str]:
        """Return the names of a role's slots."""
        return sorted(path.name for path in (self.data / "run").glob(f"{role}-*.slot"))

    def children(self, name: str) -> list[int]:
        """Return the pids of a part's children."""
        pid = self.parts[name].pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]

    # -- services ------------------------------------------------------------------
    def stop_postgres(self) -> None:
        """Freeze PostgreSQL: its postmaster and every backend."""
        for pid in self._postgres_processes():
            os.kill(pid, signal.SIGSTOP)

    def stop_redis(self) -> None:
        """Freeze Redis."""
        os.kill(self.redis_pid, signal.SIGSTOP)

    def resume_services(self) -> None:
        """Let the frozen services go on."""
        pids = [self.redis_pid, *self._postgres_processes()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _postgres_processes(self) -> list[int]:
        pid = self.postgres_pid
        if not pid:
            return []
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [pid, *map(int, children.split())]
        return [pid]

    # -- asking --------------------------------------------------------------------
    def get(self, path: str, **options: Any) -> Reply:
        """Ask the main port."""
        return get(self.port, path, **options)

    def probe(self, path: str, **options: Any) -> Reply:
        """Ask the probe port."""
        return get(self.probe_port, path, **options)
