"""How many calls of the last seconds failed or were slow, and when that is too many. Pure.

Kept are the totals of a generation at moments; what was inside the window is a difference.
"""

from collections import deque

from breakers.options import Options

# The window is kept in so many parts: counts are exact to 1/64 of its length.
GRAINS = 64

# Totals of a generation at one moment: time, successes, failures, slow calls.
Sample = tuple[float, int, int, int]


class Window:
    """The window of one generation; used under its circuit's lock."""

    __slots__ = ("_options", "failures", "grain", "samples", "slow")

    def __init__(self, options: Options, now: float) -> None:
        self._options = options
        self.failures = self.slow = 0
        self.grain = options.window / GRAINS
        self.samples = deque[Sample]([(now, 0, 0, 0)])

    def note(self, now: float, successes: int) -> None:
        """Note the totals of now; two of one grain are one."""
        samples = self.samples
        new = (now, successes, self.failures, self.slow)
        if len(samples) > 1 and now - samples[-2][0] < self.grain:
            samples[-1] = new
        else:
            samples.append(new)
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Keep one sample from before the window: what it grew from."""
        start = now - self._options.window
        while len(self.samples) > 1 and self.samples[1][0] <= start:
            self.samples.popleft()

    def count(self, now: float, successes: int) -> tuple[int, int, int]:
        """Return calls, failures and slow calls of the last ``window`` seconds."""
        self._forget(now)
        _, good, bad, slow = self.samples[0]
        failures = self.failures - bad
        return successes - good + failures, failures, self.slow - slow

    def failing(self, now: float, successes: int) -> str:
        """Return that too many calls failed, or nothing."""
        calls, failures, _ = self.count(now, successes)
        rate = self._options.failure_rate_threshold
        return self._reason(failures, calls, rate, "failed")

    def slowing(self, now: float, successes: int) -> str:
        """Return that too many calls were slow, or nothing."""
        calls, _, slow = self.count(now, successes)
        rate = self._options.slow_call_rate_threshold
        return self._reason(slow, calls, rate, "were slow")

    def _reason(self, bad: int, calls: int, rate: float | None, what: str) -> str:
        if rate is None or calls < self._options.minimum_calls or bad < calls * rate:
            return ""
        return f"{bad * 100 // calls} % of {calls} calls {what}"
