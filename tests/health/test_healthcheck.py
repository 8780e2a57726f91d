"""The exec probe, run as Kubernetes runs it, on slots of real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from health import healthcheck
from health.processes import Identity, identify
from health.slots import MAGIC, SIZE, Role, Slot
from tests.health.test_slots import make_slot_file
from tests.server import wait_for

ROOT = Path(__file__).resolve().parents[2]
TICKING = """
import sys, time
from pathlib import Path
from health.slots import Role, Slot
slot = Slot(Path(sys.argv[1]), Role[sys.argv[2]])
while True:
    slot.tick()
    time.sleep(0.05)
"""


def probe(
    *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the probe as the manifests do."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "health/healthcheck.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **(environ or {})},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def ticking(tmp_path):
    """Start processes that tick a slot of a role; end them afterwards."""
    made = []

    def start(role: str):
        process = subprocess.Popen(
            [sys.executable, "-c", TICKING, str(tmp_path), role.upper()], cwd=ROOT
        )
        made.append(process)
        wait_for(lambda: list(tmp_path.glob(f"{role}-{process.pid}-*.slot")), 5)
        return process

    yield start
    for process in made:
        process.kill()
        process.wait()


@pytest.mark.parametrize("role", ["web", "worker", "beat"])
def test_a_ticking_process_lives(tmp_path, ticking, role):
    ticking(role)

    done = probe("--role", role, "--run-dir", str(tmp_path))

    assert done.returncode == 0
    assert done.stdout.startswith(f"A {role} process ticked ")


def test_a_stopped_process_does_not_live_until_it_goes_on(tmp_path, ticking):
    process = ticking("web")
    ask = ("--run-dir", str(tmp_path), "--stale", "0.6")

    process.send_signal(signal.SIGSTOP)
    frozen = wait_for(
        lambda: (done := probe(*ask)).returncode == 1 and done, 5, "a stale heartbeat"
    )
    process.send_signal(signal.SIGCONT)
    again = wait_for(
        lambda: (done := probe(*ask)).returncode == 0 and done, 5, "a fresh heartbeat"
    )

    assert frozen.stdout.startswith("The youngest of 1 web heartbeats is ")
    assert again.stdout.startswith("A web process ticked ")


def test_one_frozen_worker_of_two_is_the_watchdogs_work(tmp_path, ticking):
    frozen, _ = ticking("web"), ticking("web")
    frozen.send_signal(signal.SIGSTOP)

    time.sleep(0.3)  # older than the limit below, were it the only one
    done = probe("--run-dir", str(tmp_path), "--stale", "0.3")

    assert done.returncode == 0, done.stdout


def test_the_slot_of_a_killed_process_is_nobodys(tmp_path, ticking):
    process = ticking("web")

    process.kill()
    process.wait()
    done = probe("--run-dir", str(tmp_path))

    assert len(list(tmp_path.glob("*.slot"))) == 1
    assert done.returncode == 1
    assert "not started yet" in done.stdout


def test_another_role_does_not_stand_in(tmp_path, ticking):
    ticking("worker")

    done = probe("--role", "beat", "--run-dir", str(tmp_path))

    assert done.returncode == 1
    assert done.stdout.startswith("No beat process has a slot")


def test_without_a_slot_it_is_not_started_yet(tmp_path):
    assert probe("--run-dir", str(tmp_path)).returncode == 1


def test_a_missing_folder_is_a_failure_that_names_it(tmp_path):
    done = probe("--run-dir", str(tmp_path / "none"))

    assert done.returncode == 1
    assert "none cannot be read: No such file" in done.stdout


def test_the_folder_comes_from_data_dir(tmp_path):
    (tmp_path / "run").mkdir()
    Slot(tmp_path / "run", Role.WEB).tick()

    done = probe(environ={"DATA_DIR": str(tmp_path)})

    assert done.returncode == 0, done.stdout


def test_a_reused_pid_is_another_process(tmp_path):
    me = identify()
    make_slot_file(tmp_path, Identity(me.pid, me.start_ticks - 1))

    assert probe("--run-dir", str(tmp_path)).returncode == 1


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE + 1])
def test_a_slot_of_another_size_is_no_slot(tmp_path, size):
    path = Slot(tmp_path, Role.WEB).path
    path.write_bytes((path.read_bytes() * 2)[:size])

    assert probe("--run-dir", str(tmp_path)).returncode == 1


def test_a_slot_under_another_name_is_no_slot(tmp_path):
    path = Slot(tmp_path, Role.WEB).path
    path.rename(tmp_path / "web-1-1.slot")

    assert probe("--run-dir", str(tmp_path)).returncode == 1


def test_a_heartbeat_of_the_future_is_of_another_boot(tmp_path):
    slot = Slot(tmp_path, Role.WEB)
    slot._words[3] = time.monotonic_ns() + 60_000_000_000

    assert probe("--run-dir", str(tmp_path)).returncode == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_believed(tmp_path):
    slot = Slot(tmp_path, Role.WEB)
    os.chown(slot.path, 12345, 12345)

    assert probe("--run-dir", str(tmp_path)).returncode == 1


def test_links_and_pipes_are_no_slots_and_hold_nothing_up(tmp_path):
    slot = Slot(tmp_path, Role.WEB)
    kept = tmp_path / "kept"
    slot.path.rename(kept)
    slot.path.symlink_to(kept)
    os.mkfifo(tmp_path / "web-2-2.slot")

    done = probe("--run-dir", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--role", "pool"), "--role: pool is not one of web, worker, beat"),
        (("--stale", "0"), "--stale: write seconds"),
        (("--stale", "nan"), "--stale: write seconds"),
        (("--stale",), "--stale: not understood"),
        (("--port", "1"), "--port: not understood"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    done = probe(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(said)


def test_it_loads_nothing_that_costs():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "health/healthcheck.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"os", "struct", "time"} & loaded
    assert not {"argparse", "pathlib", "re", "enum", "site", "django"} & loaded


def test_its_format_is_that_of_the_slots(tmp_path):
    slot = Slot(tmp_path, Role.BEAT)

    assert (healthcheck.SIZE, healthcheck.MAGIC) == (SIZE, MAGIC)
    assert {
        role.word: role for role in (Role.WEB, Role.WORKER, Role.BEAT)
    } == healthcheck.ROLES
    assert healthcheck.read_heartbeat(str(slot.path), "beat") == slot.heartbeat_ns
