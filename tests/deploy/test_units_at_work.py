"""The units under a real systemd: started, killed, frozen, and stopped again.

Waits are shortened by drop-ins; `bench` measures with the real ones.
"""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.deploy.machine import HOME, SYSTEMD, Machine, why_not
from tests.server import wait_for

pytestmark = pytest.mark.xdist_group("machine")
REST = ["fortheweebs-worker", "fortheweebs-beat", "fortheweebs-watchdog"]
UNITS = ["fortheweebs", *REST]
SOON = "[Service]\nRestartSec=1\n"
# Acting soon and as often as the tests want it; waiting no 30 s for a sign of life.
LIMITS = {"worker_frozen": 3, "master_stopped": 3, "grace": 1, "void": 1, "pause": 0}
FLAGS = " ".join(f"--limit {name}={value}" for name, value in LIMITS.items())
WATCHDOG = f"""{SOON}WatchdogSec=4
ExecStart=
ExecStart={HOME}/.venv/bin/python manage.py watchdog --mode enforce --limit most=99 {FLAGS}
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine on which the web server was installed alone, and then the rest."""
    reason = why_not()
    if reason:
        # apt brings systemd; root, namespaces and control groups it does not.
        if os.environ.get("REQUIRE_ALL") == "1" and not SYSTEMD.exists():
            pytest.fail(reason)
        pytest.skip(reason)
    shorter = dict.fromkeys([name.replace("-", "_") for name in UNITS], SOON)
    with Machine(**{**shorter, "fortheweebs_watchdog": WATCHDOG}) as one:
        one.systemctl("start", "redis-server")
        one.run("cp", f"{HOME}/systemd/fortheweebs.service", "/etc/systemd/system/")
        one.systemctl("daemon-reload")
        one.systemctl("enable", "fortheweebs")
        one.systemctl("start", "fortheweebs")
        one.wait_for_status("/api/health/live", 200, 10)
        files = [f"{HOME}/systemd/{name}.service" for name in REST]
        files.append(f"{HOME}/systemd/fortheweebs.target")
        one.run("cp", *files, "/etc/systemd/system/")
        one.systemctl("daemon-reload")
        one.systemctl("enable", "fortheweebs.target", *REST)
        yield one


@pytest.fixture(autouse=True)
def whole(machine: Machine) -> None:
    """Begin each test with every part at work."""
    machine.systemctl("start", "fortheweebs.target")
    machine.wait_for_status("/api/health/ready", 200, 30)
    wait_for(lambda: are_active(machine), 20, "every unit")
    wait_for(lambda: len(slots(machine)) >= 7, 20, "every process")


def are_active(machine: Machine) -> bool:
    return all(machine.show(unit, "ActiveState") == "active" for unit in UNITS)


def slots(machine: Machine) -> list[str]:
    return sorted(path.name for path in (machine.data / "run").glob("*.slot"))


def restarts(machine: Machine, unit: str, **wanted: str) -> list[dict]:
    """Return the details of the artifacts about the end of a unit."""
    file = f"file:{machine.data}/db.sqlite3?mode=ro"
    with closing(sqlite3.connect(file, uri=True)) as database:
        rows = database.execute("SELECT body FROM ledger_artifact ORDER BY id")
        found = [json.loads(body)["details"] for (body,) in rows]
    wanted["unit"] = unit
    return [one for one in found if wanted.items() <= one.items()]


def wait_for_artifact(machine: Machine, unit: str, since: int, **wanted: str) -> None:
    wait_for(
        lambda: len(restarts(machine, unit, **wanted)) > since, 10, f"{unit} {wanted}"
    )


def wait_for_another(machine: Machine, unit: str, before: int, seconds: float) -> None:
    """Wait until another process runs the unit."""
    wait_for(
        lambda: (
            machine.main_pid(unit) not in {0, before}
            and machine.show(unit, "ActiveState") == "active"
        ),
        seconds,
        unit,
    )


def test_the_original_lines_make_what_the_server_needs(machine):
    assert machine.show("fortheweebs", "UnitFileState") == "enabled"
    assert (machine.data / "secret_key").stat().st_mode & 0o777 == 0o600
    assert (machine.data / "db.sqlite3").stat().st_uid != 0
    assert "password" not in machine.said()


def test_all_four_units_serve_from_a_user_of_their_own(machine):
    machine.wait_for_status("/api/health/live", 200, 5, port=4001)

    pids = [pid for unit in UNITS for pid in machine.pids(unit)]
    (user,) = {Path(f"/proc/{pid}").stat().st_uid for pid in pids}

    assert user != 0
    assert (machine.base / "var/log/private/fortheweebs/watchdog.log").exists()


