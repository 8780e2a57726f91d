"""Numbers to SVG geometry; pure, without colour: classes carry that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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


def per_hour(moments: Iterable[datetime], *, now: datetime, hours: int) -> list[int]:
    """Count moments in the last ``hours`` hours, oldest first."""
    counts = [0] * hours
    for moment in moments:
        age = int((now - moment) / HOUR)
        if 0 <= age < hours:
            counts[hours - 1 - age] += 1
    return counts
