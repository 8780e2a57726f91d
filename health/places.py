"""Where the processes of one installation meet: files under DATA_DIR/run."""

import contextlib
from functools import cache
from pathlib import Path

from django.conf import settings


def run_dir() -> Path:
    """Return DATA_DIR/run, made on first use."""
    path = Path(settings.RUN_DIR)
    with contextlib.suppress(OSError):  # whoever writes there says what is wrong
        path.mkdir(parents=True, exist_ok=True)
    return path


def snapshot_file() -> Path:
    """Return the file that the holder of the sampler lock replaces."""
    return _within(settings.RUN_DIR, "snapshot.json")


def lock_file() -> Path:
    """Return the file whose flock makes a process the sampler."""
    return run_dir() / "sampler.lock"


def drain_file() -> Path:
    """Return the file whose presence says: send nothing new here."""
    return _within(settings.RUN_DIR, "drain")


@cache
def _within(folder: Path, name: str) -> Path:
    # Joining the path anew took a third of the time of a readiness answer.
    return Path(folder) / name


@cache
def machine_boot() -> str:
    """Return the id of this boot of the machine; monotonic clocks agree within it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
