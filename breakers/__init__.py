"""Circuit breakers that hold in a fleet. Importing this imports no Django."""

from breakers.deadline import deadline, remaining
from breakers.errors import (
    BreakerError,
    BulkheadFullError,
    CallRefusedError,
    CallTimeoutError,
    CircuitOpenError,
    OptionError,
)
from breakers.guard import CircuitBreaker
from breakers.listeners import on_transition
from breakers.registry import all_breakers, get_breaker
from breakers.states import CircuitState, Override, Transition

__all__ = [
    "BreakerError",
    "BulkheadFullError",
    "CallRefusedError",
    "CallTimeoutError",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "OptionError",
    "Override",
    "Transition",
    "all_breakers",
    "deadline",
    "get_breaker",
    "on_transition",
    "remaining",
]
