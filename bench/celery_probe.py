"""What one liveness probe of a Celery worker costs, beside `celery inspect ping`.

Run with `python -m bench.celery_probe`; each line is `what | target | measured | ok or
missed`. Processor time, of the probe's process alone, as the kernel counts it.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from health.slots import Role, read_slots
from tests.server import ROOT, Installation, wait_for

ROUNDS, RIVAL_ROUNDS = 40, 4
TARGET_MS, RIVAL_TIMES = 15.0, 50
CELERY = (sys.executable, "-m", "celery", "-A", "fortheweebs")
BARE = (sys.executable, "-I", "-S", "-c", "")


def spent(site: Installation, command: tuple[str, ...]) -> float:
    """Run a command that must succeed; return the milliseconds it computed."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**site.environment, "ROLE": "command"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000


def has_worker(run: Path) -> bool:
    """Tell whether a worker's main and a child of it tick."""
    return {Role.WORKER, Role.POOL} <= {slot.role for slot in read_slots(run)}


def main() -> None:
    """Print what both cost while the same worker does nothing."""
    with Installation() as site:
        site.start("worker", "worker", *CELERY, "worker", "-c", "1", "-l", "INFO")
        run = site.data / "run"
        wait_for(lambda: has_worker(run), 30, "the worker")
        wait_for(lambda: "ready." in site.output("worker"), 30, "the worker")
        probe = (*BARE[:3], "health/healthcheck.py", "--role", "worker")
        rival = (*CELERY, "inspect", "ping", "-t", "1")
        ours, bare = [], []
        for _ in range(ROUNDS):
            ours.append(spent(site, probe))
            bare.append(spent(site, BARE))
        theirs = statistics.median(spent(site, rival) for _ in range(RIVAL_ROUNDS))
    mine, floor = statistics.median(ours), statistics.median(bare)
    verdict = "ok" if mine <= TARGET_MS else "missed"
    print(f"Celery probe, CPU | <= {TARGET_MS:.0f} ms | {mine:.1f} ms | {verdict}")
    print(f"of it the bare interpreter | | {floor:.1f} ms |")
    times = theirs / mine
    verdict = "ok" if times >= RIVAL_TIMES else "missed"
    print(
        f"celery inspect ping, x of ours | >= {RIVAL_TIMES} | {times:.0f}"
        f" ({theirs:.0f} ms) | {verdict}"
    )


if __name__ == "__main__":
    main()
