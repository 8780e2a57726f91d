"""What /metrics shows: our own families from memory, the roles' counter files merged.

Nothing here asks a dependency: a hung database must not hang a scrape.
"""

import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from breakers.states import CircuitState
from health import startup
from health.canary import Sight
from health.counters import counter_files
from health.ledgerwork import LedgerFacts
from health.places import run_dir
from health.slots import SlotReading, read_slots
from health.snapshot import Snapshot, State
from health.snapshots import load_snapshot

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
RECOVERY = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)
# A depth that old says nothing any more; an age goes on growing.
DEPTH_SECONDS = 30.0
VALUES = {State.PASS: 1.0, State.WARN: 0.5, State.FAIL: 0.0}


class Histogram:
    """Counts by label in fixed buckets."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Begin at nothing."""
        self.bounds = bounds
        self.counts: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}

    def observe(self, label: str, seconds: float) -> None:
        """Count one."""
        counts = self.counts.setdefault(label, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, seconds)] += 1
        self.sums[label] = self.sums.get(label, 0.0) + seconds

    def fill(self, family: HistogramMetricFamily) -> HistogramMetricFamily:
        """Give a family everything that was counted."""
        for label, counts in sorted(self.counts.items()):
            bounds = (*map(str, self.bounds), "+Inf")
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric([label], buckets, self.sums[label])
        return family


Families = Callable[[], Iterable[Metric]]
_registered: list[Families] = []


def register_family(make: Families) -> None:
    """Show what another package knows; it is asked on a thread that may hang."""
    if make not in _registered:
        _registered.append(make)


class Asked:
    """The families of other packages as they were when last asked."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._found: dict[Families, list[Metric]] = {}

    def look(self) -> None:
        """Ask everybody; who cannot answer keeps no other from it.

        Raises:
            Exception: the first one that was raised, when all were asked.
        """
        failed: Exception | None = None
        for make in _registered:
            try:
                self._found[make] = list(make())
            except Exception as error:  # noqa: BLE001 - the rim: raised below
                failed = failed or error
        if failed is not None:
            raise failed

    def collect(self) -> Iterator[Metric]:
        """Yield what is known, however old."""
        for found in list(self._found.values()):
            yield from found


class Measures:
    """What the holder counts while it holds."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.checks = Histogram(BUCKETS)
        self.recoveries = Histogram(RECOVERY)
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.restarts: Counter[tuple[str, str]] = Counter()
        self.beats: dict[str, float] = {}
        self.queues: tuple[Sight, ...] = ()
        self.asked = Asked()

    def observe(self, check: str, seconds: float) -> None:
        """Count one run of a check."""
        self.checks.observe(check, seconds)

    def count_transition(self, probe: str, to: str) -> None:
        """Count one change of a probe."""
        self.transitions[probe, to] += 1


class HealthCollector(Collector):
    """Our families, from the snapshot file, the slots and the last ledger facts."""

    def __init__(
        self, measures: Measures, facts: LedgerFacts | None, now_ns: int
    ) -> None:
        """Take what is known now."""
        self._measures, self._facts, self._now_ns = measures, facts, now_ns
        self._snapshot = load_snapshot()
        self._slots = read_slots(run_dir())

    def collect(self) -> Iterator[Metric]:
        """Yield every family once."""
        yield from self._process()
        yield from self._slot_families()
        if self._snapshot is not None:
            yield from self._probes(self._snapshot)
            yield from self._checks(self._snapshot)
        yield from self._counted()
        yield from watchdog_families(self._measures)
        yield from queue_families(self._measures.queues, self._now_ns)
        yield from self._measures.asked.collect()
        if self._facts is not None:
            yield from self._ledger(self._facts)
            yield from self._breakers(self._facts)
        yield from merged_counters()

    def _process(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "ftw_build_info", "Version that runs.", labels=["version", "python"]
        )
        build.add_metric([settings.VERSION, platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily(
            "process_uptime_seconds",
            "Seconds since the web server started.",
            value=web_uptime(),
        )
        yield GaugeMetricFamily(
            "process_heap_bytes",
            "Resident memory of the web workers.",
            value=sum(s.rss for s in self._slots if s.role.word == "web"),
        )

    def _slot_families(self) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "ftw_worker_heartbeat_age_seconds",
            "Age of the oldest heartbeat of a role.",
            labels=["role"],
        )
        oldest = GaugeMetricFamily(
            "ftw_inflight_oldest_seconds",
            "How long the oldest request of a role has been running.",
            labels=["role"],
        )
        roles: dict[str, list[SlotReading]] = {}
        for slot in self._slots:
            roles.setdefault(slot.role.word, []).append(slot)
        for role, slots in sorted(roles.items()):
            ages.add_metric([role], max(s.age(self._now_ns) for s in slots))
            oldest.add_metric([role], max(s.oldest_age(self._now_ns) for s in slots))
        yield ages
        yield oldest

    def _probes(self, snapshot: Snapshot) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ftw_snapshot_age_seconds",
            "Age of the last snapshot.",
            value=snapshot.age(self._now_ns),
        )
        status = GaugeMetricFamily(
            "ftw_probe_status", "1 while the probe passes.", labels=["probe"]
        )
        for probe in snapshot.probes:
            status.add_metric([probe.name.value], VALUES.get(probe.state, 0.0))
        yield status

    def _checks(self, snapshot: Snapshot) -> Iterator[Metric]:
        status = GaugeMetricFamily(
            "ftw_check_status",
            "1 while the check passes, 0.5 while it warns, 0 while it fails.",
            labels=["check"],
        )
        age = GaugeMetricFamily(
            "ftw_check_age_seconds",
            "Seconds since the last completed run of the check.",
            labels=["check"],
        )
        for check in snapshot.checks:
            status.add_metric([check.name], VALUES.get(check.state, 0.0))
            age.add_metric([check.name], check.age(self._now_ns))
        yield status
        yield age

    def _counted(self) -> Iterator[Metric]:
        yield self._measures.checks.fill(
            HistogramMetricFamily(
                "ftw_check_duration_seconds", "How long a check took.", labels=["check"]
            )
        )
        transitions = CounterMetricFamily(
            "ftw_probe_transitions", "Changes of a probe.", labels=["probe", "to"]
        )
        for (probe, to), count in sorted(self._measures.transitions.items()):
            transitions.add_metric([probe, to], count)
        yield transitions

    def _ledger(self, facts: LedgerFacts) -> Iterator[Metric]:
        yield from ledger_gauges(facts)
        for name in ("ftw_heal_artifacts", "heal_artifacts"):
            family = CounterMetricFamily(
                name, "Artifacts in the ledger's tree.", labels=["type", "source"]
            )
            for (kind, source), count in sorted(facts.artifacts.items()):
                family.add_metric([kind, source], count)
            yield family

    def _breakers(self, facts: LedgerFacts) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "ftw_breaker_state",
            "1 for the state the breaker shows, 0 for the others.",
            labels=["breaker", "state"],
        )
        for name, shown in sorted(facts.breakers.items()):
            for state in CircuitState:
                family.add_metric([name, state.lower()], float(state == shown))
        yield family


