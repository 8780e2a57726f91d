"""How units of the service manager ended, from the notes that they leave.

`ExecStopPost=` appends a line `result code status` to run/<unit>.ended, with nothing
but a shell: it also works where this program cannot start. A unit that fails every 5 s
would be 17,280 artifacts a day; it is one, until it fails otherwise or was well for a
minute.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from health.instances import instance_name
from ledger.services import ArtifactType, Source, emit

logger = logging.getLogger(__name__)
QUIET_SECONDS = 60.0
LONGEST_NOTE = 4096
PREFIX = "fortheweebs-"


@dataclass(frozen=True, slots=True)
class Ending:
    """The last end of a unit, and how many like it have been passed over."""

    how: str
    at: float
    passed_over: int = 0

    def next(self, how: str, at: float) -> "Ending":
        """Return the next end; one that passes over nothing more is to be told."""
        is_same = how == self.how and at - self.at < QUIET_SECONDS
        return Ending(how, at, self.passed_over + 1 if is_same else 0)


class Endings:
    """Turn notes into artifacts."""

    def __init__(self, directory: Path) -> None:
        """Remember no ending yet."""
        self._directory = directory
        self._last: dict[str, Ending] = {}

    def tell(self) -> None:
        """Write down what has ended since the last time."""
        for unit, how in take_notes(self._directory):
            before = self._last.get(unit, Ending("", 0.0))
            ending = before.next(how, time.monotonic())
            self._last[unit] = ending
            if not ending.passed_over:
                tell_ending(unit, how, passed_over=before.passed_over)


def take_notes(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield unit and ending of every line; each is taken away before it is told."""
    for path in directory.glob("*.ended"):
        taken = path.with_suffix(".ending")
        text = ""
        with contextlib.suppress(OSError):
            path.replace(taken)
            text = taken.read_bytes()[:LONGEST_NOTE].decode(errors="replace")
            taken.unlink()
        for line in text.splitlines():
            yield path.stem, line.strip()


def tell_ending(unit: str, how: str, *, passed_over: int) -> None:
    """Write one ending into the ledger and the log."""
    result, code, status = [*how.split(" "), "", "", ""][:3]
    role = unit.removeprefix(PREFIX) if unit.startswith(PREFIX) else "web"
    emit(
        type=ArtifactType.RESTART,
        source=Source.LIVENESS,
        subject=f"instance:{instance_name(role[:40])}",
        reason=f"the unit ended: {result}"[:200],
        unit=unit[:80],
        result=result[:40],
        exit_code=code[:40],
        exit_status=status[:40],
        passed_over=passed_over,
    )
    logger.warning("unit_ended", extra={"unit": unit, "how": how})
