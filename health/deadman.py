"""The ping to somebody outside, who raises the alarm when it stops."""

import time
from collections.abc import Callable

from django.conf import settings

from health.steady import Steady
from integrations.http import guarded_request, make_breaker

BREAKER = "deadman"
PING_SECONDS = 60.0
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 5.0


class DeadMan:
    """Ping DEADMAN_URL once a minute while all is well, on a thread of its own.

    Whoever does not answer hurts nobody: the thread waits 5 s at most, and a breaker
    shows on the console that the alarm will come for want of a listener.
    """

    def __init__(
        self,
        well: Callable[[], bool],
        *,
        every: float = PING_SECONDS,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Keep whom to ask whether all is well, and how long to wait outside."""
        self._well, self._every, self._seconds = well, every, seconds
        self._pinged: float | None = None
        self._thread = Steady("dead-man", min(LOOK_SECONDS, every), self.look)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a ping under way is left behind."""
        self._thread.stop()

    def look(self) -> None:
        """Ping if it is time and all is well.

        Raises:
            Exception: what the guarded request raises; the thread logs it once.
        """
        now = time.monotonic()
        due = self._pinged is None or now - self._pinged >= self._every
        if settings.DEADMAN_URL and due and self._well():
            self._pinged = now  # also when it fails: one that is down is not hammered
            make_breaker(BREAKER, timeout=self._seconds)
            guarded_request(BREAKER, "GET", settings.DEADMAN_URL)
