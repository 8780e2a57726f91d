"""What breakers count, for Prometheus and the charts: totals of calls once a second, changes at once.

In web and worker processes prometheus_client counts into files that the probe port
merges. A counter there costs 66 to 128 ns a step, five times a guarded call, so the
calls are added up by the breaker and written as differences.
"""

import threading
from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from breakers import registry
from breakers.guard import CircuitBreaker
from breakers.states import CircuitState, Transition
from breakers.tally import tally

# An open circuit is tried after reset_timeout, at most after ten times that.
OPEN_TIMES = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
# From a service in the same rack to a model that thinks.
CALL_TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
_OPENED = {CircuitState.OPEN, CircuitState.HALF_OPEN}


class Measures:
    """The families, and what of each breaker was written to them already."""

    def __init__(self, into: CollectorRegistry = REGISTRY) -> None:
        self.calls = Counter(
            "ftw_breaker_calls_total",
            "Calls by what became of them.",
            ["breaker", "outcome"],
            registry=into,
        )
        self.transitions = Counter(
            "ftw_breaker_transitions_total",
            "Changes of state that were made in a process.",
            ["breaker", "from", "to"],
            registry=into,
        )
        self.open_seconds = Histogram(
            "ftw_breaker_open_seconds",
            "How long a circuit was open, trials included.",
            ["breaker"],
            buckets=OPEN_TIMES,
            registry=into,
        )
        self.durations = Histogram(
            "ftw_breaker_call_duration_seconds",
            "How long calls took that were sampled, at most one a second per breaker"
            " and process.",
            ["breaker"],
            buckets=CALL_TIMES,
            registry=into,
        )
        self._written: dict[str, Mapping[str, int]] = {}
        self._lock = threading.Lock()

    def join(self, breaker: CircuitBreaker) -> None:
        """Count from here: what a parent counted before the fork it writes itself."""
        with self._lock:
            if breaker.name not in self._written:
                self._written[breaker.name] = breaker.counts()

    def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            for breaker in registry.all_breakers():
                if breaker.name not in self._written:
                    continue  # not used in this process yet
                counts, before = breaker.counts(), self._written[breaker.name]
                self._written[breaker.name] = counts
                for outcome, total in counts.items():
                    if more := total - before[outcome]:
                        self.calls.labels(breaker.name, outcome).inc(more)
                        tally.count(breaker.name, outcome, more)
                for seconds in breaker.durations():
                    self.durations.labels(breaker.name).observe(seconds)

    def note(self, transition: Transition) -> None:
        """Count a change that was made here, and how long the circuit was open."""
        if transition.adopted:
            return
        name, old, new = transition.name, transition.old, transition.new
        self.transitions.labels(name, _word(old), _word(new)).inc()
        if old in _OPENED and new is CircuitState.CLOSED:
            seconds = transition.evidence.get("open_for_s")
            if seconds is not None:
                self.open_seconds.labels(name).observe(float(seconds))

    def forked(self) -> None:
        """Forget what the parent wrote."""
        self._lock = threading.Lock()
        self._written = {}


def _word(state: CircuitState) -> str:
    return state.lower()


measures = Measures()
