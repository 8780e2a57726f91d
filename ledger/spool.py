"""Spool first, always: one line out, shipped to the ledger by a thread of its own.

``write`` is one ``os.write`` of one line with its own sha256 to a file this process
alone owns: a rollback, a full pool or a dead database cannot reach it. A thread,
started by the first write after a fork, ships the lines in batches and ends when
idle. The file of a dead process is adopted by whoever gets its lock.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import structlog
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    connections,
    transaction,
)

from ledger.entry import Entry, leaf_hash, read_entry
from ledger.rows import insert_new
from ledger.waits import database_wait

_PREFIX = b'{"sha256":"'
_BODY_AT = len(_PREFIX) + 64 + len(b'","body":')
# Longer than the longest line, so that a batch always holds a whole one.
BATCH_BYTES = 256 * 1024
RING = 1000
POLL = 0.05
IDLE = 5.0
RETRY = 1.0
ADOPT_EVERY = 10.0
DATABASE_WAIT = 5.0
AWAY = (DatabaseError, InterfaceError, OSError)

logger = structlog.get_logger(__name__)


def make_line(body: bytes) -> bytes:
    """Return the line of a body: readable as JSON, its own hash in front."""
    digest = sha256(b"\0" + body).hexdigest().encode()
    return b'{"sha256":"' + digest + b'","body":' + body + b"}\n"


def read_line(line: bytes) -> Entry:
    """Return the entry of one line, its newline taken off.

    Raises:
        ValueError: the line is torn or was changed.
    """
    body = line[_BODY_AT:-1]
    digest = leaf_hash(body)
    if line != make_line(body)[:-1]:
        raise ValueError("the line does not have its own hash")
    return read_entry(body, digest)


class Spool:
    """The spool file of this process and the thread that ships it."""

    def __init__(self) -> None:
        self._start_over()

    def _start_over(self) -> None:
        """Forget the file, the thread and the counts: also the state after a fork."""
        self._lock = threading.Lock()  # of the file: held for one write
        self._shipping = threading.RLock()  # of the reader's side
        self._running = False
        self._descriptor = -1
        self._shipped_to = 0
        self._read_to = 0
        self._batch: list[Entry] = []
        self._ring: deque[bytes] = deque()
        self._path: Path | None = None
        self.held = False
        self.counts = dict.fromkeys(
            ("shipped", "repeated", "torn", "refused", "dropped", "waited"), 0
        )

    # -- Writing -------------------------------------------------------------------
    def write(self, body: bytes, *, durable: bool = False) -> None:
        """Write one line; on a full disk keep the newest thousand in memory."""
        line = make_line(body)
        with self._lock:
            try:
                if self._descriptor < 0:
                    self._open()
                written = os.write(self._descriptor, line)
                if written != len(line):
                    self._take_back(written)
            except OSError as error:
                self._keep(line, error)
            else:
                if durable:
                    os.fdatasync(self._descriptor)
        if not self._running and not self.held:
            self._start()

    def _take_back(self, written: int) -> None:
        """Remove the beginning of a line that did not fit on the disk."""
        size = os.fstat(self._descriptor).st_size
        os.ftruncate(self._descriptor, size - written)
        raise OSError(errno.ENOSPC, "the disk is full")

    def _open(self) -> None:
        """Make the file and lock it before it has the name that others look for."""
        folder = settings.SPOOL_DIR
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{secrets.token_hex(4)}-{os.getpid()}"
        new = folder / f".{name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
        descriptor = os.open(new, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._path = new.rename(folder / f"{name}.jsonl")
        self._descriptor = descriptor

    def _keep(self, line: bytes, error: OSError) -> None:
        if not self._ring:
            logger.error("spool_disk_refuses", error=str(error))
        if len(self._ring) >= RING:
            self._ring.popleft()
            self.counts["dropped"] += 1
        self._ring.append(line)

    # -- The thread ----------------------------------------------------------------
    def _start(self) -> None:
        with self._lock:
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(
                target=self._run, name="ledger-shipper", daemon=True
            ).start()
        except RuntimeError:  # the interpreter ends, or no more threads
            self._running = False

    def _run(self) -> None:
        try:
            with database_wait(DATABASE_WAIT):
                self._ship_until_idle()
        except Exception:
            logger.exception("shipper_failed")
            self._running = False
        finally:
            connections.close_all()

    def _ship_until_idle(self) -> None:
        busy = time.monotonic()
        adopt_at = busy
        while True:
            moved = self._try_to_ship(adopt=time.monotonic() >= adopt_at)
            now = time.monotonic()
            adopt_at = now + ADOPT_EVERY if now >= adopt_at else adopt_at
            if moved is None or moved > 0:
                busy = now
            elif now - busy >= IDLE and self._stop_if_empty():
                return
            if not moved:
                time.sleep(RETRY if moved is None else POLL)

    def _try_to_ship(self, *, adopt: bool) -> int | None:
        """Ship one batch; None means that the database is away."""
        try:
            return self._ship_batch() + (self.adopt() if adopt else 0)
        except AWAY as error:
            self.counts["waited"] += 1
            logger.warning("shipper_waits", error=type(error).__name__)
            with contextlib.suppress(*AWAY):
                connections.close_all()
            return None

    def _stop_if_empty(self) -> bool:
        """Stop while no one can write, so that no line is left behind."""
        with self._lock:
            self._running = self._is_behind()
            return not self._running

    def _is_behind(self) -> bool:
        size = os.fstat(self._descriptor).st_size if self._descriptor >= 0 else 0
        return bool(self._ring or self._batch or size > self._shipped_to)

    # -- Shipping ------------------------------------------------------------------
    def ship(self) -> int:
        """Ship all there is, in the calling thread; return the number of lines."""
        total = 0
        while count := self._ship_batch():
            total += count
        return total

    def _ship_batch(self) -> int:
        with self._shipping:
            return self._ship_ring() + self._ship_file()

    def _ship_ring(self) -> int:
        with self._lock:
            lines = list(self._ring)
        if not lines:
            return 0
        self._insert(self._read(b"".join(lines)))
        with self._lock:
            sent = set(lines)
            self._ring = deque(line for line in self._ring if line not in sent)
        return len(lines)

    def _ship_file(self) -> int:
        """Insert the next batch; it is read and logged once, however long it waits."""
        if self._descriptor < 0:
            return 0
        if not self._batch:
            data = _next_lines(self._descriptor, self._shipped_to)
            self._batch = self._read(data)
            self._read_to = self._shipped_to + len(data)
        count = len(self._batch)
        self._insert(self._batch)
        self._batch, self._shipped_to = [], self._read_to
        with self._lock:  # nobody writes now: a file that was shipped starts again
            if (
                self._shipped_to
                and self._shipped_to == os.fstat(self._descriptor).st_size
            ):
                os.ftruncate(self._descriptor, 0)
                self._shipped_to = 0
        return count

    def _read(self, data: bytes) -> list[Entry]:
        """Return the entries of whole lines, each written to the log stream first."""
        entries = []
        for line in data.split(b"\n"):
            if not line:
                continue
            try:
                entries.append(read_line(line))
            except ValueError as error:
                self.counts["torn"] += 1
                logger.warning(
                    "spool_line_torn",
                    reason=str(error),
                    line=line[:200].decode(errors="replace"),
                )
        for entry in entries:
            logger.info("artifact", hash=entry.hash.hex(), body=entry.body)
        return entries

    def _insert(self, entries: Sequence[Entry]) -> None:
        try:
            with transaction.atomic():
                new = insert_new(entries)
        except (DataError, IntegrityError):
            self._insert_one_by_one(entries)
            return
        self.counts["shipped"] += new
        self.counts["repeated"] += len(entries) - new

    def _insert_one_by_one(self, entries: Sequence[Entry]) -> None:
        """Keep one row the database refuses from holding up all the others."""
        for entry in entries:
            try:
                with transaction.atomic():
                    new = insert_new([entry])
            except (DataError, IntegrityError):
                self.counts["refused"] += 1
                logger.exception("spool_row_refused", body=entry.body)
                with (settings.SPOOL_DIR / "refused.lines").open("ab") as out:
                    out.write(make_line(entry.body.encode()))
            else:
                self.counts["shipped"] += new
                self.counts["repeated"] += 1 - new

    # -- Files of dead processes ---------------------------------------------------
    def adopt(self) -> int:
        """Ship the files whose owner is dead; return the number of lines."""
        total = 0
        with self._shipping:
            for path in sorted(settings.SPOOL_DIR.glob("*.jsonl")):
                if path != self._path:
                    with _orphan(path) as descriptor:
                        if descriptor is not None:
                            total += self._ship_orphan(descriptor)
                            path.unlink()
        return total

    def _ship_orphan(self, descriptor: int) -> int:
        offset = total = 0
        while data := _next_lines(descriptor, offset):
            entries = self._read(data)
            self._insert(entries)
            total += len(entries)
            offset += len(data)
        self._read(os.pread(descriptor, BATCH_BYTES, offset))  # reports a torn end
        return total

    def close(self) -> None:
        """Give up the file; what is left in it is adopted by the next."""
        with self._shipping, self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor, self._path = -1, None
            self._batch, self._shipped_to = [], 0

    def forked(self) -> None:
        """Drop the parent's file in the child, else its lock would outlive it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        held = self.held
        self._start_over()
        self.held = held


def _next_lines(descriptor: int, offset: int) -> bytes:
    """Return whole lines from an offset, at most one batch."""
    data = os.pread(descriptor, BATCH_BYTES, offset)
    return data[: data.rfind(b"\n") + 1]


@contextlib.contextmanager
def _orphan(path: Path) -> Iterator[int | None]:
    """Open a spool file and lock it; None when its owner lives or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Zero links: someone else adopted and removed it while we opened it.
        yield descriptor if os.fstat(descriptor).st_nlink else None
    except BlockingIOError:
        yield None
    finally:
        os.close(descriptor)


_spool = Spool()
write = _spool.write
ship = _spool.ship
adopt = _spool.adopt
close = _spool.close
os.register_at_fork(after_in_child=_spool.forked)


def counts() -> dict[str, int]:
    """Return what happened to lines in this process since it started."""
    return dict(_spool.counts)


def waiting_bytes() -> int:
    """Return the bytes in all spool files of this machine."""
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in settings.SPOOL_DIR.glob("*.jsonl"))
    return 0


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Start no thread meanwhile: lines stay in the file until ``ship()`` is called.

    For a test in whose transaction the lines shall be seen.
    """
    before, _spool.held = _spool.held, True
    try:
        yield
    finally:
        _spool.held = before
