"""A wall clock that jumps makes nothing stale, dead or late: intervals are monotonic."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from health.instances import Heartbeat, beat
from health.listener import fleet_liveness
from health.management.commands.watchdog import HttpWatch
from health.models import Instance
from health.places import machine_boot
from health.processes import identify, look_at
from health.slots import Role, Slot
from health.snapshots import read_snapshot, write_snapshot
from health.watchlog import WatchLog
from tests.health.test_snapshot import make_snapshot
from tests.server import free_port

JUMPS = [timedelta(days=1), timedelta(days=-365)]
pytestmark = pytest.mark.parametrize("by", JUMPS, ids=str)


@pytest.fixture(autouse=True)
def run_dir(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "run"
    settings.LOG_DIR = tmp_path / "logs"
    settings.RUN_DIR.mkdir()
    return settings.RUN_DIR


def test_a_snapshot_stays_as_fresh_as_it_is(time_machine, by):
    now = time.monotonic_ns()
    write_snapshot(make_snapshot(boot=machine_boot(), at_ns=now))

    time_machine.move_to(datetime.now(UTC) + by)

    assert read_snapshot() is not None
    write_snapshot(make_snapshot(boot=machine_boot(), at_ns=now - 16 * 10**9))
    assert read_snapshot() is None


def test_a_worker_that_ticks_stays_alive(time_machine, run_dir, by):
    slot = Slot(run_dir, Role.WEB)
    slot.tick()

    time_machine.move_to(datetime.now(UTC) + by)

    assert fleet_liveness(frozenset({"web"})).reason == ""


def test_the_watchdog_counts_questions_not_hours(time_machine, settings, by):
    settings.PORT = free_port()
    log = WatchLog(settings.LOG_DIR / "watchdog.log")
    watch = HttpWatch(log, strikes=3, mode="observe")
    watch.ask()
    time_machine.move_to(datetime.now(UTC) + by)

    watch.ask()

    lines = (settings.LOG_DIR / "watchdog.log").read_text().splitlines()
    assert [json.loads(line)["details"]["strikes"] for line in lines] == [1, 2]


def test_a_process_grows_no_older_and_no_younger(time_machine, by):
    before = look_at(identify()).up

    time_machine.move_to(datetime.now(UTC) + by)

    assert 0 <= look_at(identify()).up - before < 60


@pytest.mark.django_db(transaction=True)
def test_a_row_is_seen_again_by_the_next_heartbeat(time_machine, by):
    beat(Heartbeat("web", identify()))
    time_machine.move_to(datetime.now(UTC) + by)
    late = Instance.objects.unseen(timezone.now(), seconds=30).count()

    beat(Heartbeat("web", identify()))

    assert late == (by > timedelta(0))
    assert not Instance.objects.unseen(timezone.now(), seconds=30).exists()
    assert not Instance.objects.vanished(timezone.now()).exists()
