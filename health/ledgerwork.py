"""The ledger's part of the duty: sequence each second, and count what /metrics shows."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.models import Count, Max

from health.steady import Steady
from ledger import sequencer
from ledger.models import Artifact, Leaf

LedgerState = Any


def state() -> Any:
    """TEMPORARY until the ledger has it."""
    return None


SEQUENCE_SECONDS = 1.0
FACTS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What is known of the ledger, and when it was looked at."""

    state: LedgerState
    artifacts: dict[tuple[str, str], int] = field(default_factory=dict)
    at_ns: int = 0


class ArtifactCounter:
    """Count sequenced artifacts by type and source, each once.

    By sequence, not by id: a row committed late would be missed.
    """

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._next = 0

    def count(self) -> dict[tuple[str, str], int]:
        """Add what was sequenced since the last call."""
        last = Leaf.objects.aggregate(last=Max("sequence"))["last"]
        if last is not None and last >= self._next:
            rows = (
                Artifact.objects.filter(
                    leaf__sequence__gte=self._next, leaf__sequence__lte=last
                )
                .order_by()
                .values_list("type", "source")
                .annotate(count=Count("pk"))
            )
            for kind, source, count in rows:
                self._counts[kind, source] += count
            self._next = last + 1
        return dict(self._counts)


class LedgerWork:
    """Two threads: either may hang for as long as the database does."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.facts: LedgerFacts | None = None
        self._counter = ArtifactCounter()
        self._threads = (
            Steady("sequencer", SEQUENCE_SECONDS, self._sequence),
            Steady("ledger-facts", FACTS_SECONDS, self._look),
        )

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the pass under way."""
        for thread in self._threads:
            thread.stop()

    def _sequence(self) -> None:
        try:
            sequencer.sequence()
        finally:
            connections.close_all()

    def _look(self) -> None:
        try:
            self.facts = LedgerFacts(
                state=state(),
                artifacts=self._counter.count(),
                at_ns=time.monotonic_ns(),
            )
        finally:
            connections.close_all()
