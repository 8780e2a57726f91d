"""Where each thread stands, written by the process itself when it is asked to.

faulthandler writes from the signal handler, without the interpreter's lock: also a
process whose threads all wait, or one that never lets the lock go, says where it is.
"""

import contextlib
import faulthandler
import hashlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from health.places import run_dir
from health.processes import Identity, identify, is_alive

ASK = signal.SIGUSR2
LONGEST_FILE = 256 * 1024
KEPT = 20
FIRST_LINES, FIRST_CHARACTERS = 40, 2000
_PATH = re.compile(r'File "([^"]*)"')
# Kept open for as long as the process lives: the handler writes to its descriptor.
_file: IO[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Dump:
    """The tracebacks of one process."""

    file: str
    sha256: str
    first: str


def dump_file(identity: Identity) -> Path:
    """Return where that process writes its tracebacks."""
    return run_dir() / "dumps" / f"{identity}.txt"


def register_dumps() -> None:
    """Let this process answer SIGUSR2 with its tracebacks, and SIGABRT before it ends.

    gunicorn resets the signals of a worker after post_fork, and its master takes
    SIGUSR2 for something else: only who has a file of this kind is ever asked.
    """
    global _file  # noqa: PLW0603 - one a process
    path = dump_file(identify())
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        _file = path.open("ab", buffering=0)
        faulthandler.register(ASK, file=_file, all_threads=True, chain=False)
        faulthandler.enable(file=_file, all_threads=True)


def read_dump(identity: Identity) -> Dump | None:
    """Return what that process wrote; None if it wrote nothing."""
    path = dump_file(identity)
    try:
        if path.stat().st_size > LONGEST_FILE:
            os.truncate(path, LONGEST_FILE)
        text = path.read_bytes()
    except OSError:
        return None
    if not text:
        return None
    said = _PATH.sub(_shorten, text.decode(errors="replace"))
    first = "\n".join(said.splitlines()[:FIRST_LINES])[:FIRST_CHARACTERS]
    return Dump(path.name, hashlib.sha256(text).hexdigest(), first)


def _shorten(found: re.Match[str]) -> str:
    """Keep the end of a path: its beginning may name a person."""
    return f'File "{"/".join(found[1].split("/")[-3:])}"'


def can_dump(identity: Identity) -> bool:
    """Tell whether that process answers SIGUSR2; others would die of it."""
    return dump_file(identity).exists()


def wait_for_dump(identity: Identity, *, seconds: float) -> Dump | None:
    """Wait until the file no longer grows, or as long as we may."""
    deadline, before = time.monotonic() + seconds, -1
    path = dump_file(identity)
    while time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            if size and size == before:
                break
            before = size
    return read_dump(identity)


def sweep_dumps() -> None:
    """Drop the empty files of the dead and all but the newest of the others."""
    dead = []
    for path in (run_dir() / "dumps").glob("*-*.txt"):
        pid, _, ticks = path.stem.partition("-")
        if pid.isdigit() and ticks.isdigit():
            if is_alive(Identity(int(pid), int(ticks))):
                continue
            with contextlib.suppress(OSError):
                state = path.stat()
                dead.append((state.st_size > 0, state.st_mtime, path))
    dead.sort(reverse=True)
    for place, (has_text, _, path) in enumerate(dead):
        if place >= KEPT or not has_text:
            path.unlink(missing_ok=True)
