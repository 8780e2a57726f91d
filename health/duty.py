"""What the holder of the sampler lock does: sample, judge the probes, answer, sequence.

Each part that can hang has a thread of its own; this one only reads what they left.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.conf import settings

from health.answers import initialized
from health.dependencies import Database, Dependency, default_dependencies
from health.listener import Listener, judge_fleet
from health.places import drain_file, machine_boot, run_dir
from health.processes import identify
from health.sampler import Sampler
from health.slots import read_slots, sweep_slots
from health.snapshot import (
    CheckResult,
    Hold,
    Probe,
    ProbeState,
    Snapshot,
    State,
    judge_ready,
)
from health.snapshots import load_snapshot, write_snapshot

logger = logging.getLogger(__name__)
LOOP_SECONDS = 0.25
WRITE_SECONDS = 1.0
SWEEP_SECONDS = 30.0


class Duty:
    """One term of holding the lock."""

    def __init__(
        self,
        *,
        roles: frozenset[str],
        period: float = 2.0,
        timeout: float = 2.0,
        dependencies: Sequence[Dependency] | None = None,
    ) -> None:
        """Carry on from the snapshot of the holder before, however old."""
        before = load_snapshot()
        self._roles = roles
        self._probes = {p.name: p for p in before.probes} if before else {}
        self._hold: Hold | None = before.hold if before else None
        self._missing = before.missing_migrations if before else None
        self._seen_workers = False
        self._stop = threading.Event()
        self._written_ns = self._swept_ns = 0
        self.sampler = Sampler(
            default_dependencies() if dependencies is None else dependencies,
            period=period,
            timeout=timeout,
            before=before.checks if before else (),
        )
        self.listener = Listener(roles=roles)

    def run(self, wanted: Callable[[], bool]) -> None:
        """Hold until it is no longer wanted, then let everything go."""
        self.sampler.start()
        self.listener.start()
        try:
            while wanted() and not self._stop.wait(LOOP_SECONDS):
                self.step()
        finally:
            self.listener.stop()
            self.sampler.stop()

    def stop(self) -> None:
        """End this term."""
        self._stop.set()

    def step(self) -> None:
        """Write a snapshot once every check has a result; sweep now and then."""
        now, now_ns = time.time(), time.monotonic_ns()
        checks = self.sampler.collect(now, now_ns)
        if checks is not None and (
            self._changed(checks) or now_ns - self._written_ns >= WRITE_SECONDS * 1e9
        ):
            self._write(checks, now, now_ns)
        if now_ns - self._swept_ns >= SWEEP_SECONDS * 1e9:
            self._swept_ns = now_ns
            sweep_slots(run_dir())

    def _changed(self, checks: tuple[CheckResult, ...]) -> bool:
        last = load_snapshot()
        return last is None or [c.state for c in last.checks] != [
            c.state for c in checks
        ]

    def _write(self, checks: tuple[CheckResult, ...], now: float, now_ns: int) -> None:
        for dependency in self.sampler.dependencies:
            if isinstance(dependency, Database):
                known = dependency.missing_migrations
                self._missing = self._missing if known is None else known
        bare = Snapshot(
            at=now,
            at_ns=now_ns,
            boot=machine_boot(),
            holder=identify().pid,
            checks=checks,
            missing_migrations=self._missing,
            hold=self._hold,
            version=settings.VERSION,
            roles=tuple(sorted(self._roles)),
        )
        write_snapshot(self._with_probes(bare, now, now_ns))
        self._written_ns = now_ns

    def _with_probes(self, bare: Snapshot, now: float, now_ns: int) -> Snapshot:
        """Judge the probes as the edge does and note since when."""
        ready = judge_ready(
            bare, now=now, now_ns=now_ns, draining=drain_file().exists()
        )
        self._note(Probe.READY, well=ready.ready, now=now, why="; ".join(ready.reasons))
        done = initialized()
        absent = ", ".join(name for name, there in done.items() if not there)
        self._note(Probe.STARTUP, well=all(done.values()), now=now, why=absent)
        ages = [
            slot.age(now_ns)
            for slot in read_slots(run_dir())
            if slot.role.word in self._roles
        ]
        self._seen_workers = self._seen_workers or bool(ages)
        if self._seen_workers:
            live = judge_fleet(ages)
            self._note(Probe.LIVE, well=live.alive, now=now, why=live.reason)
        from dataclasses import replace

        return replace(bare, probes=tuple(self._probes.values()))

    def _note(self, name: Probe, *, well: bool, now: float, why: str) -> None:
        state = State.PASS if well else State.FAIL
        last = self._probes.get(name)
        if last is not None and last.state is state:
            return
        self._probes[name] = ProbeState(name, state, now, why)
