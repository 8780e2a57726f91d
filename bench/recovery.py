"""Every failure that the system heals or tells of, produced at its real times.

`python -m bench.recovery [--seconds 600] [row ...]`: each line is `what | target |
measured | ok or missed`. Every installation is what `make run` starts, on PostgreSQL,
under four closed loops that read the database and two tasks a second. Without rows all
of them run side by side in several installations: first the quick ones, then the
outages and the flapper, which last ``--seconds``.
"""

import argparse
import os
import signal
import subprocess
import sys
import traceback

from bench import recovery_long as lengthy
from bench import recovery_rows as rows
from bench.recovery_site import Site, end_with_parent, say
from tests.server import ROOT

ROWS = {
    "worker-killed": rows.worker_killed,
    "worker-drained": rows.worker_drained,
    "worker-frozen": rows.worker_frozen,
    "two-watchdogs": rows.two_watchdogs,
    "master-killed": rows.master_killed,
    "master-frozen": rows.master_frozen,
    "worker-stuck": rows.worker_stuck,
    "watchdog-killed": rows.watchdog_killed,
    "worker-leak": rows.worker_leak,
    "ledger-broken": lengthy.ledger_broken,
    "disk-full": lengthy.disk_full,
    "main-frozen": rows.main_frozen,
    "child-frozen": rows.child_frozen,
    "beat-killed": rows.beat_killed,
    "beat-frozen": rows.beat_frozen,
    "database-hung": lengthy.database_hung,
    "redis-hung": lengthy.redis_hung,
    "flapper": lengthy.flapper,
    "child-stuck": rows.child_stuck,
    "consumer-deaf": rows.consumer_deaf,
}
# An instance is acted on three times in 5 minutes, so the rows of one lane, which share
# an installation, act no more often than that.
QUICK = [
    "worker-killed worker-drained worker-frozen two-watchdogs master-killed master-frozen",
    "worker-stuck watchdog-killed",
    "worker-leak ledger-broken disk-full",
    "main-frozen child-frozen beat-killed beat-frozen",
]
LONG = ["database-hung", "redis-hung", "flapper", "child-stuck consumer-deaf"]


def run_lane(names: list[str], seconds: float) -> None:
    """Run rows one after the other in one installation."""
    if "disk-full" in names and os.geteuid():
        print("disk-full: only root can make a small disk; skipped", flush=True)
        names = [name for name in names if name != "disk-full"]
    with Site(small_disk="disk-full" in names) as site:
        site.outage = seconds
        for name in names:
            try:
                site.settle()
                ROWS[name](site)
            except Exception as error:  # noqa: BLE001 - the other rows are to be seen too
                traceback.print_exc()
                say(name, "runs", f"{type(error).__name__}: {error}"[:200], ok=False)
        # What Redis had handed to a frozen main goes with it; a sweep makes up for it.
        site.stream.report(", ".join(names), most=int("main-frozen" in names))


def run_lanes(lanes: list[str], seconds: float) -> None:
    """Run lanes side by side, each in a process of its own."""
    command = [sys.executable, "-m", "bench.recovery", f"--seconds={seconds}"]
    processes = [
        subprocess.Popen(
            [*command, *lane.split()],
            cwd=ROOT,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - only calls prctl
        )
        for lane in lanes
    ]
    try:
        for lane, process in zip(lanes, processes, strict=True):
            if code := process.wait():
                say(lane, "ends", f"it ended with {code}", ok=False)
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()


def main() -> int:
    """Run the rows that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--soak", action="store_true", help="as the other benches")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.rows:
        run_lane(options.rows, options.seconds)
        return 0
    for lanes in (QUICK, LONG):
        print("load average {:.1f} {:.1f} {:.1f}".format(*os.getloadavg()), flush=True)
        run_lanes(lanes, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
