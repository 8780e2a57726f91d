"""What goes wrong in the ledger.

LedgerError
├── RefusedValueError     a value the canonical form cannot hold (also a ValueError)
├── NotSequencedError     a sequence or size the tree does not have (also LookupError)
├── CannotLookError       verify could not read what it must compare
├── BusyError             another process sequences at this moment
├── BrokenError           a rebase of a ledger that is not whole by itself
└── NothingLostError      a rebase where every anchor agrees with the tree
"""


class LedgerError(Exception):
    """Begin the tree of the ledger's errors."""


class RefusedValueError(LedgerError, ValueError):
    """Refuse a value and name the field it was found in."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    def under(self, parent: str) -> "RefusedValueError":
        """Return the same refusal, named from one level further up."""
        dot = "" if self.field.startswith("[") else "."
        return RefusedValueError(f"{parent}{dot}{self.field}", self.reason)


class NotSequencedError(LedgerError, LookupError):
    """Say that the tree has no such sequence or size."""


class CannotLookError(LedgerError):
    """Say why verify could not look."""


class BusyError(LedgerError):
    """Say that another process is sequencing."""


class BrokenError(LedgerError):
    """Refuse a rebase of a ledger that is not whole by itself."""


class NothingLostError(LedgerError):
    """Refuse a rebase where every anchor agrees with the tree."""
