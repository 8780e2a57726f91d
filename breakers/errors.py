"""What a guard may raise. Pure.

::

    BreakerError
    |-- OptionError         a breaker is built wrongly; also a ValueError
    |-- CallRefusedError    the call was not made
    |   |-- CircuitOpenError    the circuit is open
    |   `-- BulkheadFullError   every thread of the breaker is taken
    |-- CallTimeoutError    the call did not end in time; also a TimeoutError
    |-- UnknownBreakerError an act names a breaker that nobody knows; also a LookupError
    |-- BreakerChangedError an act was meant for an older version
    `-- ActRefusedError     an act may not be as asked; also a ValueError
        `-- EndRefusedError     it would last longer than the actor may say
"""

import math
from collections.abc import Sequence


class BreakerError(Exception):
    """Anything a circuit breaker says for itself."""


class OptionError(BreakerError, ValueError):
    """An option has a value that makes no sense; names the option."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(option, reason)
        self.option = option
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.option} {self.reason}"


class CallRefusedError(BreakerError):
    """The call was not made; it says nothing about the dependency.

    Built as ``(name, retry_after, reason)``: what it says is read from ``args``, because
    an ``__init__`` of its own is a third of what a refusal costs.
    """

    @property
    def name(self) -> str:
        """Return the name of the breaker."""
        return str(self.args[0])

    @property
    def retry_after(self) -> float | None:
        """Return the seconds after which to ask again, None when nobody knows."""
        after = self.args[1] if len(self.args) > 1 else None
        return None if after is None or after == math.inf else max(0.0, float(after))

    @property
    def reason(self) -> str:
        """Return why the call was not made."""
        return str(self.args[2]) if len(self.args) > 2 else "open"

    def __str__(self) -> str:
        after = "" if self.retry_after is None else f", try in {self.retry_after:.1f} s"
        return f"breaker {self.name}: {self.reason}{after}"


class CircuitOpenError(CallRefusedError):
    """The circuit is open."""


class BulkheadFullError(CallRefusedError):
    """Every thread of ``isolation="thread"`` is taken."""


class CallTimeoutError(BreakerError, TimeoutError):
    """The call did not end within its ``timeout``, in seconds."""

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__(name, timeout)
        self.name = name
        self.timeout = timeout

    def __str__(self) -> str:
        return f"breaker {self.name}: no answer within {self.timeout:.1f} s"


class UnknownBreakerError(BreakerError, LookupError):
    """An act names a breaker that nobody knows."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"no breaker {name!r:.60}; known: {', '.join(known) or 'none'}"
        )
        self.name = name
        self.known = tuple(known)


class BreakerChangedError(BreakerError):
    """An act was meant for another version than there is by now."""

    def __init__(self, name: str, wanted: int, version: int, state: str) -> None:
        super().__init__(
            f"breaker {name} is {state} at version {version} by now, not {wanted};"
            " look again before you act"
        )
        self.name = name
        self.wanted = wanted
        self.version = version
        self.state = state


class ActRefusedError(BreakerError, ValueError):
    """An act may not be as asked; names the field and what would be allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class EndRefusedError(ActRefusedError):
    """An override would last longer than whoever asks may say."""
