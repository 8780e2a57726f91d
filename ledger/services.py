"""Two verbs: record() inside your transaction, emit() when it must outlive it."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, SafeUUID

from django.conf import settings
from structlog.contextvars import get_contextvars

from ledger import spool
from ledger.entry import Entry, leaf_hash, make_body, make_frame, stamp, stamp_now
from ledger.errors import RefusedValueError
from ledger.kinds import ArtifactType, Source
from ledger.models import Artifact
from ledger.rows import insert_new, insert_one
from ledger.state import LastVerify, LedgerState, counts_by_kind, state

__all__ = [
    "ArtifactType",
    "LastVerify",
    "LedgerState",
    "Source",
    "actor_of",
    "counts_by_kind",
    "emit",
    "record",
    "record_many",
    "state",
]

_RANDOM_BITS = ~(0xF000 << 64 | 0xC000 << 48)
_VERSION_4 = 0x4000 << 64 | 0x8000 << 48


def record(
    *,
    type: str,
    source: str,
    subject: str = "",
    actor: str = "",
    event_id: UUID | None = None,
    at: datetime | None = None,
    **details: Any,
) -> Artifact:
    """Insert an artifact in the caller's transaction: both happen or neither does.

    With an ``event_id`` that was recorded before, nothing is inserted: the first
    artifact is returned, with ``repeated`` set.

    Raises:
        RefusedValueError: (a ValueError) names the field that may not be stored.
    """
    entry = _entry(
        type=type,
        source=source,
        subject=subject,
        actor=actor,
        event_id=event_id,
        at=at,
        **details,
    )
    pk = insert_one(entry)
    if pk is None:
        artifact = Artifact.objects.get(event_id=entry.event_id)
        artifact.repeated = True
        return artifact
    return Artifact.from_entry(entry, pk=pk)


def record_many(rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert many artifacts in the caller's transaction; return how many were new.

    Each row holds what :func:`record` takes, details among them.
    """
    return insert_new([_entry(**row) for row in rows])


def emit(
    *,
    type: str,
    source: str,
    subject: str = "",
    actor: str = "",
    event_id: UUID | None = None,
    at: datetime | None = None,
    durable: bool = False,
    **details: Any,
) -> UUID:
    """Write an artifact that outlives the caller's rollback and a dead database.

    It is in the spool file when this returns, on disk with ``durable``, and in the
    ledger soon after.

    Raises:
        RefusedValueError: (a ValueError) names the field that may not be stored.
    """
    frame = make_frame(type, source, subject, actor, settings.NODE_NAME)
    event_id = event_id or _new_id()
    time = stamp(at) if at else stamp_now()
    body = make_body(frame, event_id, time, _with_request(details))
    spool.write(body, durable=durable)
    return event_id


def actor_of(user: Any) -> str:
    """Return who acts as artifacts say it: a kind and a number, never a name."""
    return str(getattr(user, "actor", "") or f"user:{user.pk}")


def _entry(
    *,
    type: str,
    source: str,
    subject: str = "",
    actor: str = "",
    event_id: UUID | None = None,
    at: datetime | None = None,
    **details: Any,
) -> Entry:
    at = at or datetime.now(UTC)
    event_id = event_id or _new_id()
    frame = make_frame(type, source, subject, actor, settings.NODE_NAME)
    body = make_body(frame, event_id, stamp(at), _with_request(details))
    return Entry(
        event_id=event_id,
        at=at,
        type=str(type),
        source=str(source),
        node=settings.NODE_NAME,
        subject=subject,
        body=body.decode(),
        hash=leaf_hash(body),
    )


def _new_id() -> UUID:
    # As uuid4() makes it, without the constructor's checks of its six arguments, which
    # are a tenth of an emit.
    number = int.from_bytes(os.urandom(16), "big") & _RANDOM_BITS | _VERSION_4
    event = UUID.__new__(UUID)
    object.__setattr__(event, "int", number)
    object.__setattr__(event, "is_safe", SafeUUID.unknown)
    return event


def _with_request(details: dict[str, Any]) -> dict[str, Any]:
    """Add the id of the request we are in; nobody else may set it."""
    if "request_id" in details:
        raise RefusedValueError("details.request_id", "is set from the context")
    request_id = get_contextvars().get("request_id")
    return {**details, "request_id": str(request_id)} if request_id else details
