"""What a breaker may be, what changes of it are told, what a fleet shares. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

# Why an override ended that nobody ended.
ENDED = "the override ended"


class CircuitState(StrEnum):
    """What a breaker does with the next call; the last three are overrides."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    FORCED_OPEN = "FORCED_OPEN"
    DISABLED = "DISABLED"
    METRICS_ONLY = "METRICS_ONLY"


# The order in which people want to see them.
WORST_FIRST = (
    CircuitState.OPEN,
    CircuitState.HALF_OPEN,
    CircuitState.FORCED_OPEN,
    CircuitState.DISABLED,
    CircuitState.METRICS_ONLY,
    CircuitState.CLOSED,
)


class Override(StrEnum):
    """What an operator said: refuse all, count nothing, or count and refuse nothing."""

    NONE = ""
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


@dataclass(frozen=True, slots=True)
class Row:
    """What a fleet shares of one breaker.

    Times are seconds from now, never clock times: ``remaining`` until a trial, ``age``
    since it opened, ``override_remaining`` until the override ends (None: no end).
    """

    name: str
    state: str = CircuitState.CLOSED
    version: int = 0
    reason: str = ""
    remaining: float = 0.0
    age: float = 0.0
    opens: int = 0
    trips: int = 0
    last_error: str = ""
    override: str = ""
    override_reason: str = ""
    override_by: str = ""
    override_remaining: float | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of what :attr:`CircuitBreaker.state` shows.

    ``version`` counts the changes a fleet agrees on; ``adopted`` ones were made
    elsewhere; ``evidence`` says on what grounds, without anything from a message.
    """

    name: str
    old: CircuitState
    new: CircuitState
    reason: str
    at: datetime
    version: int = 0
    adopted: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
