"""How the ledger stands: for metrics, the first page and the header of the list."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connections, router

from ledger import spool, triggers
from ledger.kinds import ArtifactType
from ledger.models import Artifact
from ledger.sequencer import LOOK_BACK
from ledger.verdict import Point


@dataclass(frozen=True, slots=True)
class LastVerify:
    """What the newest verification found."""

    at: datetime
    size: int
    root: str
    ok: bool
    seconds: float
    full: bool
    first_bad: int | None
    kind: str


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Size, root, what waits, what is anchored and when it was last verified."""

    size: int
    root: str
    origin: str
    pending: int
    oldest_pending_seconds: float
    checkpoint_at: datetime | None
    anchored_size: int
    anchored_at: datetime | None
    spool_bytes: int
    spool_dropped: int
    last_verify: LastVerify | None
    guards_present: bool


# One statement, so that a page pays one query: the newest checkpoint, the newest
# anchor, what has no leaf among the last ids, the newest verification, the guards.
_STATE = f"""
SELECT c.size, c.root, c.origin, c.at, n.size, n.at, p.waiting, p.oldest, v.body,
  (SELECT count(*) FROM (%(guards)s) AS guards)
FROM (SELECT 1 AS one) AS one
LEFT JOIN (SELECT * FROM ledger_checkpoint ORDER BY id DESC LIMIT 1) AS c ON 1 = 1
LEFT JOIN (SELECT k.size, a.at FROM ledger_anchor a JOIN ledger_checkpoint k
  ON k.id = a.checkpoint_id ORDER BY a.id DESC LIMIT 1) AS n ON 1 = 1
LEFT JOIN (SELECT count(*) AS waiting, min(a.at) AS oldest FROM ledger_artifact a
  WHERE a.id > (SELECT coalesce(max(artifact_id), 0) - {LOOK_BACK} FROM ledger_leaf)
  AND NOT EXISTS (SELECT 1 FROM ledger_leaf l WHERE l.artifact_id = a.id)
) AS p ON 1 = 1
LEFT JOIN (SELECT body FROM ledger_artifact WHERE type = '{ArtifactType.LEDGER_VERIFY}' ORDER BY id DESC LIMIT 1
) AS v ON 1 = 1
"""  # noqa: S608 - constants


def state() -> LedgerState:
    """Return how the ledger stands, in one query."""
    connection = connections[router.db_for_read(Artifact)]
    names, guards, parameters = triggers.present_query(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(_STATE % {"guards": guards}, parameters)
        *row, present = cursor.fetchone()
    size, root, origin, at, anchored, anchored_at, waiting, oldest, verify = row
    oldest = as_time(oldest)
    age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
    return LedgerState(
        size=size or 0,
        root=bytes(root).hex() if root else "",
        origin=origin or "",
        pending=waiting,
        oldest_pending_seconds=max(age, 0.0),
        checkpoint_at=as_time(at),
        anchored_size=anchored or 0,
        anchored_at=as_time(anchored_at),
        spool_bytes=spool.waiting_bytes(),
        spool_dropped=spool.counts()["dropped"],
        last_verify=_last_verify(verify) if verify else None,
        guards_present=present == len(names),
    )


def last_verify() -> LastVerify | None:
    """Return what the newest verification found."""
    newest = Artifact.objects.filter(type=ArtifactType.LEDGER_VERIFY).order_by("-id")
    body = newest.values_list("body", flat=True).first()
    return _last_verify(body) if body else None


def _last_verify(body: str) -> LastVerify | None:
    artifact = Artifact(body=body)
    told = artifact.details
    try:
        return LastVerify(
            at=datetime.fromisoformat(artifact.timestamp),
            size=int(told["size"]),
            root=str(told["root"]),
            ok=told["ok"] is True,
            seconds=int(told["milliseconds"]) / 1000,
            full=told["full"] is True,
            first_bad=told["first_bad"],
            kind=str(told["kind"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def as_time(value: Any) -> datetime | None:
    """Return a time of a raw query: SQLite answers with text."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value if isinstance(value, datetime) else None


# -- Counts by kind ----------------------------------------------------------------
_STEP = 100_000


class _Counts:
    """Counts up to a sequence, kept in this process: only what is new is counted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.upto = Point("", 0, b"", "")
        self.by_kind: dict[tuple[str, str], int] = {}


_counts = _Counts()


def counts_by_kind() -> dict[tuple[str, str], int]:
    """Return how many sequenced artifacts there are of each (type, source).

    The tree only grows, so a process counts each sequence once: a million rows at its
    first call, in steps that stay below the statement timeout, and afterwards what is
    new. A ledger that was restored meanwhile is counted again.
    """
    with _counts.lock, connections[router.db_for_read(Artifact)].cursor() as cursor:
        cursor.execute(
            "SELECT origin, size, root FROM ledger_checkpoint"
            " WHERE id = (SELECT max(id) FROM ledger_checkpoint)"
        )
        row = cursor.fetchone()
        newest = Point(row[0], row[1], bytes(row[2]), "") if row else _Counts().upto
        same = newest.origin == _counts.upto.origin
        if newest.size < _counts.upto.size or not same:
            _counts.by_kind, first = {}, 0
        else:
            first = _counts.upto.size
        for start in range(first, newest.size, _STEP):
            _count(cursor, start, min(start + _STEP, newest.size))
        _counts.upto = newest
        return dict(_counts.by_kind)


def _count(cursor: Any, first: int, past: int) -> None:
    cursor.execute(
        "SELECT a.type, a.source, count(*) FROM ledger_leaf l JOIN ledger_artifact a"
        " ON a.id = l.artifact_id WHERE l.sequence >= %s AND l.sequence < %s"
        " GROUP BY a.type, a.source",
        [first, past],
    )
    for kind, source, count in cursor.fetchall():
        key = kind, source
        _counts.by_kind[key] = _counts.by_kind.get(key, 0) + count
