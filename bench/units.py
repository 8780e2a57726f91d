"""What a systemd unit's faults cost at their real times, under a real systemd.

Run with `python -m bench.units` as root; each line is `what | target | measured | ok or
missed`. An outage is counted from the fault to the next ready 200.
"""

import signal
import sys
import time

from tests.deploy.machine import HOME, Machine, why_not
from tests.server import wait_for

READY = "/api/health/ready"
WEB, WATCHDOG = "fortheweebs", "fortheweebs-watchdog"
UNITS = [WEB, "fortheweebs-worker", "fortheweebs-beat", WATCHDOG]


def report(what: str, target: float, measured: float) -> None:
    """Print one line."""
    verdict = "ok" if measured <= target else "missed"
    print(f"{what} | <= {target:.0f} s | {measured:.1f} s | {verdict}", flush=True)


def install(machine: Machine) -> None:
    """Install all units and wait until all of it serves."""
    machine.systemctl("start", "redis-server")
    files = [f"{HOME}/systemd/{unit}.service" for unit in UNITS]
    target = f"{HOME}/systemd/fortheweebs.target"
    machine.run("cp", *files, target, "/etc/systemd/system/")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "fortheweebs.target")
    machine.wait_for_status(READY, 200, 60)


def outage(machine: Machine, unit: str, number: signal.Signals) -> float:
    """Signal a unit's main process; return the seconds until another one serves."""
    time.sleep(12)  # the watchdog leaves a process alone that has just begun
    before = machine.main_pid(unit)
    began = time.monotonic()
    machine.kill(unit, number)
    wait_for(lambda: machine.main_pid(unit) not in {0, before}, 60, unit)
    wait_for(lambda: machine.show(unit, "ActiveState") == "active", 60, unit)
    machine.wait_for_status(READY, 200, 60)
    return time.monotonic() - began


def main() -> int:
    """Measure every fault once."""
    reason = why_not()
    if reason:
        print(f"units: {reason}")
        return 0
    with Machine() as machine:
        install(machine)
        kill, stop = signal.SIGKILL, signal.SIGSTOP
        report("master killed under systemd", 8, outage(machine, WEB, kill))
        report("watchdog killed under systemd", 8, outage(machine, WATCHDOG, kill))
        report("master hung under systemd", 16, outage(machine, WEB, stop))
        report("watchdog frozen under systemd", 40, outage(machine, WATCHDOG, stop))
    return 0


if __name__ == "__main__":
    sys.exit(main())
