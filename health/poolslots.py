"""The slots of Celery's pool children, and the task each is at."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from health.counters import empty_counters, forget_process
from health.dumps import register_dumps
from health.pulse import own_pulse, start_pulse
from health.slots import Role

# Kept, so that nothing of them is ever closed: their sockets are main's.
_inherited: list[Any] = []
FORK_WAIT_SECONDS = 3.0


class ForkGate:
    """Keep forks and uses of the database in threads of main apart.

    A thread in SQLite at the moment of a fork leaves the child with locks that nobody
    gives back: one worker in twelve began with a child that hung in its first query and
    held the write lock for the 60 s of its limit.
    """

    def __init__(self) -> None:
        """Begin open."""
        self._lock = threading.Lock()
        self._is_mine = False

    @contextmanager
    def no_fork(self) -> Iterator[None]:
        """Let no child be forked meanwhile; one that has waited for long is."""
        with self._lock:
            yield

    def close(self) -> None:
        """Wait for whoever is in there, before a fork."""
        self._is_mine = self._lock.acquire(timeout=FORK_WAIT_SECONDS)

    def open(self) -> None:
        """Let them in again, in the parent."""
        if self._is_mine:
            self._is_mine = False
            self._lock.release()

    def forget(self) -> None:
        """Begin open in the child: the thread that may be in there is not."""
        self._lock = threading.Lock()
        self._is_mine = False

    def register(self) -> None:
        """Stand in the way of every fork from now on."""
        os.register_at_fork(
            before=self.close, after_in_parent=self.open, after_in_child=self.forget
        )


gate = ForkGate()


def forget_connections() -> None:
    """Leave main's database connections alone in a forked child.

    A child that comes later finds the pool of main's heartbeat; Celery closes it there,
    which says goodbye to the server on the sockets that main goes on using.
    """
    for connection in connections.all(initialized_only=True):
        pools = getattr(type(connection), "_connection_pools", {})
        _inherited.extend([connection.connection, *pools.values()])
        connection.connection = None
        pools.clear()


def begin_worker(**_: Any) -> None:
    """Empty the counter files and settle what a child inherits, before the first."""
    empty_counters("worker")
    gate.register()
    os.register_at_fork(after_in_child=forget_connections)


def begin_child(**_: Any) -> None:
    """Give the child its slot."""
    start_pulse(Role.POOL)
    register_dumps()


def end_child(pid: int | None = None, **_: Any) -> None:
    """Take the slot of a child that stops on purpose away."""
    pulse = own_pulse()
    if pulse is not None:
        pulse.stop()
        forget_process("worker", pulse.slot.identity.pid)


def begin_task(task: Any = None, **_: Any) -> None:
    """Mark the task that the child begins."""
    pulse = own_pulse()
    if pulse is not None:
        pulse.slot.begin_task(task.name)


def end_task(**_: Any) -> None:
    """Take the mark off."""
    pulse = own_pulse()
    if pulse is not None:
        pulse.slot.end_task()
