"""The ledger's part of the duty: sequence each second, and count what /metrics shows."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import connections

from health.steady import Steady
from ledger import sequencer
from ledger.state import LedgerState, counts_by_kind, state

SEQUENCE_SECONDS = 1.0
FACTS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What was known of the ledger when it was last looked at."""

    state: LedgerState
    artifacts: dict[tuple[str, str], int]


class LedgerWork:
    """Two threads: either may hang for as long as the database does."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.facts: LedgerFacts | None = None
        self._threads = (
            Steady("sequencer", SEQUENCE_SECONDS, _closing(sequencer.sequence)),
            Steady("ledger-facts", FACTS_SECONDS, _closing(self._look)),
        )

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the pass under way."""
        for thread in self._threads:
            thread.stop()

    def _look(self) -> None:
        self.facts = LedgerFacts(state=state(), artifacts=counts_by_kind())


def _closing(call: Callable[[], object]) -> Callable[[], None]:
    """Give the connection back after each pass; a broken one is not kept."""

    def wrapped() -> None:
        try:
            call()
        finally:
            connections.close_all()

    return wrapped
