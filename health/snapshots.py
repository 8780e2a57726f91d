"""The snapshot file: written by one process, read by all."""

import os
import time
from pathlib import Path

from health.places import machine_boot, run_dir, snapshot_file
from health.snapshot import FRESH_SECONDS, Snapshot, parse_snapshot

_Key = tuple[str, int, int, int]
_cache: tuple[_Key, Snapshot | None] | None = None


def load_snapshot() -> Snapshot | None:
    """Return the last snapshot of this boot, however old; parse each version once."""
    global _cache  # noqa: PLW0603 - a cache of one value; a race only parses twice
    path = snapshot_file()
    try:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
        cached = _cache
        if cached is not None and cached[0] == key:
            return cached[1]
        text = path.read_bytes()
    except OSError:
        return None
    snapshot = parse_snapshot(text, boot=machine_boot(), now_ns=time.monotonic_ns())
    _cache = (key, snapshot)
    return snapshot


def read_snapshot() -> Snapshot | None:
    """Return the snapshot if it is fresh enough to be believed."""
    snapshot = load_snapshot()
    if snapshot is None or snapshot.age(time.monotonic_ns()) > FRESH_SECONDS:
        return None
    return snapshot


def write_snapshot(snapshot: Snapshot) -> None:
    """Replace the file by rename, so that no reader ever sees half of one."""
    replace_file(snapshot_file(), snapshot.to_json())


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    run_dir()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
