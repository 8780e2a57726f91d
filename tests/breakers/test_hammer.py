"""Many processes and threads on one dependency that dies and returns twice."""

import json

import pytest

from tests.ledger.processes import make_site, migrated, new_database
from tests.nursery import nursery
from tests.services import start_redis

pytestmark = pytest.mark.xdist_group("fleet")


@pytest.fixture
def site(tmp_path):
    """A site with a Redis of its own: other tests' breakers are not in it."""
    found = make_site(tmp_path, new_database(tmp_path, migrated()))
    url, stop, _ = start_redis()
    found.env["REDIS_URL"] = url
    yield found
    stop()


def test_each_death_is_one_trip_and_one_reset_for_the_whole_fleet(site):
    words = ["-m", "tests.breakers.hammer", "12", "4", "8"]

    done = nursery().run(words, site.env)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["artifacts"] == ["breaker_trip", "breaker_reset"] * 2
    assert (told["late"], told["states"]) == (0, ["CLOSED"])
    assert told["verified"] is True
    assert told["counts"]["ok"] > 1000
