"""Numbers to SVG geometry; pure, without colour: classes carry that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Protocol

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """One column of a spark chart, in the units of its view box."""

    x: int
    y: int
    height: int
    loud: bool


@dataclass(frozen=True, slots=True)
class Spark:
    """A row of bars, 4 units apart and 3 wide."""

    bars: tuple[Bar, ...]
    width: int
    height: int
    total: int


def spark(values: Sequence[int], *, height: int = 16, loud_from: int = 0) -> Spark:
    """Scale counts to bars; a zero stays one unit high, so that time is seen.

    ``loud_from`` marks counts that reach it as unusual; 0 marks none.
    """
    top = max(max(values, default=0), 1)
    bars = tuple(
        Bar(
            x=4 * index,
            y=height - tall,
            height=tall,
            loud=bool(loud_from) and value >= loud_from,
        )
        for index, value in enumerate(values)
        for tall in (max(1, round(value * (height - 1) / top)),)
    )
    return Spark(bars=bars, width=4 * len(values), height=height, total=sum(values))


@dataclass(frozen=True, slots=True)
class Stripe:
    """One span of time, in the units of its view box."""

    x: float
    width: float
    kind: str


class Lasting(Protocol):
    """Something that began, perhaps ended, and has a kind."""

    @property
    def start(self) -> datetime:
        """When it began."""

    @property
    def end(self) -> datetime | None:
        """When it ended; None while it lasts."""

    @property
    def kind(self) -> str:
        """What it is, as a class of the sheet."""


def stripes(
    spans: Iterable[Lasting], *, now: datetime, width: int, hours: int = 24
) -> list[Stripe]:
    """Scale spans to the last ``hours`` hours; each stays two units wide at least."""
    start = now - hours * HOUR
    unit = hours * HOUR / width
    found = []
    for span in spans:
        end = min(span.end or now, now)
        if end > start:
            left: float = (max(span.start, start) - start) / unit
            wide = max(2.0, (end - start) / unit - left)
            found.append(Stripe(min(left, width - 2.0), wide, span.kind))
    return found


@dataclass(frozen=True, slots=True)
class Trace:
    """Paths of one series: what is known, where nothing is, the area of the bad part."""

    line: str
    gaps: str
    area: str


class Rate(Protocol):
    """How often something happened, and went wrong."""

    @property
    def per_minute(self) -> float:
        """How often it happened."""

    @property
    def failed_per_minute(self) -> float:
        """How often it went wrong."""


def most_of(points: Iterable[Rate | None]) -> float:
    """Return the highest rate."""
    return max((point.per_minute for point in points if point), default=0)


def trace(points: Sequence[Rate | None], *, width: int, top: int, base: int) -> Trace:
    """Draw a series from 0; it stops where nothing is known and starts again."""
    step = width / max(len(points), 1)
    unit = (base - top) / (most_of(points) or 1)
    line, gaps, area, at = "", "", "", 0
    for missing, group in groupby(points, key=lambda point: point is None):
        run = list(group)
        known = [point for point in run if point]
        if missing:
            gaps += f"M{at * step:g} {base}H{(at + len(run)) * step:g}"
        else:
            line += _run([base - unit * one.per_minute for one in known], at, step)
        if any(one.failed_per_minute for one in known):
            heights = [base - unit * one.failed_per_minute for one in known]
            area += f"{_run(heights, at, step)}V{base}H{at * step:g}Z"
        at += len(run)
    return Trace(line, gaps, area)


def _run(heights: Sequence[float], first: int, step: float) -> str:
    """Join neighbours from the edge of the first to the edge of the last."""
    path = f"M{first * step:g} {heights[0]:.1f}"
    for place, height in enumerate(heights, first):
        path += f"L{(place + 0.5) * step:g} {height:.1f}"
    return f"{path}H{(first + len(heights)) * step:g}"


def per_hour(moments: Iterable[datetime], *, now: datetime, hours: int) -> list[int]:
    """Count moments in the last ``hours`` hours, oldest first."""
    counts = [0] * hours
    for moment in moments:
        age = int((now - moment) / HOUR)
        if 0 <= age < hours:
            counts[hours - 1 - age] += 1
    return counts
