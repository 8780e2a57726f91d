"""A fleet on a real Redis: one trip, one trial, nothing lost, nobody waits."""

import os
import signal
import time

import pytest
import redis

from tests.breakers.members import Dependency, Members, all_open
from tests.server import wait_for
from tests.services import start_redis

pytestmark = pytest.mark.xdist_group("fleet")


@pytest.fixture(scope="module")
def server():
    url, stop, pid = start_redis()
    yield url, pid
    os.kill(pid, signal.SIGCONT)
    stop()


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server[0]) as found:
        found.flushall()
        yield found


@pytest.fixture
def members(server, client, tmp_path):
    with Members(server[0], tmp_path) as found:
        yield found


@pytest.fixture
def dependency(tmp_path):
    return Dependency(tmp_path)


def test_a_trip_is_seen_by_every_other_process_at_once(members, dependency):
    one, two, three = members.start(3, reset_timeout=60)
    dependency.die()
    for watcher in (two, three):
        watcher.ask("wait", ["OPEN"], 5)

    outcomes = one.do("calls", 6)
    tripped = time.time()
    seen = [watcher.answer() for watcher in (two, three)]

    assert outcomes == ["failed"] * 5 + ["refused"]
    assert [told["state"] for told in seen] == ["OPEN", "OPEN"]
    assert max(told["at"] for told in seen) - tripped < 2.0
    assert two.do("call") == "refused"
    assert dependency.reached == 5


def test_calls_cost_redis_nothing_and_an_idle_process_one_command_a_second(
    members, client, dependency
):
    (one,) = members.start(reset_timeout=60)
    dependency.die()
    one.do("calls", 5)
    wait_for(lambda: client.hexists("ftw:breakers:rows", "fleet"), 5, "published")
    client.config_resetstat()
    started = time.monotonic()

    one.do("calls", 5000)
    wait_for(lambda: time.monotonic() - started > 2.0, 5)
    told = client.info("commandstats")
    seconds = time.monotonic() - started

    assert told["cmdstat_eval"]["calls"] <= seconds + 1
    # What the one command does inside, and this test's own question.
    assert set(told) <= {
        "cmdstat_eval",
        "cmdstat_time",
        "cmdstat_hgetall",
        "cmdstat_info",
        "cmdstat_config|resetstat",
        # How the listener connects.
        "cmdstat_subscribe",
        "cmdstat_hello",
        "cmdstat_client|setinfo",
        "cmdstat_client|maint_notifications",
    }


def test_one_trial_reaches_a_dead_dependency_whoever_asks(members, dependency):
    three = members.start(3, reset_timeout=0.5)
    dependency.die()
    three[0].do("calls", 5)
    all_open(three)
    reached = dependency.reached

    for member in three:
        member.ask("hammer", 8, 1.5)
    told = [member.answer() for member in three]

    # The trial at 0.5 s fails, the next comes at 1.5 s, give or take a tenth.
    assert 1 <= dependency.reached - reached <= 3
    assert sum(one["ok"] for one in told) == 0
    assert max(one["p99"] for one in told) < 0.05


def test_three_good_trials_close_it_everywhere(members, dependency):
    three = members.start(3, reset_timeout=0.5)
    dependency.die()
    three[0].do("calls", 5)
    all_open(three)
    dependency.live()

    for member in three:
        member.ask("hammer", 2, 2)
    told = [member.answer() for member in three]

    assert [one["state"] for one in told] == ["CLOSED"] * 3
    assert len({one["version"] for one in told}) == 1
    assert min(one["ok"] for one in told) > 100


def test_a_killed_prober_costs_one_lease(members, dependency):
    prober, other = members.start(2, timeout=0.5, reset_timeout=0.5)
    dependency.die()
    prober.do("calls", 5)
    all_open([prober, other])
    dependency.live()
    told = ""
    deadline = time.monotonic() + 5
    while told != "hanging":
        assert time.monotonic() < deadline
        told = prober.do("hang")  # refused until the lease is granted

    prober.kill()
    killed = time.monotonic()
    wait_for(lambda: other.do("call") == "ok", 5, "the next trial")

    assert time.monotonic() - killed < 0.5 + 1.0 + 2.0


