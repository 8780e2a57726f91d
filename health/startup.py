"""Which boot of the web server this is, and whether it has been seen complete."""

import contextlib

from health.places import run_dir
from health.processes import identify
from health.snapshots import replace_file


def note_boot() -> None:
    """Write the identity of the web master: startup is latched for its life."""
    replace_file(run_dir() / "boot", str(identify()))


def _read(name: str) -> str:
    with contextlib.suppress(OSError):
        return (run_dir() / name).read_text()
    return ""


def current_boot() -> str:
    """Return the identity of the last web master that started here."""
    return _read("boot")


def is_latched() -> bool:
    """Tell whether this boot was complete once."""
    boot = _read("boot")
    return bool(boot) and _read("started") == boot


def latch() -> None:
    """Remember that this boot was complete."""
    boot = _read("boot")
    if boot and _read("started") != boot:
        replace_file(run_dir() / "started", boot)
