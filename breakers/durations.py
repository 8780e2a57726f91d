"""Which call is measured next, and how long measured ones took. Pure.

A look at the clock costs 1.9 bare calls and a note of it as much again; the fast way has
room for neither. So one call a second is sent past the clock, whichever comes next.
"""

import threading
from collections import deque

# More than end between two visits of who writes them down; the oldest go.
KEPT = 64


class Durations:
    """Ask for a call, let one claim it, keep what it took until somebody takes it."""

    __slots__ = ("_lock", "_took", "asked")

    def __init__(self) -> None:
        self.asked = False
        self._lock = threading.Lock()
        self._took: deque[float] = deque(maxlen=KEPT)

    def claim(self) -> bool:
        """Tell whether this is the call; of many that ask it is one."""
        with self._lock:
            claimed, self.asked = self.asked, False
            return claimed

    def note(self, seconds: float) -> None:
        """Keep how long a call took."""
        self._took.append(seconds)

    def take(self) -> list[float]:
        """Return what was kept, each once."""
        return [self._took.popleft() for _ in range(len(self._took))]
