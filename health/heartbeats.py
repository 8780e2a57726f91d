"""The rows that the holder of the sampler lock keeps: the web server's and its own."""

import json
import threading
import time
from dataclasses import astuple
from typing import Any

import structlog

from health import startup
from health.instances import BEAT_SECONDS, Heartbeat, beat, read_holds, withdraw
from health.places import drain_file, run_dir
from health.processes import identify
from health.slots import FRESH_SECONDS, SlotReading
from health.snapshot import Hold
from health.snapshots import replace_file
from health.steady import Steady

logger = structlog.get_logger(__name__)
GOODBYE_SECONDS = 1.5
HELD = ("web", "worker", "beat", "watchdog")


class Heartbeats:
    """Write them every 10 s on a thread that may hang; keep the hold it read last."""

    def __init__(self, *, own_role: str, hold: Hold | None) -> None:
        """Begin with the hold that the holder before knew of."""
        self.hold = hold
        self._holds = load_holds()
        self._own_role = own_role
        self._said: dict[str, Any] = {"live": True, "ready": False, "detail": {}}
        self._heard = threading.Event()
        self._web_seen = False
        self._thread = Steady("heartbeats", BEAT_SECONDS, self._beat)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more; take the rows of what ends on purpose away."""
        self._heard.set()
        self._thread.stop()
        goodbye = threading.Thread(target=self._withdraw, daemon=True)
        goodbye.start()
        goodbye.join(GOODBYE_SECONDS)

    def holds(self) -> dict[str, str]:
        """Return the kind of every hold of this node that has not ended, by role."""
        now = time.time()
        return {
            role: hold.kind for role, hold in self._holds.items() if hold.holds_at(now)
        }

    def say(
        self,
        slots: list[SlotReading],
        now_ns: int,
        *,
        live: bool,
        ready: bool,
        reasons: tuple[str, ...],
    ) -> None:
        """Take in what the web server's row will say; this waits for nothing."""
        web = [slot for slot in slots if slot.role.word == "web"]
        detail = {
            "rss": sum(slot.rss for slot in web),
            "slots": len(web),
            "fresh": sum(slot.age(now_ns) <= FRESH_SECONDS for slot in web),
            "in_flight": sum(slot.in_flight for slot in web),
            "reasons": list(reasons),
            "draining": drain_file().exists(),
        }
        self._said = {"live": live, "ready": ready, "detail": detail}
        self._heard.set()

    def _beat(self) -> None:
        # The first row says what was judged, not what was assumed.
        self._heard.wait(BEAT_SECONDS)
        if self._own_role:
            beat(Heartbeat(self._own_role, identify()))
        master = startup.current_master()
        if master is not None:
            self._web_seen = True
            self.hold = beat(Heartbeat("web", master, **self._said))
        elif self._web_seen and not startup.current_boot():
            self._web_seen = False
            withdraw("web")
        holds = read_holds(HELD)
        if holds != self._holds:
            self._holds = holds
            save_holds(holds)

    def _withdraw(self) -> None:
        if self._own_role:
            withdraw(self._own_role)
        if self._web_seen and startup.current_master() is None:
            withdraw("web")


def save_holds(holds: dict[str, Hold]) -> None:
    """Keep them, so that the next holder obeys them with the database away too."""
    try:
        body = {role: astuple(hold) for role, hold in holds.items()}
        replace_file(run_dir() / "holds.json", json.dumps(body))
    except OSError:
        logger.warning("holds_not_kept", exc_info=True)


def load_holds() -> dict[str, Hold]:
    """Return the holds that were read last on this node; nonsense is none."""
    try:
        body = json.loads((run_dir() / "holds.json").read_bytes())
        return {
            str(role): Hold(str(kind), str(reason), str(by), until and float(until))
            for role, (kind, reason, by, until) in body.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
