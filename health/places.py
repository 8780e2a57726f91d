"""Where the processes of one installation meet: files under DATA_DIR/run."""

import contextlib
import os
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


def make_socket_dir(folder: Path) -> None:
    """Make the short folder of the sockets, 0700; stop at one of another owner.

    /tmp is everybody's: whoever made it first could put a socket of his own there.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        message = f"{folder} belongs to somebody else; remove it or move DATA_DIR."
        raise SystemExit(message)
    folder.chmod(0o700)


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
