import os
import subprocess
import sys
import time

import pytest

from health.processes import Identity, identify, is_alive, is_ours, start_ticks
from health.pulse import Pulse
from health.slots import SIZE, Role, Slot, parse_slot, read_slots, sweep_slots


def make_slot_file(folder, identity: Identity, role: str = "web"):
    """A slot as another process would have left it."""
    slot = Slot(folder, Role[role.upper()])
    data = bytearray(slot.path.read_bytes())
    slot.close()
    words = memoryview(data).cast("Q")
    words[1] = identity.pid
    words[2] = identity.start_ticks
    path = folder / f"{role}-{identity}.slot"
    path.write_bytes(data)
    return path


@pytest.fixture
def dead():
    """The identity of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    identity = identify(process.pid)
    process.communicate(b"\n")
    return identity


def test_a_slot_says_what_its_process_does(tmp_path):
    slot = Slot(tmp_path, Role.WEB, limit=10, cap=2 << 30)

    slot.tick(in_flight=3, oldest_ns=5, rss=1 << 40)

    (reading,) = read_slots(tmp_path)
    assert reading.role is Role.WEB
    assert reading.identity == identify()
    assert reading.parent == os.getppid()
    assert (reading.in_flight, reading.limit) == (3, 10)
    assert (reading.oldest_ns, reading.rss) == (5, 1 << 40)
    assert reading.cap == 2 << 30
    assert reading.age(time.monotonic_ns()) < 5


def test_a_slot_has_64_bytes(tmp_path):
    assert Slot(tmp_path, Role.WEB).path.stat().st_size == SIZE == 64


def test_a_task_is_in_the_slot_until_it_ends(tmp_path):
    slot = Slot(tmp_path, Role.POOL)

    slot.begin_task("bugfixer.tasks.count_reports")
    slot.tick()
    (during,) = read_slots(tmp_path)
    slot.end_task()
    slot.tick()
    (afterwards,) = read_slots(tmp_path)

    assert during.task
    assert during.task_ns
    assert during.idle_age(time.monotonic_ns()) == 0
    assert not afterwards.task
    assert not afterwards.task_ns
    assert during.task_ns <= afterwards.idle_ns <= time.monotonic_ns()
    assert 0 < afterwards.idle_age(time.monotonic_ns()) < 5


def test_the_slot_of_a_dead_process_is_nobodys(tmp_path, dead):
    make_slot_file(tmp_path, dead)

    assert read_slots(tmp_path) == []


def test_a_reused_pid_is_another_process(tmp_path):
    me = identify()
    make_slot_file(tmp_path, Identity(me.pid, me.start_ticks - 1))

    assert read_slots(tmp_path) == []
    assert not is_alive(Identity(me.pid, me.start_ticks - 1))


@pytest.mark.parametrize("size", [0, 1, 63, 65])
def test_a_slot_that_is_not_64_bytes_is_no_slot(tmp_path, size):
    path = Slot(tmp_path, Role.WEB).path
    path.write_bytes((path.read_bytes() * 2)[:size])

    assert read_slots(tmp_path) == []


@pytest.mark.parametrize("data", [bytes(64), b"\xff" * 64, b"FTW1" + b"\xff" * 60])
def test_garbage_is_no_slot(data):
    assert parse_slot(data) is None


def test_a_slot_under_another_name_is_no_slot(tmp_path):
    path = Slot(tmp_path, Role.WEB).path
    path.rename(tmp_path / "web-1-1.slot")

    assert read_slots(tmp_path) == []


def test_sweeping_takes_the_dead_and_leaves_the_living(tmp_path, dead):
    Slot(tmp_path, Role.WATCHDOG)
    path = make_slot_file(tmp_path, dead)

    gone = sweep_slots(tmp_path)

    assert [reading.identity for reading in gone] == [dead]
    assert not path.exists()
    assert len(read_slots(tmp_path)) == 1


def test_a_zombie_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 5

    while start_ticks(process.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    process.wait()


def test_only_a_living_process_of_our_user_is_ours(dead):
    assert is_ours(identify())
    assert not is_ours(dead)


def test_a_pulse_counts_what_is_in_flight(settings, tmp_path):
    settings.RUN_DIR = tmp_path
    pulse = Pulse(Role.WEB, limit=10)

    key = pulse.begin()
    pulse.tick()
    (during,) = read_slots(tmp_path)
    pulse.end(key)
    pulse.tick()
    (afterwards,) = read_slots(tmp_path)

    assert during.in_flight == 1
    assert during.oldest_age(time.monotonic_ns()) < 5
    assert during.rss > 0
    assert (afterwards.in_flight, afterwards.oldest_ns) == (0, 0)
