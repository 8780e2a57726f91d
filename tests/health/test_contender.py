"""When to take the lock and when to kill for it, without a server."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from health.places import machine_boot
from health.processes import identify
from health.slots import Role, Slot
from health.snapshots import load_snapshot, read_snapshot, write_snapshot
from health.takeover import Contender, SamplerLock, watchdog_is_fresh
from ledger import spool
from tests.health.test_snapshot import make_snapshot

SECOND = 1_000_000_000

HOLD = """
import fcntl, json, os, sys
from health.processes import identify
me = identify()
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
json.dump([me.pid, me.start_ticks], file); file.flush()
print("held", flush=True)
input()
"""


@pytest.fixture(autouse=True)
def run_dir(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "run"
    settings.RUN_DIR.mkdir()
    return settings.RUN_DIR


@pytest.fixture
def other(run_dir):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_dir / "sampler.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def make_age(seconds: float) -> int:
    """Write a snapshot and return the moment at which it is so old."""
    now_ns = time.monotonic_ns()
    write_snapshot(make_snapshot(boot=machine_boot(), at_ns=now_ns))
    return now_ns + int(seconds * SECOND)


def make_slot_of(process, run_dir, heartbeat_ns: int) -> None:
    """Write the slot that the other process would have."""
    slot = Slot(run_dir, Role.WATCHDOG)
    words = memoryview(bytearray(slot.path.read_bytes())).cast("Q")
    slot.close()
    identity = identify(process.pid)
    words[1], words[2], words[3] = identity.pid, identity.start_ticks, heartbeat_ns
    (run_dir / f"watchdog-{identity}.slot").write_bytes(words.tobytes())


@pytest.mark.parametrize(("age", "takes"), [(0, False), (5.9, False), (6.1, True)])
def test_a_free_lock_is_taken_when_the_snapshot_is_6_seconds_old(age, takes):
    contender = Contender(SamplerLock())

    assert contender.tick(make_age(age)) is takes


def test_without_any_snapshot_the_wait_begins_at_the_start():
    contender = Contender(SamplerLock())
    now = time.monotonic_ns()

    assert not contender.tick(now + 5 * SECOND)
    assert contender.tick(now + 6 * SECOND + SECOND // 2)


def test_only_one_gets_the_lock(other):
    assert not SamplerLock().take()


def test_a_released_lock_is_anybodys():
    first, second = SamplerLock(), SamplerLock()

    taken = [first.take(), second.take()]
    first.release()

    assert taken == [True, False]
    assert second.take()
    assert second.holder() == identify()


def ticks(contender, start_ns: int, *ages: float) -> None:
    """Tick as each second would, without a gap."""
    for age in ages:
        contender.tick(start_ns + int(age * SECOND))


def test_a_frozen_holder_is_killed_after_9_seconds(other, run_dir):
    now = make_age(0)
    make_slot_of(other, run_dir, now)
    contender = Contender(SamplerLock())

    ticks(contender, now, *range(1, 9))
    at_8 = other.poll()
    ticks(contender, now, 9.5)

    assert at_8 is None
    assert other.wait(5) == -signal.SIGKILL
    assert contender.tick(now + 10 * SECOND)
    assert spool.waiting_bytes() > 0


def test_a_holder_whose_own_slot_is_fresh_is_left_alone(other, run_dir):
    now = make_age(0)
    make_slot_of(other, run_dir, now + 8 * SECOND)
    contender = Contender(SamplerLock())

    ticks(contender, now, *range(1, 13))

    assert other.poll() is None


def test_a_holder_without_a_slot_is_left_alone(other):
    now = make_age(0)
    contender = Contender(SamplerLock())

    ticks(contender, now, *range(1, 15))

    assert other.poll() is None


def test_after_a_late_tick_nobody_is_killed_for_8_seconds(other, run_dir):
    now = make_age(0)
    make_slot_of(other, run_dir, now)
    contender = Contender(SamplerLock())

    ticks(contender, now, 1, *range(20, 28))
    during = other.poll()
    ticks(contender, now, 28.5)

    assert during is None
    assert other.wait(5) == -signal.SIGKILL


def test_a_process_that_is_not_the_one_in_the_lock_is_left_alone(other, run_dir):
    identity = identify(other.pid)
    now = make_age(0)
    make_slot_of(other, run_dir, now)
    changed = replace(identity, start_ticks=identity.start_ticks - 1)
    (run_dir / "sampler.lock").write_text(f"[{changed.pid},{changed.start_ticks}]")
    contender = Contender(SamplerLock())

    ticks(contender, now, *range(1, 15))

    assert other.poll() is None


def test_a_ticking_watchdog_gets_its_place_back(run_dir):
    before = watchdog_is_fresh(time.monotonic_ns())
    slot = Slot(run_dir, Role.WATCHDOG)

    now = time.monotonic_ns()

    assert not before
    assert watchdog_is_fresh(now)
    assert not watchdog_is_fresh(now + 3 * SECOND)
    slot.close()


def test_a_snapshot_is_believed_for_15_seconds():
    now_ns = time.monotonic_ns()
    write_snapshot(make_snapshot(boot=machine_boot(), at_ns=now_ns - 14 * SECOND))
    fresh = read_snapshot()
    write_snapshot(make_snapshot(boot=machine_boot(), at_ns=now_ns - 16 * SECOND))

    assert fresh is not None
    assert read_snapshot() is None
    assert load_snapshot() is not None


def test_a_new_snapshot_is_seen_at_once():
    for holder in range(50):
        write_snapshot(
            make_snapshot(boot=machine_boot(), at_ns=time.monotonic_ns(), holder=holder)
        )

        assert load_snapshot().holder == holder


def test_no_part_of_a_snapshot_is_left_behind(run_dir):
    make_age(0)

    assert [path.name for path in run_dir.iterdir()] == ["snapshot.json"]
