"""Calls in buckets of five minutes: added up by every process, shown in the console."""

from datetime import UTC, datetime

import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone

from breakers.models import BreakerState, BreakerTraffic
from breakers.services import get_breaker_row, list_breakers
from breakers.tally import KEPT, MOST_ROWS, Tally
from breakers.traffic import BUCKET, DAY, Calls, bucket_of, latest, series, unpack
from tests.server import wait_for

NOW = datetime(2026, 11, 24, 3, 42, tzinfo=UTC)
RUNNING = datetime(2026, 11, 24, 3, 40, tzinfo=UTC)


# -- Pure --------------------------------------------------------------------------
def test_a_bucket_begins_every_five_minutes():
    assert bucket_of(NOW) == RUNNING
    assert bucket_of(RUNNING) == RUNNING
    assert bucket_of(RUNNING + BUCKET) == RUNNING + BUCKET


def test_the_rate_is_that_of_the_last_complete_bucket_and_the_running_one():
    sums = {
        RUNNING - 2 * BUCKET: Calls(999, 9),
        RUNNING - BUCKET: Calls(50, 1),
        RUNNING: Calls(20, 2),
    }

    found = latest(sums, NOW)

    assert found == Calls(70, 3, 7.0)
    assert found.per_minute == 10
    assert latest({RUNNING - 2 * BUCKET: Calls(9, 9)}, NOW) is None


@pytest.mark.parametrize(
    ("calls", "minutes", "rate"),
    [(0, 7.0, 0), (3, 7.0, 0.4), (35, 7.0, 5), (2100, 5.0, 420), (101, 7.0, 14)],
)
def test_a_rate_is_whole_from_ten_on(calls, minutes, rate):
    assert Calls(calls, 0, minutes).per_minute == rate


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        (Calls(10, 8), "8 of 10"),
        (Calls(99, 0), "0 of 99"),
        (Calls(1000, 4), "0.4 %"),
        (Calls(100, 100), "100.0 %"),
        (Calls(0, 0), ""),
    ],
    ids=str,
)
def test_of_few_the_numbers_are_said_and_of_many_the_share(calls, said):
    assert calls.share == said


def test_a_series_has_gaps_where_there_is_no_sum_and_zeros_where_all_was_refused():
    first = RUNNING - DAY
    sums = {first: Calls(10, 5), first + BUCKET: Calls(0, 0), RUNNING: Calls(9, 9)}

    points = series(sums, now=NOW)

    assert points[:2] == [Calls(10, 5), Calls(0, 0)]
    assert points[2:] == [None] * 286


def test_wider_points_are_rates_of_what_there_is():
    first = RUNNING - DAY
    sums = {first: Calls(10, 5), first + 3 * BUCKET: Calls(25, 0)}

    points = series(sums, now=NOW, each=2 * BUCKET)

    assert (len(points), points[2]) == (144, None)
    assert [one.per_minute for one in points[:2]] == [2, 5]


@pytest.mark.parametrize("zone", ["", "+00", "+00:00"])
def test_sums_are_read_as_either_database_packs_them(zone):
    text = f"2026-11-24 03:40:00{zone}|7|2,2026-11-24 03:35:00{zone}|1|0"

    assert unpack(text) == {RUNNING: Calls(7, 2), RUNNING - BUCKET: Calls(1, 0)}
    assert unpack(None) == unpack("") == {}


