"""Canaries: marks in Redis, what the check says of them, what /metrics shows."""

import time

import pytest
import redis

from fortheweebs.celery import app
from health import canaries
from health.canary import Sight, begins_to_wait, canary_is_late, sender_is_silent
from health.dependencies import Canary, Finding
from health.metrics import queue_families
from health.snapshot import State
from health.tasks import canary
from tests.server import free_port
from tests.services import start_redis

KEY = canaries.PREFIX + "celery"


@pytest.fixture
def marks():
    client = canaries.connect()
    yield client
    client.close()


def make_sight(**ages: float | None) -> Sight:
    return Sight(**{"queue": "celery", "at_ns": 0, "depth": 0, **ages})


def make_marks(client: redis.Redis, **ages: float) -> None:
    seconds, _ = client.time()
    client.hset(KEY, mapping={name: seconds - age for name, age in ages.items()})


def see(client: redis.Redis) -> Sight:
    return canaries.look(client, ["celery"])[0]


@pytest.mark.parametrize(
    ("sent", "waiting", "ran", "late"),
    [
        (5, None, 1, False),  # the last one was taken
        (5, 65, 90, False),  # three periods, not more
        (5, 65, 91, True),
        (5, 60, 40_000, False),  # sent again a minute ago, after a night off
        (5, 3600, None, False),  # no worker was ever seen
        (3600, 3600, 3600, False),  # nobody sends
        (None, None, 20, False),
        (None, None, None, False),
    ],
)
def test_late_is_sent_and_none_taken_for_three_periods(sent, waiting, ran, late):
    sight = make_sight(sent=sent, waiting=waiting, ran=ran)

    assert canary_is_late(sight) is late


@pytest.mark.parametrize(
    ("sent", "watched", "silent"),
    [(91, 91, True), (91, 90, False), (90, 500, False), (None, 500, False)],
)
def test_a_sender_is_silent_only_to_one_who_watched(sent, watched, silent):
    sight = make_sight(sent=sent, ran=100)

    assert sender_is_silent(sight, watched=watched) is silent


@pytest.mark.parametrize(
    ("sent", "waiting", "begins"),
    [(None, None, True), (30, None, True), (30, 60, False), (91, 3600, True)],
)
def test_waiting_begins_with_the_first_canary_and_again_after_a_pause(
    sent, waiting, begins
):
    assert begins_to_wait(sent=sent, waiting=waiting) is begins


def test_a_canary_waits_from_the_first_sending_until_it_is_taken(marks):
    first = canaries.note_sent("celery")
    canaries.note_sent("celery")
    waiting = marks.hget(KEY, "waiting")
    canary("celery", first)

    assert float(waiting) == pytest.approx(first)
    seen = see(marks)
    assert seen.waiting is None
    assert 0 <= seen.delay < 5
    assert seen.ran < 5


def test_a_canary_from_before_a_night_off_does_not_wait_since_then(marks):
    make_marks(marks, sent=40_000, waiting=40_000, ran=40_030)

    before = see(marks)
    canaries.note_sent("celery")

    assert not canary_is_late(before)
    assert see(marks).waiting < 5


def test_the_depth_is_what_waits_in_the_queue(marks):
    marks.rpush("celery", *"abc")

    assert see(marks).depth == 3


def test_the_check_passes_while_no_worker_was_ever_seen(marks):
    make_marks(marks, sent=5, waiting=500)

    assert Canary().check() == Finding()


def test_the_check_names_the_queue_nobody_listens_to(marks):
    make_marks(marks, sent=5, waiting=120, ran=125)

    found = Canary().check()

    assert found.state is State.WARN
    assert found.error.startswith("queue celery: no worker took anything for 12")


def test_the_check_names_a_silent_beat_once_it_has_watched_long_enough(marks):
    make_marks(marks, sent=120, ran=119)
    check = Canary()

    first = check.check()
    check._began -= 91
    then = check.check()

    assert first == Finding()
    assert then.error.startswith("queue celery: beat sent nothing for 12")


def test_without_redis_the_check_says_what_it_said_before(settings):
    settings.REDIS_URL, stop, _ = start_redis()
    with canaries.connect() as client:
        make_marks(client, sent=5, waiting=120, ran=125)
    check = Canary()
    before = check.check()

    stop()
    after = check.check()

    assert before.state is State.WARN
    assert after == before


def test_without_redis_from_the_start_nothing_is_said(settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"

    assert Canary().check() == Finding()


def values(*sights: Sight, after: float) -> dict[str, float]:
    now_ns = int(after * 1e9)
    return {
        sample.name: sample.value
        for family in queue_families(sights, now_ns)
        for sample in family.samples
    }


def test_the_age_goes_on_growing_while_redis_is_away_and_the_depth_is_left_out():
    sight = make_sight(ran=10, delay=0.2)

    assert values(sight, after=5) == {
        "ftw_celery_canary_age_seconds": 15,
        "ftw_celery_canary_delay_seconds": 0.2,
        "ftw_queue_depth": 0,
    }
    assert values(sight, after=300) == {
        "ftw_celery_canary_age_seconds": 310,
        "ftw_celery_canary_delay_seconds": 0.2,
    }


def test_a_queue_whose_canaries_nobody_ever_took_is_as_old_as_the_first():
    assert values(make_sight(sent=3, waiting=93), after=1) == {
        "ftw_celery_canary_age_seconds": 94,
        "ftw_queue_depth": 0,
    }


def test_a_queue_that_no_canary_was_sent_through_has_a_depth_and_no_age():
    assert values(make_sight(), after=1) == {"ftw_queue_depth": 0}


def test_every_queue_has_an_entry_that_marks_its_canary_when_it_is_sent(
    settings, marks
):
    entries = {
        name: entry
        for name, entry in app.conf.beat_schedule.items()
        if name.startswith("canary-")
    }
    queue, mark = entries["canary-celery"]["args"]

    at = mark()

    assert {entry["options"]["queue"] for entry in entries.values()} == set(
        settings.QUEUES
    )
    assert queue == "celery"
    assert float(marks.hget(KEY, "sent")) == pytest.approx(at)
    assert abs(at - time.time()) < 60
