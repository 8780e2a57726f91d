"""Calls in buckets of five minutes: rates, and series with gaps. Pure.

A bucket without a sum says that nobody called, or that nobody could write: it is a gap,
never a zero. A sum of no calls says that every call was refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BUCKET = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
DAY = timedelta(hours=24)
CALLED = frozenset({"success", "failure", "timeout", "throttled"})
FAILED = frozenset({"failure", "timeout"})
# Below this a share says less than the two numbers.
FEW = 100


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that left within some minutes, and those of them that failed."""

    calls: int
    failed: int
    minutes: float = 5.0

    @property
    def per_minute(self) -> float:
        """Return the rate as it is written: whole from ten on."""
        rate = self.calls / self.minutes
        return round(rate) if rate >= 10 or rate == round(rate) else round(rate, 1)

    @property
    def failed_per_minute(self) -> float:
        """Return the rate of those that failed."""
        return self.failed / self.minutes

    @property
    def share(self) -> str:
        """Say how many failed: of few the numbers, of many the share."""
        if self.calls < FEW:
            return f"{self.failed:,} of {self.calls:,}" if self.calls else ""
        return f"{100 * self.failed / self.calls:.1f} %"


Sums = Mapping[datetime, Calls]


def bucket_of(moment: datetime) -> datetime:
    """Return when the bucket of a moment began."""
    return moment - (moment - datetime(1970, 1, 1, tzinfo=UTC)) % BUCKET


def latest(sums: Sums, at: datetime) -> Calls | None:
    """Add the bucket that was running at a moment to the last complete one."""
    running = bucket_of(at)
    found = [sums[one] for one in (running - BUCKET, running) if one in sums]
    return _add(found, (at - running + BUCKET) / MINUTE) if found else None


def series(
    sums: Sums, *, now: datetime, each: timedelta = BUCKET
) -> list[Calls | None]:
    """Return the complete buckets of the last day, oldest first, ``each`` a point."""
    start = bucket_of(now) - DAY
    points: list[Calls | None] = []
    for place in range(DAY // each):
        first = start + place * each
        inside = [first + number * BUCKET for number in range(each // BUCKET)]
        found = [sums[one] for one in inside if one in sums]
        minutes = sum(one.minutes for one in found)
        points.append(_add(found, minutes) if found else None)
    return points


def _add(found: Sequence[Calls], minutes: float) -> Calls:
    calls = sum(one.calls for one in found)
    return Calls(calls, sum(one.failed for one in found), minutes)


def unpack(text: str | None) -> dict[datetime, Calls]:
    """Read sums as the database packs them: ``at|calls|failed`` with commas between."""
    sums = {}
    for packed in text.split(",") if text else ():
        at, calls, failed = packed.split("|")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:  # SQLite keeps UTC and does not say so
            moment = moment.replace(tzinfo=UTC)
        sums[moment.astimezone(UTC)] = Calls(int(calls), int(failed))
    return sums
