"""Slots and rows of the Celery mains: worker and beat.

Main ticks from its own event loop and beat from its own scheduler, so that a loop
that stands still is seen; a thread beside them would go on ticking. While they wait for
the broker they tick too: the loop stands still for as long as the broker is away (48 s
of 50 were measured), and nobody is to be killed for that.
"""

import contextlib
import logging
import time
from typing import Any

from celery import bootsteps
from celery.beat import PersistentScheduler
from celery.worker.consumer import Consumer

from health.dumps import register_dumps
from health.instances import BEAT_SECONDS, Heartbeat, beat, withdraw
from health.places import run_dir
from health.poolslots import gate
from health.processes import identify, resident_bytes
from health.slots import FRESH_SECONDS, Role, Slot, read_slots
from health.snapshot import Hold
from health.steady import Steady

logger = logging.getLogger(__name__)


class LoopSlot:
    """A slot ticked by the loop that owns it, with the instance's row beside it."""

    def __init__(self, role: Role) -> None:
        """Make the slot; the row is written from a thread that may hang."""
        self.role = role
        self.slot = Slot(run_dir(), role)
        register_dumps()
        self.hold: Hold | None = None
        self._rows = Steady(f"{role.word}-row", BEAT_SECONDS, self._beat).start()

    def tick(self) -> None:
        """Say that the loop runs."""
        self.slot.tick(rss=resident_bytes())

    def close(self) -> None:
        """Take the slot and the row away."""
        self.slot.close()
        self._rows.stop(wait=0.5)
        try:
            withdraw(self.role.word)
        except Exception:
            logger.info("goodbye_failed", exc_info=True)

    def _beat(self) -> None:
        now_ns = time.monotonic_ns()
        kinds = {Role.WORKER, Role.POOL} if self.role is Role.WORKER else {self.role}
        slots = [slot for slot in read_slots(run_dir()) if slot.role in kinds]
        fresh = sum(slot.age(now_ns) <= FRESH_SECONDS for slot in slots)
        heartbeat = Heartbeat(
            self.role.word,
            identify(),
            live=fresh == len(slots),
            ready=not (self.hold and self.hold.kind == "drain"),
            detail={
                "rss": sum(slot.rss for slot in slots),
                "slots": len(slots),
                "fresh": fresh,
            },
        )
        with gate.no_fork():
            self.hold = beat(heartbeat)


class SlotStep(bootsteps.StartStopStep):
    """Tick the worker's slot each second from its event loop."""

    # Of steps without an order Celery's differs from start to start. After the pool is
    # before it at the end: while main waits for its last tasks nothing ticks, and a slot
    # would have it killed for that after 30 s.
    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, parent: Any, **options: Any) -> None:
        """Begin with nothing; Celery calls start."""
        super().__init__(parent, **options)
        self._slot: LoopSlot | None = None
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Make the slot and let the worker's timer tick it."""
        self._slot = parent.loop_slot = LoopSlot(Role.WORKER)
        self._timer = parent.timer.call_repeatedly(1.0, self._slot.tick)

    def stop(self, parent: Any) -> None:
        """Stop ticking and say goodbye."""
        timer, self._timer = self._timer, None
        slot, self._slot = self._slot, None
        if timer is not None:
            timer.cancel()
        if slot is not None:
            slot.close()

    terminate = stop


class TickingConsumer(Consumer):
    """The stock consumer, which ticks while it waits for the broker."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; the wait between two tries is cut into seconds, each a tick."""
        connect = conn.ensure_connection
        worker = getattr(self, "controller", None)
        slot: LoopSlot | None = getattr(worker, "loop_slot", None)

        def patiently(*args: Any, callback: Any = None, **options: Any) -> Any:
            def each_second() -> None:
                if slot is not None:
                    slot.tick()
                if callback is not None:
                    callback()

            return connect(*args, callback=each_second, **options)

        conn.ensure_connection = patiently
        return super().ensure_connected(conn)


class Unkept(dict[str, Any]):
    """A schedule that is forgotten at the end, in the manner of a shelf."""

    @classmethod
    def open(cls, *args: Any, **options: Any) -> "Unkept":
        """Return an empty one."""
        return cls()

    def sync(self) -> None:
        """Write nothing."""

    close = sync


class TickingScheduler(PersistentScheduler):
    """The stock scheduler with a slot that its own loop ticks.

    It goes on without its file: beat died of a full disk six times in a minute, and
    the whole run with it.
    """

    def setup_schedule(self) -> None:
        """Read the schedule's file, or do without it."""
        try:
            super().setup_schedule()
        except OSError:
            logger.warning("schedule_not_kept", exc_info=True)
            self.persistence = Unkept  # type: ignore[assignment]
            super().setup_schedule()

    def sync(self) -> None:
        """Write when each task was last sent; a full disk is tried again later."""
        try:
            super().sync()
        except OSError:
            logger.warning("schedule_not_written", exc_info=True)

    def __init__(self, *args: Any, **options: Any) -> None:
        """Make the slot when beat makes its scheduler."""
        super().__init__(*args, **options)
        self._slot: LoopSlot | None = None

    def tick(self, *args: Any, **options: Any) -> Any:
        """Tick the slot, then send what is due."""
        if self._slot is None:
            self._slot = LoopSlot(Role.BEAT)
        self._slot.tick()
        return super().tick(*args, **options)

    def _ensure_connected(self) -> Any:
        def away(error: Exception, seconds: float) -> None:
            logger.error("beat_without_broker", extra={"error": str(error)[:200]})

        return self.connection.ensure_connection(
            away, self.app.conf.broker_connection_max_retries, callback=self._tick_slot
        )

    def _tick_slot(self) -> None:
        if self._slot is not None:
            self._slot.tick()

    def close(self) -> None:
        """Say goodbye."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.close()
        with contextlib.suppress(OSError):
            super().close()
