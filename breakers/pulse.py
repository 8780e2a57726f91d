"""The thread that notes totals and ends overrides once a second. Pure.

Started by the first call after a fork, never at import. A process that makes no call
has no such thread.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

PERIOD = 1.0

logger = logging.getLogger(__name__)


class Watched(Protocol):
    """What has to be looked after: a breaker."""

    def tend(self) -> None:
        """Do what is due each second."""

    def forked(self) -> None:
        """Begin anew in a child process."""


class Pulse:
    """The thread, what it looks after, and what else happens each second."""

    def __init__(self) -> None:
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._hooks: list[Callable[[], None]] = []
        self._starters: list[Callable[[], None]] = []
        self._joiners: list[Callable[[Any], None]] = []
        self._changes: list[Callable[[Any], None]] = []
        self._forks: list[Callable[[], None]] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._running = False

    def watch(self, breaker: Watched) -> None:
        """Look after a breaker for as long as it lives."""
        with self._lock:
            self._watched.add(breaker)

    def each_second(self, hook: Callable[[], None]) -> None:
        """Call a hook each second; one that raises is logged."""
        self._hooks.append(hook)

    def at_start(self, starter: Callable[[], None]) -> None:
        """Call a starter at the first use of any breaker in a process."""
        self._starters.append(starter)

    def at_join(self, joiner: Callable[[Any], None]) -> None:
        """Call a joiner with each breaker at its first use in a process."""
        self._joiners.append(joiner)

    def at_change(self, hook: Callable[[Any], None]) -> None:
        """Call a hook with each breaker whose row changed here, holding no lock."""
        self._changes.append(hook)

    def at_fork(self, hook: Callable[[], None]) -> None:
        """Call a hook in each child process, before its breakers begin anew."""
        self._forks.append(hook)

    def join(self, breaker: Watched) -> None:
        """Let a breaker take part: it is about to be used."""
        self.start()
        for joiner in self._joiners:
            self._safely(partial(joiner, breaker))

    def changed(self, breaker: Watched) -> None:
        """Pass on that a breaker's row changed here."""
        for hook in self._changes:
            self._safely(partial(hook, breaker))

    def all(self) -> list[Any]:
        """Return the breakers that live."""
        with self._lock:
            return list(self._watched)

    def start(self) -> None:
        """Start the thread of this process, once."""
        with self._lock:
            if self._running:
                return
            self._running = True
        for starter in self._starters:
            self._safely(starter)
        try:
            threading.Thread(
                target=self._run, name="breakers-pulse", daemon=True
            ).start()
        except RuntimeError:  # the interpreter ends
            logger.debug("no pulse: no more threads")

    def _run(self) -> None:
        while True:
            time.sleep(PERIOD)
            self.beat()

    def beat(self) -> None:
        """Do what is due each second."""
        for breaker in self.all():
            self._safely(breaker.tend)
        for hook in self._hooks:
            self._safely(hook)

    def _safely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            logger.exception("the breakers' pulse failed")

    def forked(self) -> None:
        """Begin anew in a child: no thread, no lock that the parent may have held."""
        self._begin()
        for hook in self._forks:
            hook()
        for breaker in list(self._watched):
            breaker.forked()


pulse = Pulse()
os.register_at_fork(after_in_child=pulse.forked)
