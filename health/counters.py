"""The counter files that processes of one role share, one folder a role.

The role's main empties its folder before it forks, and the listener merges them all.
"""

import os
import shutil
from pathlib import Path

from django.conf import settings
from prometheus_client import multiprocess


def counter_dir(role: str) -> Path:
    """Return the folder of one role's counter files, made on first use."""
    path = Path(settings.RUN_DIR) / "prom" / role
    path.mkdir(parents=True, exist_ok=True)
    return path


def empty_counters(role: str) -> None:
    """Begin anew: counter files of dead processes would be counted for ever."""
    shutil.rmtree(counter_dir(role), ignore_errors=True)
    counter_dir(role)


def forget_process(role: str, pid: int) -> None:
    """Drop the live gauges of a process that ended; its counters stay."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(  # type: ignore[no-untyped-call]
            pid, str(counter_dir(role))
        )


def counter_files() -> list[str]:
    """Return every role's files, to be merged as one list."""
    return [str(path) for path in Path(settings.RUN_DIR).glob("prom/*/*.db")]
