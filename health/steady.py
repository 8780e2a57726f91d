"""Something done again and again on a thread of its own, which may hang."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Steady:
    """Call a function every so many seconds until stopped; an error is logged once."""

    def __init__(self, name: str, every: float, call: Callable[[], object]) -> None:
        """Keep what to call; nothing runs until it is started."""
        self._name, self._every, self._call = name, every, call
        self._stop = threading.Event()
        self._error = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> "Steady":
        """Call it now, and then again."""
        self._thread.start()
        return self

    def stop(self, *, wait: float = 0.0) -> None:
        """Call it no more; wait so long for a call under way."""
        self._stop.set()
        self._thread.join(wait)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._call()
                self._note("")
            except Exception as error:  # noqa: BLE001 - the rim of a thread
                self._note(f"{type(error).__name__}: {error}"[:200])
            self._stop.wait(self._every)

    def _note(self, error: str) -> None:
        """Write a line on change: an outage is one line, not one a second."""
        kind = error.partition(":")[0]
        if kind != self._error.partition(":")[0]:
            if error:
                logger.warning("failing", extra={"work": self._name, "error": error})
            else:
                logger.info("working_again", extra={"work": self._name})
        self._error = error
