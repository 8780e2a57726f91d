"""The database away, hung, back again: calls never notice, nothing is lost."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.breakers.keepers import Deployment
from tests.breakers.members import Member
from tests.server import Installation, wait_for

TRIP, RESET = ["breaker_trip", "OPEN"], ["breaker_reset", "CLOSED"]
# A wait on a hung database ends after this; the next look comes two seconds later.
SECONDS = '{"DATABASE_WAIT": 0.5, "RETRY": 0.5, "EVERY": 0.2}'
# Far below any wait on a database, far above a busy machine's hiccup.
AT_ONCE = 0.4


@pytest.fixture(scope="module")
def server() -> Iterator[Installation]:
    with Installation(postgres=True) as made:
        yield made


@pytest.fixture
def deploy(server: Installation, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Make a deployment on a PostgreSQL that can be stopped."""
    made: list[Deployment] = []

    def make(**environ: str) -> Deployment:
        name = f"outage_{secrets.token_hex(4)}"
        url = server.environment["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            template = connection.info.dbname
        with psycopg.connect(
            url.replace(f"/{template}?", "/template1?"), autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        own = url.replace(f"/{template}?", f"/{name}?")
        made.append(Deployment(tmp_path, own, SECONDS=SECONDS, **environ))
        return made[-1]

    yield make
    server.resume_services()
    for one in made:
        one.close()


def told_by(deployment: Deployment, *artifacts: list[str]) -> None:
    """Wait until the ledger holds exactly these."""
    wait_for(lambda: deployment.artifacts() == [*artifacts], 9, f"{artifacts}")


def goes_on(member: Member) -> None:
    """Assert that a breaker opens, tries and closes, and that no call waits."""
    assert member.do("calls_for", 1.0)["slowest"] < AT_ONCE
    assert member.do("fail") == ["failed"] * 5
    assert member.do("good") == ["refused"]
    wait_for(lambda: member.do("state")["remaining"] == 0.0, 3, "its time is over")
    assert member.do("good", 3) == ["ok"] * 3
    assert member.do("state")["state"] == "CLOSED"


def test_with_a_hung_database_breakers_open_try_and_close_and_tell_it_later(
    server, deploy
):
    deployment = deploy()
    member = deployment.start(reset_timeout=0.3)
    server.stop_postgres()

    goes_on(member)
    server.resume_services()

    assert deployment.wait_for_row(5, version=2)["state"] == "CLOSED"
    told_by(deployment, TRIP, RESET)


def test_what_was_called_meanwhile_is_in_the_chart_once(server, deploy):
    deployment = deploy()
    member = deployment.start()
    server.stop_postgres()

    told = member.do("calls_for", 1.5)
    failed = len(member.do("fail", 3))
    server.resume_services()

    # One more to agree with the table before.
    every = told["ok"] + failed + 1
    wait_for(lambda: deployment.traffic() == (every, failed), 9, "the sums")


def test_a_database_that_is_away_from_the_start_is_told_when_it_comes(server, deploy):
    deployment = deploy()
    server.stop_postgres()
    member = deployment.start(agree=False)

    assert member.do("calls_for", 0.5)["slowest"] < AT_ONCE
    member.do("fail")
    assert member.do("state")["state"] == "OPEN"
    server.resume_services()

    row = deployment.wait_for_row(5, state="OPEN")
    assert (row["trips"], row["version"]) == (1, 1)
    told_by(deployment, TRIP)


def test_a_trip_before_the_first_look_is_not_taken_for_an_old_one(server, deploy):
    deployment = deploy()
    past = deployment.start(reset_timeout=0.05)
    past.do("fail")
    wait_for(lambda: past.do("state")["remaining"] == 0.0, 3, "its time is over")
    past.do("good", 3)
    deployment.wait_for_row(version=2, state="CLOSED")
    deployment.end(past)
    told_by(deployment, TRIP, RESET)
    server.stop_postgres()

    member = deployment.start(agree=False)
    member.do("fail")
    server.resume_services()

    assert deployment.wait_for_row(5, state="OPEN")["version"] == 3
    assert member.do("agreed")
    assert member.do("state")["version"] == 3
    told_by(deployment, TRIP, RESET, TRIP)


def test_a_process_killed_while_the_database_hangs_has_been_heard(server, deploy):
    deployment = deploy()
    member = deployment.start()
    server.stop_postgres()

    member.do("fail")
    member.kill()
    server.resume_services()

    told_by(deployment, TRIP)


def test_what_a_killed_process_told_by_redis_is_written_by_who_heard_it(server, deploy):
    deployment = deploy(REDIS_URL=server.environment["REDIS_URL"])
    one, other = deployment.start(2)
    server.stop_postgres()

    one.do("fail")
    assert other.do("wait", "OPEN", 3)["state"] == "OPEN"
    one.kill()
    server.resume_services()

    assert deployment.wait_for_row(6, state="OPEN")["version"] == 1
    told_by(deployment, TRIP)


def test_a_process_ends_in_time_while_the_database_hangs(server, deploy):
    deployment = deploy()
    member = deployment.start()
    server.stop_postgres()
    member.do("fail")

    deployment.end(member)

    server.resume_services()
    told_by(deployment, TRIP)
