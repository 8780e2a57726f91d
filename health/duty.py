"""What the holder of the sampler lock does: sample, judge the probes, answer, sequence.

Each part that can hang has a thread of its own; this one only reads what they left.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from uuid import NAMESPACE_OID, uuid5

from django.conf import settings

from health.answers import initialized
from health.deadman import DeadMan
from health.dependencies import Canary, Database, Dependency, default_dependencies
from health.endings import Endings
from health.heartbeats import Heartbeats
from health.instances import instance_name
from health.ledgerwork import LedgerWork
from health.listener import Listener, judge_fleet
from health.metrics import Measures, expose
from health.places import drain_file, machine_boot, run_dir
from health.processes import identify
from health.sampler import Sampler
from health.slots import Role, SlotReading, read_slots, sweep_slots
from health.snapshot import (
    FRESH_SECONDS,
    CheckResult,
    Probe,
    ProbeState,
    Snapshot,
    State,
    judge_ready,
)
from health.snapshots import load_snapshot, write_snapshot
from health.transitions import SOURCES, announce
from ledger.services import ArtifactType, Source, emit

logger = logging.getLogger(__name__)
LOOP_SECONDS = 0.25
WRITE_SECONDS = 1.0
SWEEP_SECONDS = 2.0


class Duty:
    """One term of holding the lock."""

    def __init__(
        self,
        *,
        roles: frozenset[str],
        own_role: str = "",
        period: float = 2.0,
        timeout: float = 2.0,
        dependencies: Sequence[Dependency] | None = None,
    ) -> None:
        """Carry on from the snapshot of the holder before."""
        before = load_snapshot()
        self._roles = roles
        self._checks = {c.name: c for c in before.checks} if before else {}
        self._probes = {p.name: p for p in before.probes} if before else {}
        self._missing = before.missing_migrations if before else None
        self._seen_workers = False
        self._stop = threading.Event()
        self._error = ""
        self._written_ns = self._swept_ns = 0
        self.sampler = Sampler(
            default_dependencies() if dependencies is None else dependencies,
            period=period,
            timeout=timeout,
            before=before.checks if before else (),
        )
        self.measures = Measures()
        self.heartbeats = Heartbeats(
            own_role=own_role, hold=before.hold if before else None
        )
        self.ledger = LedgerWork(also=self.measures.asked.look)
        # Of the pods of one installation those of the web server alone: a beat that is
        # well would hide that nobody serves.
        self.deadman = DeadMan(self.is_well) if "web" in roles else None
        self.endings = Endings(run_dir())
        self.listener = Listener(
            roles=roles,
            metrics=lambda: expose(self.measures, lambda: self.ledger.facts),
        )

    def run(self, wanted: Callable[[], bool]) -> None:
        """Hold until it is no longer wanted, then let everything go."""
        self.sampler.start()
        self.listener.start()
        self.heartbeats.start()
        self.ledger.start()
        if self.deadman:
            self.deadman.start()
        try:
            while wanted() and not self._stop.wait(LOOP_SECONDS):
                self._try_step()
        finally:
            if self.deadman:
                self.deadman.stop()
            self.listener.stop()
            self.sampler.stop()
            self.ledger.stop()
            self.heartbeats.stop()

    def stop(self) -> None:
        """End this term."""
        self._stop.set()

    def is_well(self) -> bool:
        """Tell whether this loop goes round and no canary is late.

        A dead database is no reason to be silent: the loop tells of that itself. A beat
        or a worker that does nothing may be one.
        """
        age = (time.monotonic_ns() - self._written_ns) / 1e9
        canary = self._checks.get(Canary.name)
        flies = canary is None or canary.state is State.PASS
        return not self._error and age <= FRESH_SECONDS and flies

    def _try_step(self) -> None:
        """Go on after an error: the snapshot grows old, and old is not ready."""
        try:
            self.step()
            error = ""
        except Exception as found:  # noqa: BLE001 - the rim of the loop
            error = f"{type(found).__name__}: {found}"[:200]
        if error and error != self._error:
            logger.error("duty_failing", extra={"error": error})
        self._error = error

    def step(self) -> None:
        """Write a snapshot once every check has a result; sweep now and then."""
        now, now_ns = time.time(), time.monotonic_ns()
        self.measures.beats["duty"] = now
        checks = self.sampler.collect(now, now_ns)
        if checks is not None:
            changed = self._note_checks(checks)
            if changed or now_ns - self._written_ns >= WRITE_SECONDS * 1e9:
                self._write(checks, now, now_ns)
        if now_ns - self._swept_ns >= SWEEP_SECONDS * 1e9:
            self._swept_ns = now_ns
            report_dead(sweep_slots(run_dir()))
            self.endings.tell()

    def _note_checks(self, checks: tuple[CheckResult, ...]) -> bool:
        """Measure what is new and announce what changed; tell whether anything did."""
        changed = False
        for check in checks:
            last = self._checks.get(check.name)
            self._checks[check.name] = check
            if last is None or check.at_ns != last.at_ns:
                self.measures.observe(check.name, check.duration)
            if last is not None and last.state is check.state:
                continue
            changed = True
            old = State.UNKNOWN if last is None else last.state
            if old is not State.UNKNOWN or check.state is not State.PASS:
                announce(
                    subject=f"check:{check.name}",
                    source=Source.READINESS,
                    old=old,
                    new=check.state,
                    why=check.error,
                )
        return changed

    def _write(self, checks: tuple[CheckResult, ...], now: float, now_ns: int) -> None:
        for dependency in self.sampler.dependencies:
            if isinstance(dependency, Database):
                known = dependency.missing_migrations
                self._missing = self._missing if known is None else known
            elif isinstance(dependency, Canary):
                self.measures.queues = dependency.sights
        bare = Snapshot(
            at=now,
            at_ns=now_ns,
            boot=machine_boot(),
            holder=identify().pid,
            checks=checks,
            probes=tuple(self._probes.values()),
            missing_migrations=self._missing,
            hold=self.heartbeats.hold,
            version=settings.VERSION,
            roles=tuple(sorted(self._roles)),
        )
        write_snapshot(bare)
        self._judge_probes(bare, now, now_ns)
        write_snapshot(replace(bare, probes=tuple(self._probes.values())))
        self._written_ns = now_ns

    def _judge_probes(self, bare: Snapshot, now: float, now_ns: int) -> None:
        """Judge as the edge does, which reads the snapshot that was just written."""
        ready = judge_ready(
            bare, now=now, now_ns=now_ns, draining=drain_file().exists()
        )
        self._note(Probe.READY, now, well=ready.ready, why="; ".join(ready.reasons))
        done = initialized()
        absent = ", ".join(name for name, there in done.items() if not there)
        self._note(Probe.STARTUP, now, well=all(done.values()), why=absent)
        slots = read_slots(run_dir())
        ages = [slot.age(now_ns) for slot in slots if slot.role.word in self._roles]
        # A worker that has not come up yet is not one that froze.
        self._seen_workers = self._seen_workers or bool(ages)
        live = judge_fleet(ages)
        if self._seen_workers:
            self._note(Probe.LIVE, now, well=live.alive, why=live.reason)
        self.heartbeats.say(
            slots, now_ns, live=live.alive, ready=ready.ready, reasons=ready.reasons
        )

    def _note(self, name: Probe, now: float, *, well: bool, why: str) -> None:
        state = State.PASS if well else State.FAIL
        last = self._probes.get(name)
        if last is not None and last.state is state:
            return
        self._probes[name] = ProbeState(name, state, now, why)
        old = State.UNKNOWN if last is None else last.state
        if old is not State.UNKNOWN or not well:
            self.measures.count_transition(name.value, state.value)
            announce(
                subject=f"probe:{name}",
                source=SOURCES[name],
                old=old,
                new=state,
                why=why,
            )


def report_dead(slots: Iterable[SlotReading]) -> None:
    """Write down processes that ended without taking their slot away."""
    for slot in slots:
        part = "worker" if slot.role is Role.POOL else slot.role.word
        name = f"{instance_name(part)}/{slot.identity.pid}"
        emit(
            type=ArtifactType.RESTART,
            source=Source.LIVENESS,
            subject=f"process:{name}",
            # Two processes may sweep at the hand-over: one row survives.
            event_id=uuid5(
                NAMESPACE_OID, f"{machine_boot()}/{slot.role.word}-{slot.identity}"
            ),
            role=slot.role.word,
            pid=slot.identity.pid,
            rss=slot.rss,
            in_flight=slot.in_flight,
            reason="ended without a goodbye",
        )
        logger.warning("process_died", extra={"who": name})
