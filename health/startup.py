"""Which boot of the web server this is, and whether it has been seen complete."""

import contextlib
import logging
import os
import time
from pathlib import Path

import psutil

from health.places import run_dir
from health.processes import Identity, identify, is_alive
from health.snapshots import replace_file

logger = logging.getLogger(__name__)


def note_boot() -> None:
    """Write the identity of the web master: startup is latched for its life."""
    try:
        replace_file(run_dir() / "boot", str(identify()))
    except OSError:
        logger.warning("boot_not_noted", exc_info=True)


def _read(name: str) -> str:
    with contextlib.suppress(OSError):
        return (run_dir() / name).read_text()
    return ""


def current_boot() -> str:
    """Return the identity of the last web master that started here."""
    return _read("boot")


def current_master() -> Identity | None:
    """Return that master while it lives."""
    pid, _, ticks = current_boot().partition("-")
    if not (pid.isdigit() and ticks.isdigit()):
        return None
    master = Identity(int(pid), int(ticks))
    return master if is_alive(master) else None


def master_started_at(master: Identity) -> float:
    """Return when that process began, by the wall clock as it is now."""
    try:
        up = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return psutil.Process(master.pid).create_time()
    return time.time() - up + master.start_ticks / os.sysconf("SC_CLK_TCK")


def is_latched() -> bool:
    """Tell whether this boot was complete once."""
    boot = _read("boot")
    return bool(boot) and _read("started") == boot


def latch() -> None:
    """Remember that this boot was complete."""
    boot = _read("boot")
    if boot and _read("started") != boot:
        with contextlib.suppress(OSError):  # a full disk: it is tried at the next probe
            replace_file(run_dir() / "started", boot)


def forget_boot() -> None:
    """Take the note away at a clean end, so that nobody misses the server."""
    (run_dir() / "boot").unlink(missing_ok=True)
