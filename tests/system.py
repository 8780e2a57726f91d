"""A whole running system for tests: `make run` in a folder and on ports of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
# What a stranger's shell would not have: the suite's own services and settings.
OURS = (
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "DATA_DIR",
    "HTTPS_ONLY",
    "NODE_NAME",
)


def free_ports() -> tuple[int, int]:
    """Return a free pair of ports, PORT and PORT + 1000."""
    for _ in range(50):
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port > 60000:
                continue
            with contextlib.suppress(OSError):
                other.bind(("127.0.0.1", port + 1000))
                return port, port + 1000
    raise OSError("no free pair of ports")


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until the condition gives something true; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


class System:
    """Everything `make run` starts, with its output kept."""

    def __init__(self, data: Path, **environ: str) -> None:
        """Choose ports; nothing is started yet."""
        self.data = data
        self.port, self.probe_port = free_ports()
        kept = {k: v for k, v in os.environ.items() if k not in OURS}
        # A session that make hands down would make the inner one wait for job slots.
        for name in ("MAKEFLAGS", "MAKELEVEL", "PYTEST_XDIST_WORKER", "ROLE"):
            kept.pop(name, None)
        own = {"PORT": str(self.port), "DATA_DIR": str(data)}
        self.environ = {**kept, **own, **environ}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = Path(tempfile.mkstemp(prefix="ftw-system-", suffix=".log")[1])

    @property
    def url(self) -> str:
        """Return where the main port is."""
        return f"http://localhost:{self.port}"

    def start(self, *, ready: bool = True) -> "System":
        """Run `make run`; wait for the first ready 200 unless told not to."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["make", "-s", "run"],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if ready:
            wait_for(self.is_ready, 60, f"ready 200; said:\n{self.said()[-3000:]}")
        return self

    def said(self) -> str:
        """Return all output so far."""
        return self.log.read_text(errors="replace")

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Ask the main port; return the status and the JSON (or text) body."""
        return fetch(self.url + path, headers)

    def is_ready(self) -> bool:
        """Tell whether the system answers ready 200; fail if it ended."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the run ended:\n{self.said()[-3000:]}")
        return self.get("/api/health/ready")[0] == 200

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this run, by its DATA_DIR."""
        return [p for p in psutil.process_iter() if self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("DATA_DIR") == str(self.data)
                and process.pid != os.getpid()
            )
        except psutil.Error:
            return False

    def part(self, words: str) -> psutil.Process:
        """Return the oldest process whose command line holds the words."""
        found = [p for p in self.processes() if words in " ".join(p.cmdline())]
        return min(found, key=lambda p: p.create_time())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal `make`'s whole group, as a terminal does; return the exit code."""
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        try:
            return self.process.wait(15)
        finally:
            for left in self.processes():
                with contextlib.suppress(psutil.Error):
                    left.kill()
            self.process = None
            self.log.unlink(missing_ok=True)


def fetch(
    url: str, headers: dict[str, str] | None = None, timeout: float = 10
) -> tuple[int, Any]:
    """Get a URL; a refused connection is status 0."""
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read()
    except OSError:
        return 0, None
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode(errors="replace")