def ledger_gauges(facts: LedgerFacts) -> Iterator[Metric]:
    """Yield the gauges of the ledger; valid is absent until it was verified once."""
    state = facts.state
    verify = state.last_verify
    values: dict[str, tuple[str, float | None]] = {
        "ftw_ledger_size": ("Artifacts with a place in the tree.", state.size),
        "ftw_ledger_pending": ("Artifacts without a place yet.", state.pending),
        "ftw_ledger_anchored_size": (
            "Size of the tree that is also known outside the database.",
            state.anchored_size,
        ),
        "ftw_ledger_valid": (
            "1 while the last verification found the ledger whole.",
            float(verify.ok) if verify else None,
        ),
        "ftw_ledger_verified_timestamp_seconds": (
            "When the ledger was last verified.",
            verify.at.timestamp() if verify else None,
        ),
    }
    for name, (text, value) in values.items():
        if value is not None:
            yield GaugeMetricFamily(name, text, value=value)


def watchdog_families(measures: Measures) -> Iterator[Metric]:
    """Yield what the watchdog decided, did, and how long it took to be well again."""
    decisions = CounterMetricFamily(
        "ftw_watchdog_decisions",
        "Decisions of the watchdog, with what became of them.",
        labels=["action", "result"],
    )
    for decided, count in sorted(measures.decisions.items()):
        decisions.add_metric(list(decided), count)
    yield decisions
    restarts = CounterMetricFamily(
        "ftw_restarts",
        "Processes that the watchdog ended, so that they begin anew.",
        labels=["target", "reason"],
    )
    for ended, count in sorted(measures.restarts.items()):
        restarts.add_metric(list(ended), count)
    yield restarts
    yield measures.recoveries.fill(
        HistogramMetricFamily(
            "ftw_recovery_seconds",
            "From the failure to the process that took the place.",
            labels=["failure"],
        )
    )
    beats = GaugeMetricFamily(
        "ftw_watchdog_last_beat_timestamp_seconds",
        "When a part of the watchdog went round last.",
        labels=["component"],
    )
    for component, at in sorted(measures.beats.items()):
        beats.add_metric([component], at)
    yield beats


def queue_families(sights: Iterable[Sight], now_ns: int) -> Iterator[Metric]:
    """Yield what was last seen of each queue, its ages carried on to now."""
    age = GaugeMetricFamily(
        "ftw_celery_canary_age_seconds",
        "Seconds since a worker took a canary of the queue, or since the first was sent.",
        labels=["queue"],
    )
    delay = GaugeMetricFamily(
        "ftw_celery_canary_delay_seconds",
        "How long the last canary took from beat to worker.",
        labels=["queue"],
    )
    depth = GaugeMetricFamily(
        "ftw_queue_depth", "Tasks that wait for a worker.", labels=["queue"]
    )
    for sight in sights:
        if sight.silent is not None:
            age.add_metric([sight.queue], sight.silent + sight.age(now_ns))
        if sight.delay is not None:
            delay.add_metric([sight.queue], sight.delay)
        if sight.age(now_ns) <= DEPTH_SECONDS:
            depth.add_metric([sight.queue], sight.depth)
    yield from (age, delay, depth)


def merged_counters() -> Iterator[Metric]:
    """Yield the families of every role's processes as one: two collectors would clash."""
    files = counter_files()
    if files:
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


def web_uptime() -> float:
    """Return the seconds since the web master began; 0 while there is none."""
    master = startup.current_master()
    if master is None:
        return 0.0
    return round(max(0.0, time.time() - startup.master_started_at(master)), 3)


def expose(measures: Measures, facts: Callable[[], LedgerFacts | None]) -> bytes:
    """Return the exposition text."""
    registry = CollectorRegistry()
    registry.register(HealthCollector(measures, facts(), time.monotonic_ns()))
    return generate_latest(registry)
