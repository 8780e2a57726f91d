"""Give each artifact its place in the tree; one worker at a time, never on a request.

Run every second by the watchdog and every 10 s by beat. Whoever wins the try-lock
does one pass in one transaction: leaf rows, full tiles, checkpoint. New artifacts are
found by what has no leaf yet among the last ids, not by ``id > last``: with eight
writers and rollbacks that missed 21 % of the committed rows.
"""

import base64
import json
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connections, router, transaction

from ledger import tree
from ledger.entry import stamp
from ledger.errors import BusyError
from ledger.models import Anchor, Artifact, Checkpoint, Tile

BATCH = 5000
LOOK_BACK = 5000
STRAGGLERS_EVERY = 600.0
CHECKPOINT_EVERY = timedelta(hours=1)
LOG_LINE = "log line"
_LOCK = 0x6C6564676572  # "ledger"

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Clock:
    """When this process last looked for stragglers; at first, never."""

    stragglers_at: float = -STRAGGLERS_EVERY


_clock = _Clock()
_thread_lock = threading.Lock()


def sequence(*, stragglers: bool | None = None) -> int:
    """Do one pass; return how many artifacts got their place.

    Nothing happens while another process is at it. ``stragglers`` looks at all
    artifacts instead of the last few thousand: every 10 minutes unless told.
    """
    now = time.monotonic()
    if stragglers is None:
        stragglers = now - _clock.stragglers_at >= STRAGGLERS_EVERY
    if not _thread_lock.acquire(blocking=False):
        return 0
    try:
        count = 0
        if _pending(1, stragglers=stragglers):
            count = _sequence_batch(stragglers=stragglers)
        if stragglers:
            _clock.stragglers_at = now
        anchor()
    finally:
        _thread_lock.release()
    return count


def sequence_all(*, patience: float = 30.0) -> int:
    """Give every committed artifact its place; return how many got one here.

    While another process is at it, wait for its pass: "nothing done" is not "all done".

    Raises:
        BusyError: artifacts are still pending after ``patience`` seconds of waiting.
    """
    deadline = time.monotonic() + patience
    total = sequence(stragglers=True)
    while _pending(1, stragglers=True):
        if count := sequence(stragglers=True):
            total += count
            continue
        if time.monotonic() > deadline:
            raise BusyError("another process is sequencing; try again")
        time.sleep(0.02)
    return total


def begin_epoch(origin: str) -> None:
    """Give what is pending its place under a new origin, in the caller's transaction.

    Raises:
        BusyError: another process is sequencing at this moment.
    """
    if not _sequence_batch(stragglers=True, origin=origin):
        raise BusyError("another process is sequencing; try again")


def _sequence_batch(*, stragglers: bool, origin: str = "") -> int:
    with transaction.atomic(using=_alias()):
        if not _try_lock():
            return 0
        rows = _pending(BATCH, stragglers=stragglers)
        if not rows:
            return 0
        edge = tree.load_edge(tree.size())
        first = edge.size
        tiles = edge.add(digest for _, digest in rows)
        _insert_leaves(first, [pk for pk, _ in rows])
        Tile.objects.bulk_create(
            Tile(level=tile.level, index=tile.index, root=tile.root, data=tile.data)
            for tile in tiles
        )
        make_checkpoint(origin or current_origin(), edge.size, edge.root())
    return len(rows)


# -- Checkpoints and anchors -------------------------------------------------------
def note_text(origin: str, size: int, root: bytes) -> str:
    """Return the C2SP checkpoint: unsigned until there is a key."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def current_origin() -> str:
    """Return the newest checkpoint's origin, at first NAME/0."""
    newest = Checkpoint.objects.order_by("-id").values_list("origin", flat=True).first()
    return newest or f"{settings.LEDGER_ORIGIN}/0"


def make_checkpoint(origin: str, size: int, root: bytes) -> Checkpoint:
    """Store the checkpoint of a size."""
    return Checkpoint.objects.create(
        origin=origin,
        size=size,
        root=root,
        note=note_text(origin, size, root),
        at=datetime.now(UTC),
    )


def anchor(now: datetime | None = None) -> Anchor | None:
    """Write the newest checkpoint down elsewhere: when it is new, and once an hour.

    The file and the log come first, the row after them: a crash between repeats a
    line, which is harmless, and never claims one that is not there.
    """
    checkpoint = Checkpoint.objects.order_by("-id").first()
    if checkpoint is None:
        return None
    now = now or datetime.now(UTC)
    last = Anchor.objects.order_by("-id").values("checkpoint_id", "at").first()
    if (
        last
        and last["checkpoint_id"] == checkpoint.pk
        # One from the future is of a clock that jumped: no reason for silence.
        and timedelta(0) <= now - last["at"] < CHECKPOINT_EVERY
    ):
        return None
    line = {
        "at": stamp(now),
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": bytes(checkpoint.root).hex(),
    }
    logger.info("ledger_checkpoint", **line)
    try:
        _append_line(line)
    except OSError as error:
        logger.warning("anchors_file_refuses", error=str(error))
        return None
    return Anchor.objects.create(
        checkpoint=checkpoint, target=LOG_LINE, receipt=json.dumps(line), at=now
    )


def _append_line(line: dict[str, Any]) -> None:
    settings.ANCHORS_FILE.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    descriptor = os.open(settings.ANCHORS_FILE, flags, 0o644)
    try:
        # Not forced to the disk: the same line is in the log, and one a power cut takes
        # is only an anchor less.
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


# -- SQL ---------------------------------------------------------------------------
def _alias() -> str:
    return router.db_for_write(Artifact)


def _try_lock() -> bool:
    """Win or leave; SQLite's immediate transaction is the lock by itself."""
    connection = connections[_alias()]
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def _pending(limit: int, *, stragglers: bool) -> list[tuple[int, bytes]]:
    """Return ids and hashes without a leaf, by id, looking back over the last ids."""
    floor = 0
    with connections[_alias()].cursor() as cursor:
        if not stragglers:
            cursor.execute("SELECT max(artifact_id) FROM ledger_leaf")
            floor = (cursor.fetchone()[0] or 0) - LOOK_BACK
        cursor.execute(
            "SELECT a.id, a.hash FROM ledger_artifact a WHERE a.id > %s AND NOT EXISTS"
            " (SELECT 1 FROM ledger_leaf l WHERE l.artifact_id = a.id)"
            " ORDER BY a.id LIMIT %s",
            [floor, limit],
        )
        return [(pk, bytes(digest)) for pk, digest in cursor.fetchall()]


def _insert_leaves(first: int, artifacts: list[int]) -> None:
    connection = connections[_alias()]
    places = range(first, first + len(artifacts))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "INSERT INTO ledger_leaf (sequence, artifact_id)"
                " SELECT * FROM unnest(%s::bigint[], %s::bigint[])",
                [list(places), artifacts],
            )
        else:
            cursor.executemany(
                "INSERT INTO ledger_leaf (sequence, artifact_id) VALUES (%s, %s)",
                list(zip(places, artifacts, strict=True)),
            )
