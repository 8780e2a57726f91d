"""The body of an artifact, version 1: made once, hashed once, never respelled. Pure."""

import hashlib
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from ledger.canonical import MAX_BYTES, encode, quote, utf8
from ledger.errors import RefusedValueError
from ledger.kinds import ArtifactType, Source

SUBJECT_LENGTH = 80
NODE_LENGTH = 64
# A kind, or a kind and a number: never a name or an address.
_ACTOR = re.compile(r"[a-z_]{1,40}(?::[0-9]{1,20})?").fullmatch
_PLAIN = re.compile(r"[a-z0-9_]+:[A-Za-z0-9_.:/-]+").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_TYPES = frozenset(ArtifactType)
_SOURCES = frozenset(Source)


@dataclass(frozen=True, slots=True)
class Entry:
    """One artifact as stored: the body, its hash and the columns of the index."""

    event_id: UUID
    at: datetime
    type: str
    source: str
    node: str
    subject: str
    body: str
    hash: bytes


def make_body(
    frame: tuple[str, str], event_id: UUID, at: str, details: dict[str, Any]
) -> bytes:
    """Spell the body; the keys stand in canonical order.

    Raises:
        RefusedValueError: names the field that may not be stored.
    """
    head, tail = frame
    text = f'{head}{at}","details":{encode(details)},"id":"{event_id}{tail}'
    body = text.encode()
    if len(body) > MAX_BYTES:
        raise RefusedValueError("details", f"is longer than {MAX_BYTES:,} bytes")
    return body


# The same few come again and again, so they are checked and quoted once.
@lru_cache(maxsize=4096)
def make_frame(
    type: str, source: str, subject: str, actor: str, node: str
) -> tuple[str, str]:
    """Return what stands before the time and after the id of a body.

    Raises:
        RefusedValueError: names the field that may not be stored.
    """
    if actor and not _ACTOR(actor):
        raise RefusedValueError("actor", "must be a kind and a number, like user:7")
    tail = (
        f'","node":{_label("node", node, NODE_LENGTH)},'
        f'"source":"{_kind(_SOURCES, "source", source)}",'
        f'"subject":{_label("subject", subject, SUBJECT_LENGTH)},'
        f'"type":"{_kind(_TYPES, "type", type)}","v":1}}'
    )
    return f'{{"actor":"{actor}","at":"', tail


def leaf_hash(body: bytes) -> bytes:
    """Return the RFC 6962 leaf hash of a body."""
    return hashlib.sha256(b"\0" + body).digest()


def read_entry(body: bytes, hash: bytes | None = None) -> Entry:
    """Return what the body says of itself, with its hash.

    Raises:
        ValueError: it is not the body of an artifact.
    """
    try:
        fields = json.loads(body)
        return Entry(
            event_id=UUID(fields["id"]),
            at=datetime.fromisoformat(fields["at"]),
            type=fields["type"],
            source=fields["source"],
            node=fields["node"],
            subject=fields["subject"],
            body=body.decode(),
            hash=hash or leaf_hash(body),
        )
    except (KeyError, TypeError, AttributeError) as error:
        message = f"not the body of an artifact: {error!r:.80}"
        raise ValueError(message) from None


def stamp(at: datetime) -> str:
    """Return the one spelling of a time: UTC, microseconds, Z.

    Raises:
        RefusedValueError: the time has no zone.
    """
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise RefusedValueError("at", "has no time zone")
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"


def stamp_now() -> str:
    """Return the present time as :func:`stamp` spells it, at a third of the cost."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _label(name: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise RefusedValueError(name, f"is longer than {limit} characters")
    if _PLAIN(text):
        return f'"{text}"'
    if _CONTROL(text):
        raise RefusedValueError(name, "holds a control character")
    utf8(text, name=name)
    return quote(text)


def _kind(kinds: frozenset[str], name: str, value: str) -> str:
    if value in kinds:
        return value
    raise RefusedValueError(name, f"{value!r:.60} is not a known {name}")
