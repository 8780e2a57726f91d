"""How often one instance may be acted on: never so often that it makes things worse. Pure."""

from dataclasses import dataclass, replace

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Spending:
    """What was done to one instance lately."""

    actions_ns: tuple[int, ...] = ()
    hold_until_ns: int = 0
    holds: int = 0
    well_since_ns: int = 0
    deaf_ns: int = 0  # when its main was last restarted for taking nothing


@dataclass(frozen=True, slots=True)
class Budget:
    """One action in ``pause`` seconds, ``most`` in ``window``, then hands off.

    Hands come back by time as well as by being well: a service that never gets well
    would otherwise be tried once and then never again.
    """

    pause: float = 10.0
    window: float = 300.0
    most: float = 3
    hold: float = 900.0
    longest: float = 7200.0

    def is_pausing(self, spent: Spending, now_ns: int) -> bool:
        """Tell whether the last action is too fresh; it can wait without a word."""
        last = spent.actions_ns[-1:] or (None,)
        return last[0] is not None and now_ns - last[0] < self.pause * SECOND

    def held_for(self, spent: Spending, now_ns: int) -> float:
        """Return the seconds for which nothing will be done."""
        return max(0.0, (spent.hold_until_ns - now_ns) / SECOND)

    def spend(self, spent: Spending, now_ns: int) -> tuple[Spending, bool]:
        """Take one action out of the budget, or begin a hold; tell which."""
        if now_ns < spent.hold_until_ns:
            return spent, False
        recent = self._recent(spent, now_ns)
        if len(recent) < self.most:
            return replace(spent, actions_ns=(*recent, now_ns), well_since_ns=0), True
        seconds = min(self.hold * 2.0**spent.holds, self.longest)
        return (
            replace(
                spent,
                actions_ns=recent,
                hold_until_ns=now_ns + int(seconds * SECOND),
                # Past the longest it no longer matters how many there were.
                holds=min(spent.holds + 1, 10),
            ),
            False,
        )

    def note(self, spent: Spending, *, well: bool, now_ns: int) -> Spending:
        """Take in how it is; a whole window of being well gives everything back."""
        if not well:
            return replace(spent, well_since_ns=0) if spent.well_since_ns else spent
        if not spent.well_since_ns:
            return replace(spent, well_since_ns=now_ns)
        if now_ns - spent.well_since_ns < self.window * SECOND:
            return spent
        recent = self._recent(spent, now_ns)
        return replace(spent, actions_ns=recent, hold_until_ns=0, holds=0)

    def _recent(self, spent: Spending, now_ns: int) -> tuple[int, ...]:
        since = now_ns - self.window * SECOND
        return tuple(at for at in spent.actions_ns if at > since)