def test_a_cancelled_trial_is_given_back_at_once(members, dependency):
    canceller, other = members.start(2, timeout=3.0)
    dependency.die()
    canceller.do("calls", 5)
    all_open([canceller, other])
    dependency.live()
    wait_for(lambda: canceller.do("cancel"), 5, "a trial that is cancelled")

    cancelled = time.monotonic()
    wait_for(lambda: other.do("call") == "ok", 5, "the next trial")

    assert time.monotonic() - cancelled < 2.5


def test_flushall_while_open_changes_nothing_and_the_row_comes_back(
    members, client, dependency
):
    one, two = members.start(2, reset_timeout=60)
    dependency.die()
    one.do("calls", 5)
    all_open([one, two])

    client.flushall()
    wait_for(lambda: client.hexists("ftw:breakers:rows", "fleet"), 5, "put back")
    (late,) = members.start(reset_timeout=60)
    all_open([one, two, late])

    assert {member.do("call") for member in (one, two, late)} == {"refused"}


def test_a_forked_child_of_a_used_parent_learns(members, dependency):
    parent, other = members.start(2, reset_timeout=60)
    parent.do("call")
    parent.ask("in_child", ["OPEN"], 5)
    assert parent.answer() == "forked"
    dependency.die()

    other.do("calls", 5)
    told = parent.answer()

    assert told["state"] == "OPEN"


def test_with_a_hung_redis_calls_wait_for_nothing_and_it_still_trips_and_closes(
    server, members, dependency
):
    (one,) = members.start()
    os.kill(server[1], signal.SIGSTOP)
    try:
        well = one.do("slow_calls", 1)
        dependency.die()
        failed = one.do("calls", 6)
        dependency.live()
        closed = wait_for(lambda: one.do("call") == "ok" and _closed(one), 10)
    finally:
        os.kill(server[1], signal.SIGCONT)

    assert set(well) == {"slowest", "ok"}
    assert well["slowest"] < 0.1
    assert failed == ["failed"] * 5 + ["refused"]
    assert closed


def _closed(member):
    return member.do("state")["state"] == "CLOSED"


def test_without_any_redis_each_process_is_complete_alone(tmp_path, dependency):
    url = f"unix://{tmp_path}/nobody.sock"
    with Members(url, tmp_path) as members:
        (one,) = members.start()
        dependency.die()

        failed = one.do("calls", 6)
        dependency.live()
        wait_for(lambda: one.do("call") == "ok" and _closed(one), 10)

    assert failed == ["failed"] * 5 + ["refused"]


def test_an_override_reaches_every_process_and_ends_by_itself(members):
    one, two = members.start(2)
    two.ask("wait", ["FORCED_OPEN"], 5)

    said = one.do("override", "forced_open", 1.5)
    seen = two.answer()
    refused = two.do("call")
    ended = two.do("wait", ["CLOSED"], 5)

    assert (seen["state"], refused) == ("FORCED_OPEN", "refused")
    assert seen["at"] - said < 2.0
    assert 1.0 < ended["at"] - said < 3.0
    assert two.do("call") == "ok"


def test_a_dead_dependency_is_reached_by_few_calls_of_four_processes(
    members, dependency
):
    four = members.start(4, reset_timeout=60)
    dependency.die()

    for member in four:
        member.ask("hammer", 4, 1)
    told = [member.answer() for member in four]

    assert {one["state"] for one in told} == {"OPEN"}
    assert dependency.reached <= 17 + 16


def test_the_end_of_a_process_does_not_lose_what_it_just_learned(members, dependency):
    one, two = members.start(2, reset_timeout=60)
    dependency.die()

    one.do("calls", 5)
    one.process.stdin.close()
    one.process.wait(5)
    all_open([two])

    assert two.do("call") == "refused"
