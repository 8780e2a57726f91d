"""What the gate hands out: a permit of one kind or another, or a refusal. Pure."""

from collections.abc import Callable
from typing import NamedTuple

# Steps the counter of a generation; it is the permit of each call while CLOSED.
Tick = Callable[[], int]


class Trial:
    """The permit of one trial; what says nothing until it expires is given up."""

    __slots__ = ("expires",)

    def __init__(self, expires: float) -> None:
        self.expires = expires


class Refusal(NamedTuple):
    """Why a call is not made, and the seconds after which to ask again."""

    retry_after: float | None
    reason: str


# The permit of a disabled breaker: the call passes, nothing is counted.
PASS = object()
Permit = object
