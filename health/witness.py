"""What the judge is told: every slot's process as the kernel sees it, and the rest.

Nothing here waits for a dependency: files under run/, /proc, and what other threads
have left.
"""

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from celery import current_app

from health import startup
from health.canary import Sight
from health.control import Control
from health.judge import Facts, Kind, Process
from health.places import drain_file, run_dir
from health.processes import Identity, Look, look_at
from health.slots import Role, SlotReading, parse_slot, read_slots
from health.snapshot import State
from health.snapshots import read_snapshot

logger = structlog.get_logger(__name__)
KINDS = {
    Role.WEB: ("web", Kind.WORKER),
    Role.WORKER: ("worker", Kind.MAIN),
    Role.POOL: ("worker", Kind.CHILD),
    Role.BEAT: ("beat", Kind.BEAT),
}
# After an outage a Celery main looks for the broker every 30 s at most.
BROKER_BACK_SECONDS = 60.0


class Witness:
    """Look around once a second."""

    def __init__(
        self,
        *,
        roles: frozenset[str],
        control: Control,
        holds: Callable[[], Mapping[str, str]],
        struck_out: Callable[[], bool],
        sights: Callable[[], Sequence[Sight]],
        broker_back: float = BROKER_BACK_SECONDS,
    ) -> None:
        """Take where the facts of other threads are read."""
        self._roles, self._control = roles, control
        self._holds, self._struck_out, self._sights = holds, struck_out, sights
        self._broker_back = broker_back
        self._broker_ill_ns: int | None = None
        self._owners: set[Identity] = set()
        self._unread: set[str] = set()
        self._limits = task_limits()

    def facts(self, now_ns: int, busy: frozenset[Identity]) -> Facts:
        """Return everything that is known now."""
        self._tell_unreadable()
        slots = read_slots(run_dir())
        self._owners &= {slot.identity for slot in slots}
        mains = {slot.identity.pid for slot in slots if slot.role is Role.WORKER}
        master = self._master() if "web" in self._roles else None
        processes = [self._process(slot, master, mains) for slot in slots]
        return Facts(
            now_ns=now_ns,
            processes=[one for one in processes if one is not None],
            master=master,
            silent=self._control.silent(now_ns) if master else 0.0,
            struck_out=self._struck_out(),
            holds=self._holds(),
            draining=drain_file().exists(),
            sights=self._sights(),
            broker_well=self._is_broker_well(now_ns),
            busy=busy,
        )

    def _master(self) -> Process | None:
        identity = startup.current_master()
        look = None if identity is None else look_at(identity)
        if identity is None or look is None:
            return None
        fault = _stranger(look)
        return Process(
            part="web",
            kind=Kind.MASTER,
            identity=identity,
            up=look.up,
            state=look.state,
            parent=look.parent,
            fault=fault,
        )

    def _process(
        self, slot: SlotReading, master: Process | None, mains: set[int]
    ) -> Process | None:
        if slot.role not in KINDS:
            return None
        part, kind = KINDS[slot.role]
        look = look_at(slot.identity)
        if look is None or part not in self._roles:
            return None
        parents = None
        if kind is Kind.WORKER:
            parents = {master.identity.pid} if master else set()
        elif kind is Kind.CHILD:
            parents = mains
        return Process(
            part=part,
            kind=kind,
            identity=slot.identity,
            up=look.up,
            state=look.state,
            parent=look.parent,
            fault=self._fault(slot, look, parents),
            slot=slot,
            task_limit=self._limits.get(slot.task, max(self._limits.values())),
        )

    def _fault(self, slot: SlotReading, look: Look, parents: set[int] | None) -> str:
        if found := _stranger(look):
            return found
        if parents is not None and look.parent not in parents:
            return "its parent is not our master"
        if slot.identity not in self._owners:
            if not owns_slot(slot):
                return "it did not make its slot"
            self._owners.add(slot.identity)
        return ""

    def _is_broker_well(self, now_ns: int) -> bool:
        """Tell whether the broker has answered for a while; not knowing is not well."""
        snapshot = read_snapshot()
        checks = snapshot.checks if snapshot else ()
        states = [check.state for check in checks if check.name == "queue"]
        if State.FAIL in states or State.WARN in states:
            self._broker_ill_ns = now_ns
        ill = self._broker_ill_ns
        is_back = ill is None or now_ns - ill > self._broker_back * 1e9
        return states == [State.PASS] and is_back

    def _tell_unreadable(self) -> None:
        for path in run_dir().glob("*-*.slot"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError:
                data = b""
            if parse_slot(data) is None and path.name not in self._unread:
                self._unread.add(path.name)
                logger.warning("slot_unreadable", slot=path.name)


def _stranger(look: Look) -> str:
    return "" if look.owner == os.getuid() else "it belongs to another user"


def owns_slot(slot: SlotReading) -> bool:
    """Tell whether the process has that very file in its memory.

    Anybody of our user can write a file that names a process; only the process itself
    can map it. Where the kernel does not tell, it is not ours.
    """
    path = run_dir() / f"{slot.role.word}-{slot.identity}.slot"
    try:
        inode = str(path.stat().st_ino)
        maps = Path(f"/proc/{slot.identity.pid}/maps").read_text()
    except OSError:
        return False
    return any(
        line.split()[4] == inode and line.endswith(path.name)
        for line in maps.splitlines()
        if line.endswith(".slot")
    )


def task_limits() -> dict[int, float]:
    """Return the seconds that each task may take, by the mark it leaves in a slot."""
    current_app.loader.import_default_modules()
    usual = float(current_app.conf.task_time_limit or 0)
    limits = {0: usual}
    for name, task in current_app.tasks.items():
        limits[zlib.crc32(name.encode())] = float(task.time_limit or usual)
    return limits
