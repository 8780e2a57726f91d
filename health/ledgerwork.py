"""The ledger's part of the duty: sequence, adopt spool files, count for /metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import connections

from breakers.services import list_breakers
from health.steady import Steady
from ledger import sequencer, spool
from ledger.state import LedgerState, counts_by_kind, state

SEQUENCE_SECONDS = 1.0
ADOPT_SECONDS = 10.0
FACTS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What was known of the ledger when it was last looked at."""

    state: LedgerState
    artifacts: dict[tuple[str, str], int]
    # The state each breaker shows, for the whole fleet.
    breakers: dict[str, str] = field(default_factory=dict)


class LedgerWork:
    """Three threads: each may hang for as long as the database does."""

    def __init__(self, *, also: Callable[[], object] = lambda: None) -> None:
        """Know nothing yet; ``also`` is called with each look at the facts."""
        self.facts: LedgerFacts | None = None
        self._also = also
        self._threads = (
            Steady("sequencer", SEQUENCE_SECONDS, _closing(sequencer.sequence)),
            # On one of its own: a file may be long, and places are due each second.
            Steady("spool-adopter", ADOPT_SECONDS, _closing(spool.adopt)),
            Steady("ledger-facts", FACTS_SECONDS, _closing(self._look)),
        )

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, wait: float = 0.0) -> None:
        """End after the pass under way; wait so long for each."""
        for thread in self._threads:
            thread.stop(wait=wait)

    def _look(self) -> None:
        self.facts = LedgerFacts(
            state=state(),
            artifacts=counts_by_kind(),
            breakers={one.name: one.state for one in list_breakers()},
        )
        self._also()


def _closing(call: Callable[[], object]) -> Callable[[], None]:
    """Give the connection back after each pass; a broken one is not kept."""

    def wrapped() -> None:
        try:
            call()
        finally:
            connections.close_all()

    return wrapped
