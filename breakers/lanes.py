"""When breakers were open or held, told from artifacts. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.kinds import ArtifactType

OPEN, HELD = "fail", "ink"


@dataclass(frozen=True, slots=True)
class Moment:
    """What an artifact says of a breaker at one moment."""

    at: datetime
    breaker: str
    type: str
    details: Mapping[str, Any]
    pk: int = 0
    sequence: int | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a breaker was open or held; no end: it still is."""

    start: datetime
    end: datetime | None
    kind: str


@dataclass(frozen=True, slots=True)
class Opening:
    """One trip, and how long the circuit stayed open in seconds."""

    moment: Moment
    seconds: float
    over: bool


def spans_of(moments: Iterable[Moment]) -> list[Span]:
    """Return the spans of one breaker, oldest first; moments in any order."""
    found: list[Span] = []
    began: dict[str, datetime] = {}
    for moment in sorted(moments, key=lambda one: one.at):
        kind = HELD if moment.type == ArtifactType.OVERRIDE else OPEN
        starts = moment.type == ArtifactType.BREAKER_TRIP or (
            kind == HELD and moment.details.get("after") != "auto"
        )
        if kind in began:
            found.append(Span(began.pop(kind), moment.at, kind))
        if starts:
            began[kind] = moment.at
    found += [Span(start, None, kind) for kind, start in began.items()]
    return found


def openings(moments: Sequence[Moment], *, now: datetime, most: int) -> list[Opening]:
    """Return the newest trips, each with the reset of its breaker that followed."""
    ends: dict[str, datetime] = {}
    found = []
    for moment in sorted(moments, key=lambda one: one.at, reverse=True):
        if moment.type == ArtifactType.BREAKER_RESET:
            ends[moment.breaker] = moment.at
        elif moment.type == ArtifactType.BREAKER_TRIP:
            end = ends.pop(moment.breaker, None)
            seconds = ((end or now) - moment.at).total_seconds()
            found.append(Opening(moment, seconds, over=end is not None))
    return found[:most]