def test_a_killed_master_is_back_and_its_end_is_told(machine):
    before = machine.main_pid("fortheweebs")

    machine.kill("fortheweebs")
    began = time.monotonic()
    wait_for_another(machine, "fortheweebs", before, 8)
    machine.wait_for_status("/api/health/ready", 200, 8)

    assert time.monotonic() - began <= 8
    # Another test may have killed it within the minute: then it was told there.
    wait_for_artifact(machine, "fortheweebs", 0, exit_status="KILL")


def test_a_killed_watchdog_is_back(machine):
    before = machine.main_pid("fortheweebs-watchdog")

    machine.kill("fortheweebs-watchdog")

    wait_for_another(machine, "fortheweebs-watchdog", before, 8)
    machine.wait_for_status("/api/health/ready", 200, 10)


def test_a_frozen_watchdog_is_missed_by_systemd(machine):
    told = len(restarts(machine, "fortheweebs-watchdog", result="watchdog"))
    before = machine.main_pid("fortheweebs-watchdog")
    wait_for(lambda: machine.show("fortheweebs-watchdog", "WatchdogTimestamp"), 5)

    machine.kill("fortheweebs-watchdog", signal.SIGSTOP)

    wait_for_another(machine, "fortheweebs-watchdog", before, 15)
    wait_for_artifact(machine, "fortheweebs-watchdog", told, result="watchdog")


def test_confined_as_it_is_the_watchdog_ends_a_frozen_worker(machine):
    master = machine.master("fortheweebs")
    frozen = next(pid for pid in machine.pids("fortheweebs") if pid != master)

    os.kill(frozen, signal.SIGSTOP)

    wait_for(lambda: frozen not in machine.pids("fortheweebs"), 15, "its end")
    assert machine.master("fortheweebs") == master


def test_the_watchdog_sees_the_control_socket_of_the_web_server(machine):
    def socket_of(unit: str) -> str:
        root = f"/proc/{machine.main_pid(unit)}/root"
        script = f"stat -c %i {root}/tmp/ftw-*/gunicorn.ctl"
        return machine.run("sh", "-c", script, check=False).strip()

    assert socket_of("fortheweebs").isdigit()
    assert socket_of("fortheweebs-watchdog") == socket_of("fortheweebs")
    assert socket_of("fortheweebs-beat") != socket_of("fortheweebs")


def test_a_hung_master_is_ended_and_started_again(machine):
    before = machine.main_pid("fortheweebs")

    machine.kill("fortheweebs", signal.SIGSTOP)

    wait_for_another(machine, "fortheweebs", before, 16)


def test_a_unit_that_cannot_start_is_tried_for_ever_and_told_once(machine):
    folder = machine.base / "etc/systemd/system/fortheweebs-beat.service.d"
    broken = folder / "zz-broken.conf"
    broken.write_text("[Service]\nRestartSec=0.1\nExecStart=\nExecStart=/bin/false\n")
    told = len(restarts(machine, "fortheweebs-beat"))

    try:
        machine.systemctl("daemon-reload")
        machine.run("systemctl", "restart", "fortheweebs-beat", check=False)
        wait_for(lambda: int(machine.show("fortheweebs-beat", "NRestarts")) > 10, 10)
        wait_for_artifact(machine, "fortheweebs-beat", told, exit_status="1")
    finally:
        broken.unlink()
        machine.systemctl("daemon-reload")
    machine.systemctl("restart", "fortheweebs-beat")

    assert len(restarts(machine, "fortheweebs-beat")) == told + 1


def no_slot_of_the_dead(machine: Machine) -> bool:
    alive = set(machine.run("ls", "/proc").split())
    return all(name.split("-")[1] in alive for name in slots(machine))


def test_stopping_leaves_nothing(machine):
    # What an earlier test killed is swept by the watchdog, every two seconds.
    wait_for(lambda: no_slot_of_the_dead(machine), 15, "the dead are swept")

    machine.systemctl("stop", *UNITS, "fortheweebs.target")

    assert [pid for unit in UNITS for pid in machine.pids(unit)] == []
    assert slots(machine) == []
    assert [path.name for path in (machine.data / "run").glob("*.ended")] == []
    assert "fortheweebs" not in machine.run("ls", "/tmp", "/run/credentials")
    for unit in UNITS:
        assert machine.show(unit, "Result") == "success"
