"""What may go wrong here.

HealthError
└── HoldRefusedError   (also a ValueError: it names the field)
"""


class HealthError(Exception):
    """Anything this app raises."""


class HoldRefusedError(HealthError, ValueError):
    """A hold that may not be set as asked."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field and what would be allowed."""
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
