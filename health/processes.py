"""What the kernel says of a process: identity, state, memory."""

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SELF = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that no later one with the same pid can be taken for."""

    pid: int
    start_ticks: int

    def __str__(self) -> str:
        """Write it as in file names: pid-ticks."""
        return f"{self.pid}-{self.start_ticks}"


def _stat_fields(pid: int) -> list[str]:
    # The command may hold spaces and brackets: everything after the last bracket.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def start_ticks(pid: int) -> int | None:
    """Return when a living process began, in clock ticks since boot."""
    try:
        fields = _stat_fields(pid)
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else _portable_ticks(pid)
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _portable_ticks(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(process.create_time() * 100)
    except psutil.Error:
        return None


def identify(pid: int | None = None) -> Identity:
    """Return the identity of a living process, by default this one."""
    number = os.getpid() if pid is None else pid
    return Identity(number, start_ticks(number) or 0)


def is_alive(identity: Identity) -> bool:
    """Tell whether that very process still lives; a reused pid is another one."""
    return start_ticks(identity.pid) == identity.start_ticks


def is_ours(identity: Identity) -> bool:
    """Tell whether that very process lives and belongs to our user."""
    try:
        owner = Path(f"/proc/{identity.pid}").stat().st_uid
    except OSError:
        return False
    return owner == os.getuid() and is_alive(identity)


def resident_bytes() -> int:
    """Return this process's resident memory."""
    try:
        return int(_SELF.read_text().split()[1]) * _PAGE
    except OSError:
        return int(psutil.Process().memory_info().rss)


@cache
def memory_limit(configured: int) -> int:
    """Return the lower of the configured limit and 85 % of the control group's."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return configured
    return configured if text == "max" else min(configured, int(int(text) * 0.85))


@dataclass(frozen=True, slots=True)
class Look:
    """What the kernel says of one living process."""

    state: str
    parent: int
    owner: int
    up: float


def look_at(identity: Identity) -> Look | None:
    """Ask the kernel about that very process; None if it is gone or another one."""
    try:
        fields = _stat_fields(identity.pid)
        owner = Path(f"/proc/{identity.pid}").stat().st_uid
    except OSError:
        return None
    if fields[0] in {"Z", "X"} or int(fields[19]) != identity.start_ticks:
        return None
    began = identity.start_ticks / os.sysconf("SC_CLK_TCK")
    up = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    return Look(fields[0], int(fields[1]), owner, up)
