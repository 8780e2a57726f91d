"""What the canaries of a queue say of its workers. Pure.

Beat sends one every PERIOD through each queue; a worker that takes it says so. A queue
whose canaries are sent and not taken has no worker that listens, whatever their
heartbeats say.
"""

from dataclasses import dataclass
from math import inf

PERIOD = 30.0
PERIODS = 3


@dataclass(frozen=True, slots=True)
class Sight:
    """A queue as it was seen at ``at_ns``; ages in seconds before that, None: never.

    ``waiting`` is the age of the first canary that was sent since one ran, ``delay`` the
    seconds that the last one took from beat to worker.
    """

    queue: str
    at_ns: int
    depth: int
    sent: float | None = None
    waiting: float | None = None
    ran: float | None = None
    delay: float | None = None

    def age(self, now_ns: int) -> float:
        """Return the seconds since this was seen."""
        return max(0.0, (now_ns - self.at_ns) / 1e9)

    @property
    def silent(self) -> float | None:
        """Return since when none was taken; if none ever was, since the first was sent."""
        return self.waiting if self.ran is None else self.ran

    @property
    def silent_ns(self) -> int:
        """Return when that began."""
        return self.at_ns - int((self.silent or 0.0) * 1e9)


def canary_is_late(
    sight: Sight,
    *,
    period: float = PERIOD,
    periods: int = PERIODS,
    expected: bool = False,
) -> bool:
    """Tell whether canaries are sent and none was taken for so many periods.

    False where no worker was ever seen, unless one is ``expected``, and while nobody
    sends: then the silence says nothing of the workers. One that waits was sent a
    period after the last that ran; after a pause of the sender it is younger, and has
    that time again.
    """
    limit = period * periods
    ran = inf if sight.ran is None and expected else sight.ran
    if ran is None or sight.waiting is None or sight.sent is None:
        return False
    return ran > limit and sight.waiting > limit - period and sight.sent <= limit


def sender_is_silent(
    sight: Sight, *, watched: float, period: float = PERIOD, periods: int = PERIODS
) -> bool:
    """Tell whether beat stopped sending; ``watched`` is for how long anybody looks.

    After a night switched off the last canary is a night old, and nothing is wrong.
    """
    if sight.ran is None or sight.sent is None:
        return False
    return min(sight.sent, watched) > period * periods


def begins_to_wait(
    *, sent: float | None, waiting: float | None, period: float = PERIOD
) -> bool:
    """Tell whether the canary now sent is the first to wait.

    One from before a pause of the sender does not count: nobody was there to take it.
    """
    return waiting is None or sent is None or sent > period * PERIODS
