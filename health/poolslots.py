"""The slots of Celery's pool children, and the task each is at."""

import os
from typing import Any

from django.db import connections

from health.counters import empty_counters, forget_process
from health.dumps import register_dumps
from health.pulse import own_pulse, start_pulse
from health.slots import Role

# Kept, so that nothing of them is ever closed: their sockets are main's.
_inherited: list[Any] = []


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
