"""The slots of Celery's pool children, and the task each is at."""

from typing import Any

from health.counters import empty_counters, forget_process
from health.pulse import own_pulse, start_pulse
from health.slots import Role


def begin_worker(**_: Any) -> None:
    """Empty the counter files before the first child is forked."""
    empty_counters("worker")


def begin_child(**_: Any) -> None:
    """Give the child its slot."""
    start_pulse(Role.POOL)


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
