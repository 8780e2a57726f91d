"""Who samples: whoever holds the flock; a dead holder is replaced, a frozen one killed.

flock outlives SIGSTOP, so a frozen holder keeps the lock for good unless the taker
kills it first; its supervisor then starts it again.
"""

import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from health.instances import instance_name
from health.places import lock_file, run_dir
from health.processes import Identity, identify, is_ours
from health.slots import Role, SlotReading, read_slots
from health.snapshots import load_snapshot
from ledger.services import ArtifactType, Source, emit

logger = logging.getLogger(__name__)
TRY_AFTER = 6.0
KILL_AFTER = 9.0
LATE_TICK = 2.0
VOID_AFTER_LATE = 8.0
GIVE_BACK_BELOW = 3.0


class SamplerLock:
    """The flock on run/sampler.lock, with the holder's identity inside."""

    def __init__(self, path: Path | None = None) -> None:
        """Open nothing yet."""
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Tell whether this process holds it."""
        return self._descriptor is not None

    def take(self) -> bool:
        """Take the lock if it is free, and write who we are."""
        if self._descriptor is not None:
            return True
        path = self._path or lock_file()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        note_holder(descriptor)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another process have it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def holder(self) -> Identity | None:
        """Return who wrote itself into the file last."""
        try:
            pid, ticks = json.loads((self._path or lock_file()).read_bytes())
            return Identity(int(pid), int(ticks))
        except (OSError, ValueError, TypeError):
            return None


def note_holder(descriptor: int) -> None:
    """Write who holds the lock; on a full disk nobody is named rather than the last."""
    me = identify()
    body = json.dumps([me.pid, me.start_ticks]).encode()
    try:
        os.pwrite(descriptor, body, 0)
        os.ftruncate(descriptor, len(body))
    except OSError:
        logger.warning("holder_not_noted", exc_info=True)
        os.ftruncate(descriptor, 0)


def snapshot_age(now_ns: int) -> float | None:
    """Return how old the last snapshot of this boot is."""
    snapshot = load_snapshot()
    return None if snapshot is None else snapshot.age(now_ns)


def watchdog_is_fresh(now_ns: int) -> bool:
    """Tell whether a watchdog ticks: then a stand-in gives back."""
    return any(
        slot.role is Role.WATCHDOG and slot.age(now_ns) < GIVE_BACK_BELOW
        for slot in read_slots(run_dir())
    )


def intend_kill(holder: Identity, slot: SlotReading) -> Callable[[str], None]:
    """Write the intent down, on disk before the signal; return how to note the end."""
    evidence: dict[str, Any] = {
        "action": "SIGKILL",
        "reason": "frozen while it holds the sampler lock",
        "heartbeat_age_ms": int(slot.age(time.monotonic_ns()) * 1000),
    }
    what: dict[str, Any] = {
        "source": Source.WATCHDOG,
        "subject": f"process:{instance_name(slot.role.word)}/{holder.pid}",
        "actor": "watchdog",
    }
    emit(type=ArtifactType.WATCHDOG_INTENT, durable=True, **what, **evidence)

    def outcome(said: str) -> None:
        emit(type=ArtifactType.WATCHDOG_OUTCOME, result=said, **what, **evidence)

    return outcome


class Contender:
    """Decide each second whether to take the lock, and whether to kill for it."""

    def __init__(
        self,
        lock: SamplerLock,
        *,
        try_after: float = TRY_AFTER,
        kill_after: float = KILL_AFTER,
    ) -> None:
        """Count from now when there is no snapshot yet."""
        self.lock = lock
        self._try_after = try_after
        self._kill_after = kill_after
        self._began_ns = time.monotonic_ns()
        self._ticked_ns: int | None = None
        self._void_until_ns = 0

    def tick(self, now_ns: int) -> bool:
        """Take the lock if its holder has been silent; tell whether we hold it."""
        if self._ticked_ns and (now_ns - self._ticked_ns) / 1e9 > LATE_TICK:
            # We stood still ourselves: every slot looks old, kill nobody for a while.
            self._void_until_ns = now_ns + int(VOID_AFTER_LATE * 1e9)
        self._ticked_ns = now_ns
        age = snapshot_age(now_ns)
        silent = (now_ns - self._began_ns) / 1e9 if age is None else age
        if silent < self._try_after:
            return False
        if self.lock.take():
            return True
        if silent >= self._kill_after and now_ns >= self._void_until_ns:
            self._kill_frozen_holder(now_ns)
        return False

    def _kill_frozen_holder(self, now_ns: int) -> None:
        """Kill the holder if its own slot says that it stands still."""
        holder = self.lock.holder()
        if holder is None or holder.pid == os.getpid() or not is_ours(holder):
            return
        slots = [slot for slot in read_slots(run_dir()) if slot.identity == holder]
        if not slots or slots[0].age(now_ns) < self._kill_after:
            return
        outcome = intend_kill(holder, slots[0])
        try:
            os.kill(holder.pid, signal.SIGKILL)
            said = "killed"
        except ProcessLookupError:
            said = "already gone"
        logger.warning("frozen_sampler_killed", extra={"pid": holder.pid})
        outcome(said)
