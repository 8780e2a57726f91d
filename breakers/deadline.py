"""The time a call has left, handed down to whatever it calls. Pure.

A contextvar: nested guards and clients share what the outermost allows, and asyncio
tasks inherit it.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A point on time.monotonic().
DEADLINE: ContextVar[float] = ContextVar("breakers_deadline", default=math.inf)


def remaining(most: float | None = None) -> float | None:
    """Return the seconds left, never below 0 nor above ``most``; None: no limit."""
    left = DEADLINE.get() - time.monotonic()
    if most is not None and left > most:
        return most
    return None if left == math.inf else max(0.0, left)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Allow what runs inside so many seconds, or less where less is left."""
    end = min(DEADLINE.get(), time.monotonic() + seconds)
    token = DEADLINE.set(end)
    try:
        yield
    finally:
        DEADLINE.reset(token)
