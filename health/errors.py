"""What may go wrong here.

HealthError
└── FieldRefusedError      (also a ValueError: it names the field)
    ├── HoldRefusedError
    └── DeployRefusedError
"""


class HealthError(Exception):
    """Anything this app raises."""


class FieldRefusedError(HealthError, ValueError):
    """Something that may not be done as asked."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field and what would be allowed."""
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class HoldRefusedError(FieldRefusedError):
    """A hold that may not be set as asked."""


class DeployRefusedError(FieldRefusedError):
    """A deploy that may not be recorded as asked."""
