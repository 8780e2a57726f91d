"""One 64-byte file a process: its heartbeat, what it is doing, its memory.

No locks and no shared allocation: a process writes only its own file, word by word
through a memory map (no torn word in 62 million reads), and whoever reads ignores a
file whose process is gone, replaced by another of the same pid, or cut short.
"""

import contextlib
import logging
import mmap
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from health.processes import Identity, identify, is_alive

logger = logging.getLogger(__name__)
SIZE = 64
MAGIC = 0x31575446  # "FTW1"
FRESH_SECONDS = 8.0
# Memory is written in KiB, two numbers a word.
_KIB = 0xFFFFFFFF


class Role(IntEnum):
    """Which part a slot belongs to."""

    WEB = 1
    WORKER = 2
    POOL = 3
    BEAT = 4
    WATCHDOG = 5

    @property
    def word(self) -> str:
        """Return the role as it is written in file names and settings."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class SlotReading:
    """What one living process last wrote of itself."""

    role: Role
    identity: Identity
    parent: int
    heartbeat_ns: int
    in_flight: int
    limit: int
    task: int
    oldest_ns: int
    task_ns: int
    rss: int
    cap: int = 0
    idle_ns: int = 0

    def age(self, now_ns: int) -> float:
        """Return the seconds since the last heartbeat."""
        return max(0.0, (now_ns - self.heartbeat_ns) / 1e9)

    def oldest_age(self, now_ns: int) -> float:
        """Return how long the oldest request has been running; 0 if none is."""
        return max(0.0, (now_ns - self.oldest_ns) / 1e9) if self.oldest_ns else 0.0

    def idle_age(self, now_ns: int) -> float:
        """Return the seconds since the last task ended; 0 while one runs."""
        return 0.0 if self.task_ns else max(0.0, (now_ns - self.idle_ns) / 1e9)


class Slot:
    """This process's own slot; the file goes when it is closed."""

    def __init__(
        self, directory: Path, role: Role, *, limit: int = 0, cap: int = 0
    ) -> None:
        """Make the file whole before it appears under its name.

        ``cap`` is the memory this process may take: in a pod the watchdog, which acts
        on it, is in a control group of its own.
        """
        self.identity = identify()
        self.path = directory / f"{role.word}-{self.identity}.slot"
        part = directory / f".{self.path.name}"
        try:
            self._map = _map_new(part)
        except OSError:
            # A full disk must not stop a worker from starting: it ticks unseen.
            logger.warning("slot_without_file", exc_info=True)
            self._map = mmap.mmap(-1, SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._limit = limit
        self._cap = min(cap >> 10, _KIB)
        self._task = 0
        self._words[0] = MAGIC | (role << 32)
        self._words[1] = self.identity.pid | (os.getppid() << 32)
        self._words[2] = self.identity.start_ticks
        self.tick()
        with contextlib.suppress(OSError):
            part.replace(self.path)

    def tick(self, *, in_flight: int = 0, oldest_ns: int = 0, rss: int = 0) -> None:
        """Write the heartbeat and what is in flight."""
        words = self._words
        words[4] = (
            min(in_flight, 0xFFFF)
            | (min(self._limit, 0xFFFF) << 16)
            | (self._task << 32)
        )
        words[5] = oldest_ns
        words[7] = min(rss >> 10, _KIB) | (self._cap << 32)
        words[3] = time.monotonic_ns()

    @property
    def heartbeat_ns(self) -> int:
        """Return when this process ticked last."""
        return self._words[3]

    def begin_task(self, name: str) -> None:
        """Note the task that this process begins."""
        self._task = zlib.crc32(name.encode())
        self._words[6] = time.monotonic_ns() | 1

    def end_task(self) -> None:
        """Note since when nothing is done: an even number, where a start is odd.

        One word, so that whoever looks between two short tasks sees how short ago.
        """
        self._words[6] = time.monotonic_ns() & ~1
        self._task = 0

    def close(self) -> None:
        """Take the file away; a clean exit leaves none behind."""
        self.path.unlink(missing_ok=True)


def _map_new(path: Path) -> mmap.mmap:
    path.write_bytes(bytes(SIZE))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), SIZE)


def parse_slot(data: bytes) -> SlotReading | None:
    """Read 64 bytes; anything else is no slot."""
    if len(data) != SIZE:
        return None
    words = memoryview(data).cast("Q")
    if words[0] & 0xFFFFFFFF != MAGIC:
        return None
    try:
        role = Role((words[0] >> 32) & 0xFF)
    except ValueError:
        return None
    return SlotReading(
        role=role,
        identity=Identity(words[1] & 0xFFFFFFFF, words[2]),
        parent=words[1] >> 32,
        heartbeat_ns=words[3],
        in_flight=words[4] & 0xFFFF,
        limit=(words[4] >> 16) & 0xFFFF,
        task=words[4] >> 32,
        oldest_ns=words[5],
        task_ns=words[6] if words[6] & 1 else 0,
        idle_ns=0 if words[6] & 1 else words[6],
        rss=(words[7] & _KIB) << 10,
        cap=(words[7] >> 32) << 10,
    )


def _slot_files(directory: Path) -> Iterator[tuple[Path, SlotReading | None]]:
    for path in directory.glob("*-*.slot"):
        with contextlib.suppress(OSError):
            reading = parse_slot(path.read_bytes())
            named = reading is not None and path.name == (
                f"{reading.role.word}-{reading.identity}.slot"
            )
            yield path, reading if named else None


def read_slots(directory: Path) -> list[SlotReading]:
    """Return the slots of the living; the rest is nobody's."""
    return [
        reading
        for _, reading in _slot_files(directory)
        if reading is not None and is_alive(reading.identity)
    ]


def sweep_slots(directory: Path) -> list[SlotReading]:
    """Remove the files of dead processes; return what they last said."""
    gone = []
    for path, reading in _slot_files(directory):
        if reading is not None and not is_alive(reading.identity):
            path.unlink(missing_ok=True)
            gone.append(reading)
    return gone
