"""A real systemd as PID 1 in namespaces of its own, with the units installed.

Nothing of the machine is changed: /etc, /var and /opt are folders of the test, the
checkout is bound to /opt/fortheweebs, and killing PID 1 ends everything.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.server import wait_for
from tests.services import redis_binary

ROOT = Path(__file__).resolve().parents[2]
HOME = Path("/opt/fortheweebs")
SYSTEMD = Path("/lib/systemd/systemd")
VENDOR = Path("/lib/systemd/system")
SPACES = ("--pid", "--mount", "--cgroup", "--ipc", "--uts", "--net")

# $1 the folder, $2 the checkout, $3 the interpreter's prefix. Everything is put together
# in the folder first: the checkout may lie where something is mounted later.
SET_UP = """
set -eu
base=$1
echo $$ > "$4/cgroup.procs"
mount --bind "$2" "$base/opt/fortheweebs"
mount --bind "$base/bin" "$base/opt/fortheweebs/.venv/bin"
mount --bind "$base/pyvenv.cfg" "$base/opt/fortheweebs/.venv/pyvenv.cfg"
mount --bind "$3" "$base/opt/python"
for one in etc var opt; do mount --rbind "$base/$one" "/$one"; done
mount --bind "$base/vendor" /lib/systemd/system
mount --bind "$base/none" /lib/systemd/system-generators
exec unshare --cgroup sh -euc '
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
# Credentials are mounted by a helper process; shared, the mount reaches the others.
mount --make-rshared /
cd /
exec env -i container=ftw PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \\
    --unit=multi-user.target --log-target=console --log-level=info --log-color=no
'
"""
# Should the run be killed: its end of the pipe closes, and nothing is left behind.
AFTER_US = """
read _ || {
    kill -KILL "$2"
    for _ in $(seq 50); do
        find "$3" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.1
    done
    rm -rf "$1"
}
"""
OUTPUT = """[Service]
StandardOutput=append:/var/log/%N.log
StandardError=inherit
"""
ASK = """
import sys, time, urllib.error, urllib.request
url, status, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
deadline, said = time.monotonic() + seconds, ""
while time.monotonic() < deadline:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            code, said = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        code, said = error.code, error.read().decode()
    except OSError as error:
        code, said = 0, str(error)
    if code == status:
        sys.exit(print("done"))
    time.sleep(0.05)
