"""A few daemon threads for calls that have no limit of their own. Pure.

Not concurrent.futures' pool: its threads are joined at exit, where one hung call would
keep the process for ever, and it queues where a full bulkhead must refuse.
"""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from breakers.errors import BulkheadFullError

Job = tuple[Future[Any], Callable[[], Any]]


class Pool:
    """At most ``limit`` calls at once, each on a thread of its own."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._taken = self._threads = 0

    @property
    def taken(self) -> int:
        """Return how many threads are at work, hung ones too."""
        return self._taken

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Start a call, in a copy of the caller's context.

        Raises:
            BulkheadFullError: every thread is taken.
        """
        with self._lock:
            if self._taken >= self._limit:
                reason = f"all {self._limit} threads are taken"
                raise BulkheadFullError(self._name, None, reason)
            self._taken += 1
            more = self._threads < self._taken
            self._threads += more
        if more:
            self._start_thread()
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        self._jobs.put((future, lambda: context.run(call)))
        return future

    def _start_thread(self) -> None:
        name = f"breaker-{self._name}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # the system has no thread to give
            with self._lock:
                self._taken -= 1
                self._threads -= 1
            raise

    def _work(self) -> None:
        while True:
            future, call = self._jobs.get()
            # From here on it cannot be cancelled: set_result() would end the thread.
            wanted = future.set_running_or_notify_cancel()
            try:
                result, error = call() if wanted else None, None
            except BaseException as raised:  # noqa: BLE001 - the caller raises it
                result, error = None, raised
            # Free before the caller wakes: the next call must find the thread.
            with self._lock:
                self._taken -= 1
            if error is not None:
                future.set_exception(error)
            elif wanted:
                future.set_result(result)
            del future, call, result, error
