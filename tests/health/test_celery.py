"""The slots and rows of the real worker and beat."""

import os
import signal
import sqlite3
import sys
import time

import psycopg
import pytest
import redis

from health.slots import Role, read_slots
from tests.server import Installation, wait_for

CELERY = (sys.executable, "-m", "celery", "-A", "tests.health.quick_beat")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
PARTS = {"worker": ("-c", "1", *QUIET, "-l", "INFO"), "beat": ("-l", "INFO")}


def start(site: Installation) -> None:
    """Start a worker and a beat where there are none, and wait for their slots."""
    for name in PARTS.keys() - site.parts.keys():
        site.start(name, name, *CELERY, name, *PARTS[name])
    roles = Role.POOL, Role.WORKER, Role.BEAT
    wait_for(lambda: readings(site, *roles, all_=True), 15, "worker and beat")


@pytest.fixture(scope="module")
def shared():
    with Installation() as site:
        yield site


@pytest.fixture
def celery_site(shared):
    start(shared)
    return shared


def readings(site, *roles: Role, all_: bool = False):
    found = {slot.role: slot for slot in read_slots(site.data / "run")}
    if all_:
        return found if set(roles) <= set(found) else None
    return found[roles[0]]


def test_main_pool_child_and_beat_tick_slots_of_their_own(celery_site):
    before = readings(celery_site, Role.WORKER, Role.POOL, Role.BEAT, all_=True)

    def ticked():
        now = readings(celery_site, *before, all_=True)
        return now and all(
            now[role].heartbeat_ns > before[role].heartbeat_ns for role in before
        )

    wait_for(ticked, 9, "ticks")
    assert before[Role.POOL].parent == celery_site.parts["worker"].pid
    assert before[Role.BEAT].identity.pid == celery_site.parts["beat"].pid


def test_a_frozen_main_stops_ticking(celery_site):
    pid = celery_site.parts["worker"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(
            lambda: readings(celery_site, Role.WORKER).age(time.monotonic_ns()) > 2, 6
        )
        pool = readings(celery_site, Role.POOL).age(time.monotonic_ns())
    finally:
        os.kill(pid, signal.SIGCONT)

    assert pool < 2
    wait_for(lambda: readings(celery_site, Role.WORKER).age(time.monotonic_ns()) < 2, 6)


def test_a_canary_flies_from_beat_to_the_worker_and_again_after_a_restart(celery_site):
    site = celery_site
    client = redis.Redis.from_url(site.environment["REDIS_URL"])
    first = wait_for(lambda: flights(client).get("ran"), 9, "the canary")

    # Beat keeps its schedule, with the canary's mark, in a file.
    site.stop("beat")
    start(site)
    wait_for(lambda: flights(client)["sent"] > first + 1.5, 9, "another")
    wait_for(lambda: set(flights(client)) == {"sent", "ran", "delay"}, 5, "its flight")
    client.close()

    assert "Traceback" not in site.output("beat") + site.output("worker")


def flights(client: redis.Redis) -> dict[str, float]:
    marks = client.hgetall("ftw:canary:celery")
    return {name.decode(): float(at) for name, at in marks.items()}


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_broker_that_is_away_stops_no_heartbeat(own_site, fault):
    site = own_site()
    start(site)
    roles = Role.WORKER, Role.BEAT
    worst = dict.fromkeys(roles, 0.0)

    os.kill(site.redis_pid, fault)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for role in roles:
            age = readings(site, role).age(time.monotonic_ns())
            worst[role] = max(worst[role], age)
        time.sleep(0.1)

    # This beat has something to send each second, as long as it goes round.
    assert worst[Role.WORKER] < 3
    assert worst[Role.BEAT] < 3


def test_worker_and_beat_keep_rows_and_take_them_away_at_the_end(celery_site):
    site = celery_site
    wait_for(lambda: rows(site) == "beat worker", 9, "rows")

    codes = [site.stop("worker"), site.stop("beat")]

    assert codes == [0, 0]
    assert rows(site) == ""
    assert list((site.data / "run").glob("*.slot")) == []


def rows(site) -> str:
    with sqlite3.connect(site.data / "db.sqlite3") as connection:
        found = connection.execute(
            "SELECT role FROM health_instance ORDER BY role"
        ).fetchall()
    connection.close()
    return " ".join(role for (role,) in found)


def test_a_replaced_pool_child_leaves_the_connections_of_main_alone():
    with Installation(postgres=True) as site:
        site.start("worker", "worker", *CELERY, "worker", *PARTS["worker"])
        wait_for(lambda: readings(site, Role.POOL, Role.WORKER, all_=True), 15)
        wait_for(lambda: "ready." in site.output("worker"), 10, "the worker")
        begun = readings(site, Role.POOL).heartbeat_ns
        # A child that dies while the pool begins ends the worker: that is Celery's.
        wait_for(lambda: readings(site, Role.POOL).heartbeat_ns > begun + 2e9, 6)
        wait_for(lambda: backends(site), 10, "the heartbeat's row")
        before, first = backends(site), readings(site, Role.POOL).identity.pid

        os.kill(first, signal.SIGKILL)

        wait_for(
            lambda: any(
                slot.role is Role.POOL and slot.identity.pid != first
                for slot in read_slots(site.data / "run")
            ),
            9,
            "another child",
        )
        assert before <= backends(site)


def backends(site) -> set[int]:
    """Return the server processes of the worker's connections."""
    with psycopg.connect(site.environment["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in rows}
