"""A task is in the broker at every moment until it is done."""

import os
import signal
import sys
import time
from contextlib import closing

import pytest
import redis
from celery import Celery

from tests.server import Installation, wait_for

CELERY = (sys.executable, "-m", "celery", "-A", "tests.health.quick_broker", "worker")
QUIET = ("-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")


@pytest.fixture(scope="module")
def site():
    with Installation() as running:
        yield running


@pytest.fixture(scope="module")
def broker(site):
    with closing(redis.Redis.from_url(site.environment["REDIS_URL"])) as client:
        yield client


@pytest.fixture
def worker(site, broker):
    """A worker that takes tasks."""
    part = site.start("worker", "worker", *CELERY, *QUIET)
    send(site, "begun")
    wait_for(lambda: broker.getdel("begun"), 12, "the worker")
    yield part
    if "worker" in site.parts:
        site.stop("worker")


def send(site: Installation, key: str) -> None:
    url = site.environment["REDIS_URL"].replace("unix://", "redis+socket://")
    with Celery(broker=url, set_as_current=False) as app:
        app.send_task("tests.mark", [key])


def waits_for_a_task(broker: redis.Redis) -> bool:
    """Tell whether a worker stands in the server's queue for the next task."""
    return any(int(one["flags"].find("b") >= 0) for one in broker.client_list())


def test_a_task_that_was_handed_to_a_frozen_worker_is_done_by_the_next(
    site, broker, worker
):
    wait_for(lambda: waits_for_a_task(broker), 5, "a worker that waits")
    os.kill(worker.pid, signal.SIGSTOP)
    send(site, "kept")
    assert broker.llen("celery") == 0

    os.kill(worker.pid, signal.SIGKILL)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(3)
    site.start("worker", "worker", *CELERY, *QUIET)

    wait_for(lambda: broker.get("kept"), 12, "the task")


def test_what_was_done_is_kept_nowhere(site, broker, worker):
    for _ in range(20):
        send(site, "many")

    wait_for(lambda: int(broker.get("many") or 0) == 20, 8, "every task")
    wait_for(lambda: broker.hlen("unacked") == 0, 3, "every acknowledgement")
    time.sleep(1.5)  # what was kept would come again
    assert int(broker.get("many")) == 20
    assert broker.keys("celery*") == []
