"""The watchdog's hands on a real Celery worker and beat, in one installation."""

import os
import signal
import sys
import time
from typing import Any

import pytest
import redis
from celery import Celery

from health import canaries
from health.slots import Role, SlotReading, read_slots
from tests.health.test_acting import flags, outcome_of, told_of
from tests.server import Installation, wait_for

LIMITS = {
    "main_frozen": 4,
    "beat_late": 4,
    "child_stuck": 1,
    "deaf": 5,
    "terminate": 2,
    "pause": 0,
    "most": 99,
}
CELERY = (sys.executable, "-m", "celery", "-A", "tests.health.stuck_tasks")
WORKER = ("-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")


@pytest.fixture(scope="module")
def watched():
    """A watchdog that knows the limits of the tests' own tasks."""
    with Installation() as site:
        manage = (sys.executable, "-m", "tests.health.stuck_tasks", "watchdog")
        site.start("watchdog", "watchdog", *manage, *flags(**LIMITS))
        yield site


@pytest.fixture
def site(watched):
    """A worker and a beat that live, as a supervisor would keep them."""
    for name, words in (("worker", WORKER), ("beat", ())):
        part = watched.parts.get(name)
        if part is None or part.poll() is not None:
            watched.start(name, name, *CELERY, name, *words)
    for role in (Role.WORKER, Role.POOL, Role.BEAT):
        wait_for(lambda role=role: ticking(watched, role), 30, role.word)
    return watched


def slot_of(site: Installation, role: Role) -> SlotReading | None:
    return next((s for s in read_slots(site.data / "run") if s.role is role), None)


def ticking(site: Installation, role: Role) -> bool:
    slot = slot_of(site, role)
    return slot is not None and slot.age(time.monotonic_ns()) < 2


def broker(site: Installation) -> Celery:
    """Return a client of the installation's broker."""
    url = site.environment["REDIS_URL"].replace("unix://", "redis+socket://")
    return Celery(broker=url, set_as_current=False)


def send(
    site: Installation, task: str, sign: str, count: int = 1, **options: Any
) -> None:
    """Send a task, or several at once, and wait until the child is at the first."""
    (site.data / sign).unlink(missing_ok=True)
    with broker(site) as client:
        for _ in range(count):
            client.send_task(task, **options)
    wait_for((site.data / sign).exists, 6, task)


def test_a_worker_that_ticks_and_takes_nothing_is_restarted(site):
    worker = site.parts["worker"]

    with broker(site) as client:
        client.control.cancel_consumer("celery")

    worker.wait(20)
    outcome = outcome_of(site, worker.pid)
    assert outcome["rule"] == "main_deaf"
    assert outcome["queue"] == "celery"
    assert outcome["signals"][0] == "SIGTERM"
    assert outcome["unseen_ms"] > 3000  # of three periods two, if it never took any
    assert "Thread" in outcome["dump"]


def test_a_worker_behind_a_long_queue_is_not_deaf(site):
    worker = site.parts["worker"]
    send(site, "tests.nap", "napping", 2)

    with redis.Redis.from_url(site.environment["REDIS_URL"]) as client:
        wait_for(lambda: silence(client) > 7, 15, "a canary that waits its turn")

    assert worker.poll() is None
    assert told_of(site, worker.pid, "intent", "refused") == []


def silence(client: redis.Redis) -> float:
    """Return for how long no canary was taken."""
    (sight,) = canaries.look(client, ["celery"])
    return (sight.at_ns - sight.silent_ns) / 1e9


def test_a_frozen_celery_main_is_killed_for_its_supervisor(site):
    main = site.parts["worker"]

    os.kill(main.pid, signal.SIGSTOP)

    assert main.wait(9) == -signal.SIGKILL
    assert outcome_of(site, main.pid)["rule"] == "main_frozen"


def test_a_pool_child_stuck_beyond_its_limit_is_killed_where_main_does_not(site):
    child = slot_of(site, Role.POOL).identity
    # Whoever sends it tells main another limit than the task's own.
    send(site, "tests.hang", "hanging", time_limit=3600)

    outcome = outcome_of(site, child.pid)

    assert outcome["rule"] == "child_stuck"
    assert "in hang" in outcome["dump"]


def test_a_worker_that_finishes_its_task_before_it_stops_is_left_to_it(site):
    worker, ages = site.parts["worker"], []
    send(site, "tests.nap", "napping")

    began = time.monotonic()
    worker.terminate()
    while worker.poll() is None:
        slot = slot_of(site, Role.WORKER)
        ages += [slot.age(time.monotonic_ns())] if slot else []
        time.sleep(0.1)

    assert worker.returncode == 0
    assert time.monotonic() - began > 2
    # Whichever of its steps Celery stops first, the slot ticks or is gone.
    assert max(ages, default=0) < 3
    assert told_of(site, worker.pid, "intent", "refused") == []


def test_a_hung_beat_is_killed_for_its_supervisor(site):
    beat = site.parts["beat"]

    os.kill(beat.pid, signal.SIGSTOP)

    assert beat.wait(9) == -signal.SIGKILL
    (intent,) = told_of(site, beat.pid, "intent")
    outcome = outcome_of(site, beat.pid)
    assert outcome["rule"] == "beat_late"
    assert outcome["heartbeat_age_ms"] > 4000
    assert outcome["intent"] == intent["id"]
    assert outcome["result"] == "gone"