print(code, said)
"""
REDIS = """[Unit]
Description=Redis of the test
[Service]
DynamicUser=yes
RuntimeDirectory=redis-server
ExecStart={binary} --port 6379 --bind 127.0.0.1 --save "" --dir /run/redis-server
"""


def why_not() -> str:
    """Return why no systemd of ours can run here; empty if it can."""
    if os.geteuid() != 0:
        return "a systemd of our own needs root"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    try:
        folder = make_cgroup()
    except OSError as error:
        return f"no control group can be made here: {error}"
    folder.rmdir()
    tried = subprocess.run(
        ["unshare", *SPACES, "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        text=True,
    )
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr}"


def make_cgroup() -> Path:
    """Make a control group below our own; systemd shall see nothing above it."""
    mounts = [
        line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    found = [one[4] for one in mounts if "cgroup2" in one[one.index("-") + 1]]
    if not found:
        raise OSError("cgroup v2 is not mounted")
    own = next(
        line.split(":", 2)[2].strip()
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )
    folder = Path(found[0] + own) / f"ftw-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    return folder


class Machine:
    """One systemd; `with Machine() as machine: machine.systemctl("start", ...)`."""

    def __init__(self, **drop_ins: str) -> None:
        """Put the folders together, with a drop-in for each unit NAME=text."""
        self.base = Path(tempfile.mkdtemp(prefix="ftw-machine-", dir="/tmp"))
        self.base.chmod(0o755)
        self._make_etc(drop_ins)
        self._make_python()
        for name in ("var/log", "var/lib", "var/tmp", "var/cache", "none", "vendor"):
            (self.base / name).mkdir(parents=True)
        for path in [*VENDOR.glob("*.target"), *VENDOR.glob("*.slice")]:
            shutil.copy(path, self.base / "vendor" / path.name, follow_symlinks=False)
        self.cgroup = make_cgroup()
        self.process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def _make_etc(self, drop_ins: dict[str, str]) -> None:
        etc = self.base / "etc"
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        system = etc / "systemd" / "system"
        shutil.rmtree(etc / "systemd")
        (system / "service.d").mkdir(parents=True)
        (system / "service.d" / "output.conf").write_text(OUTPUT)
        for name, text in drop_ins.items():
            unit = name.replace("_", "-") + ".service.d"
            (system / unit).mkdir()
            (system / unit / "test.conf").write_text(text)
        binary = Path(redis_binary())
        if binary.is_relative_to(ROOT):
            binary = HOME / binary.relative_to(ROOT)
        (system / "redis-server.service").write_text(REDIS.format(binary=binary))

    def _make_python(self) -> None:
        """Let the checkout's .venv stand on an interpreter that every user can reach."""
        for name in ("opt/fortheweebs", "opt/python", "bin"):
            (self.base / name).mkdir(parents=True)
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        (self.base / "bin" / "python").symlink_to(f"/opt/python/bin/{version}")
        config = f"home = /opt/python/bin\nversion = {sys.version.split()[0]}\n"
        (self.base / "pyvenv.cfg").write_text(config)
        shared = self.base / "etc/systemd/system/service.d/python.conf"
        shared.write_text("[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n")

    def __enter__(self) -> "Machine":
        try:
            return self.boot()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def boot(self) -> "Machine":
        """Start systemd and wait until it takes commands."""
        spaces = [space for space in SPACES if space != "--cgroup"]
        command = ["unshare", *spaces, "--fork", "--kill-child", "sh", "-c", SET_UP]
        arguments = [self.base, ROOT, sys.base_prefix, self.cgroup]
        with (self.base / "manager.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "sh", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(wait_for(children.read_text, 5, "the first process"))
        self._watcher = subprocess.Popen(
            ["sh", "-c", AFTER_US, "sh", self.base, str(self.pid), self.cgroup],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._is_up, 10, "systemd")
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        done = self.run("systemctl", "is-system-running", check=False)
        return done.strip() in {"running", "degraded"}

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside and return what it said."""
        enter = ["nsenter", "-t", str(self.pid), "-p", "-m", "-n", "-u", "-i", "-C"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == 0 or not check, f"{said}\n{self.said()}"
        return said

    def systemctl(self, *words: str) -> str:
        """Give systemd an order."""
        return self.run("systemctl", *words)

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).strip()

    def main_pid(self, unit: str) -> int:
        """Return the main process of a unit as it is numbered inside."""
        return int(self.show(unit, "MainPID"))

    def pids(self, unit: str) -> list[int]:
        """Return a unit's processes as they are numbered out here."""
        group = self.cgroup / "system.slice" / f"{unit}.service"
        with contextlib.suppress(OSError):
            texts = (file.read_text() for file in group.rglob("cgroup.procs"))
            return [int(pid) for text in texts for pid in text.split()]
        return []

    def master(self, unit: str) -> int:
        """Return the main process of a unit as it is numbered out here."""
        inner = str(self.main_pid(unit))
        for pid in self.pids(unit):
            status = Path(f"/proc/{pid}/status").read_text()
            spaces = status.partition("NSpid:")[2].splitlines()[0].split()
            if spaces[-1] == inner:
                return pid
        raise AssertionError(f"{unit} has no process {inner}")

    def kill(self, unit: str, number: int = signal.SIGKILL) -> None:
        """Signal the main process of a unit, as something outside of systemd."""
        os.kill(self.master(unit), number)

    @property
    def data(self) -> Path:
        """Return DATA_DIR of the units as it is seen from outside."""
        return self.base / "var/lib/private/fortheweebs"

    def wait_for_status(
        self, path: str, status: int, seconds: float, *, port: int = 3001
    ) -> None:
        """Ask from inside until the answer has this status."""
        url = f"http://127.0.0.1:{port}{path}"
        python = f"{HOME}/.venv/bin/python"
        said = self.run(python, "-Ic", ASK, url, str(status), str(seconds), check=False)
        assert said.strip() == "done", f"{url}: {said}\n{self.said()}"

    def said(self) -> str:
        """Return the end of every log."""
        logs = [self.base / "manager.log", *(self.base / "var/log").glob("*.log")]
        texts = (f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)
        return "\n".join(texts)

    def close(self) -> None:
        """Kill PID 1, and with it everything; take the folders away."""
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        wait_for(self._is_empty, 5, "the control group")
        shutil.rmtree(self.base, ignore_errors=True)

    def _is_empty(self) -> bool:
        try:
            for folder in sorted(self.cgroup.rglob("*/"), reverse=True):
                folder.rmdir()
            self.cgroup.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True