# -- The table ---------------------------------------------------------------------
def rows():
    return sorted(BreakerTraffic.objects.values_list("name", "calls", "failed"))


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_what_two_processes_counted_is_added_up_in_one_statement_each(
    django_assert_num_queries,
):
    one, other = Tally(), Tally()
    other._cleaned = one._cleaned = bucket_of(timezone.now())
    for process in (one, other):
        process.count("openai", "success", 3)
        process.count("openai", "timeout", 2)
        process.count("stripe", "throttled", 1)

    with django_assert_num_queries(2):
        one.write()
        other.write()

    assert rows() == [("openai", 10, 4), ("stripe", 2, 0)]


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_a_breaker_that_only_refused_has_a_sum_of_no_calls():
    process = Tally()
    process.count("openai", "rejected", 7)

    process.write()

    assert rows() == [("openai", 0, 0)]


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_nothing_counted_asks_nothing_and_something_at_most_every_thirty_seconds(
    django_assert_num_queries,
):
    process = Tally()
    with django_assert_num_queries(0):
        process.write()
    process.count("openai", "success", 1)
    process.write()
    process.count("openai", "success", 1)

    with django_assert_num_queries(0):
        process.write()
    process.hurry()
    process.write()

    assert rows() == [("openai", 2, 0)]
    assert not process.waits


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_what_could_not_be_written_is_kept_and_written_once(caplog):
    process = Tally()
    process.count("openai", "failure", 3)
    before = transaction.savepoint()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE breakers_breakertraffic RENAME TO gone")

    process.write()
    transaction.set_rollback(False)
    transaction.savepoint_rollback(before)
    process.count("openai", "success", 1)
    process.hurry()
    process.write()

    assert "breakers_traffic_waits" in caplog.text
    assert rows() == [("openai", 4, 3)]


def test_what_no_chart_would_show_is_not_kept_for_a_database_that_is_away():
    process = Tally()
    with time_machine.travel(NOW, tick=False) as clock:
        process.count("openai", "success", 1)
        clock.shift(KEPT)
        process.count("openai", "success", 1)
        kept = len(process._counted)
        clock.shift(BUCKET)
        process.count("openai", "success", 1)

    assert (kept, len(process._counted)) == (2, 2)


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_rows_that_no_chart_shows_are_deleted_by_who_begins_a_bucket():
    process = Tally()
    oldest = bucket_of(timezone.now()) - KEPT
    for at in (oldest - BUCKET, oldest):
        BreakerTraffic.objects.create(name="old", at=at, calls=1, failed=0)
    process.count("openai", "success", 1)

    process.write()
    BreakerTraffic.objects.create(name="old", at=oldest - BUCKET, calls=2, failed=0)
    process.count("openai", "success", 1)
    process.hurry()
    process.write()

    assert rows() == [("old", 1, 0), ("old", 2, 0), ("openai", 2, 0)]


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_more_than_a_statement_holds_is_written_in_turns():
    process = Tally()
    for number in range(MOST_ROWS + 1):
        process.count(f"b{number}", "success", 1)

    process.write()
    first = BreakerTraffic.objects.count()
    process.hurry()
    process.write()

    assert (first, BreakerTraffic.objects.count()) == (MOST_ROWS, MOST_ROWS + 1)


@pytest.mark.usefixtures("_mid_bucket")
@pytest.mark.django_db
def test_sums_come_with_the_states_in_one_query(django_assert_num_queries):
    now = timezone.now()
    at = bucket_of(now) - BUCKET
    BreakerState.objects.create(name="opened", updated_at=now, version=3, trips=2)
    for name in ("opened", "stripe", "nobodys"):
        BreakerTraffic.objects.create(name=name, at=at, calls=7, failed=2)
    BreakerTraffic.objects.create(name="opened", at=at - DAY, calls=1, failed=1)

    with django_assert_num_queries(1):
        told = {one.name: one for one in list_breakers(traffic=True)}
    with django_assert_num_queries(1):
        alone = get_breaker_row("opened", traffic=True)

    assert told["opened"].traffic == told["stripe"].traffic == {at: Calls(7, 2)}
    assert (told["opened"].trips, told["stripe"].version) == (2, 0)
    assert told["opened"].updated_at == now
    assert "nobodys" not in told
    assert (alone.traffic, alone.trips) == ({at: Calls(7, 2)}, 2)
    assert get_breaker_row("opened").traffic == {}


# -- Real processes ----------------------------------------------------------------
def test_processes_that_end_write_what_they_counted(deployment):
    members = deployment.start(2)
    for member in members:
        member.do("good", 2)
        member.do("fail", 4)

    for member in members:
        deployment.end(member)

    # Each called once more to agree with the table.
    assert deployment.traffic() == (14, 8)


def test_a_child_writes_only_its_own_calls(deployment):
    parent = deployment.start()

    parent.ask("in_child", "OPEN", 4)
    parent.answer()
    wait_for(lambda: deployment.traffic() == (2, 0), 8, "both wrote")
    parent.answer()
    deployment.end(parent)

    assert deployment.traffic() == (2, 0)
