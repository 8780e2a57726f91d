"""What a guard may raise. Pure.

::

    BreakerError
    |-- OptionError         a breaker is built wrongly; also a ValueError
    |-- CallRefusedError    the call was not made
    |   |-- CircuitOpenError    the circuit is open
    |   `-- BulkheadFullError   every thread of the breaker is taken
    `-- CallTimeoutError    the call did not end in time; also a TimeoutError
"""

import math


class BreakerError(Exception):
    """Anything a circuit breaker says for itself."""


class OptionError(BreakerError, ValueError):
    """An option has a value that makes no sense; names the option."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option} {reason}")
        self.option = option
        self.reason = reason


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
        return None if after is None or after == math.inf else float(after)

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
