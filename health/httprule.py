"""The original API's rule: ask for liveness over HTTP, so many strikes in a row. Pure."""

from dataclasses import dataclass
from enum import StrEnum

HOURLY = 3600.0


class Line(StrEnum):
    """What the log says of one question."""

    NOTHING = ""
    CHECK = "check"
    FAILURE = "failure"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class HttpRule:
    """How many failures in a row, and when a line was written last."""

    strikes: int
    failures: int = 0
    written_at: float | None = None

    def next(self, *, alive: bool, at: float) -> tuple["HttpRule", Line]:
        """Take one answer in; a check is a line on change and once an hour."""
        failures = 0 if alive else self.failures + 1
        line = self._line(alive=alive, at=at)
        written = self.written_at if line is Line.NOTHING else at
        return HttpRule(self.strikes, failures, written), line

    @property
    def is_out(self) -> bool:
        """Tell whether there were enough strikes to act."""
        return self.failures >= self.strikes

    def _line(self, *, alive: bool, at: float) -> Line:
        if not alive:
            return Line.FAILURE if self.failures < self.strikes else Line.NOTHING
        if self.failures:
            return Line.RECOVER
        if self.written_at is None or at - self.written_at >= HOURLY:
            return Line.CHECK
        return Line.NOTHING
