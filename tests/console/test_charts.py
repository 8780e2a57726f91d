import re
from datetime import UTC, datetime, timedelta
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from breakers.traffic import Calls
from fortheweebs.charts import per_hour, spark, trace

NOW = datetime(2026, 11, 24, 3, 41, tzinfo=UTC)


def test_a_zero_is_one_unit_high_and_the_largest_fills_the_height():
    chart = spark([0, 5, 10])

    assert [bar.height for bar in chart.bars] == [1, 8, 15]
    assert [bar.x for bar in chart.bars] == [0, 4, 8]
    assert (chart.width, chart.total) == (12, 15)


def test_only_counts_that_reach_the_mark_are_loud():
    chart = spark([1, 4, 5], loud_from=4)

    assert [bar.loud for bar in chart.bars] == [False, True, True]
    assert not any(bar.loud for bar in spark([9, 9]).bars)


@given(st.lists(st.integers(0, 10**9), max_size=96))
def test_no_bar_leaves_the_view_box(values):
    chart = spark(values)

    for bar in chart.bars:
        assert 1 <= bar.height <= chart.height
        assert bar.y + bar.height == chart.height


def test_moments_are_counted_by_the_hour_and_those_outside_are_not():
    hour = timedelta(hours=1)
    moments = [NOW, NOW - hour * 0.5, NOW - hour * 23.9, NOW - hour * 24, NOW + hour]

    counts = per_hour(moments, now=NOW, hours=24)

    assert (counts[-1], counts[0], sum(counts)) == (2, 1, 3)


def rates(*calls):
    return [None if one is None else Calls(*one, 1.0) for one in calls]


def test_a_series_stops_where_nothing_is_known_and_starts_again():
    drawn = trace(rates((4, 0), None, None, (2, 0), (0, 0)), width=10, top=1, base=9)

    assert drawn.line == "M0 1.0L1 1.0H2M6 5.0L7 5.0L9 9.0H10"
    assert drawn.gaps == "M2 9H6"
    assert drawn.area == ""


def test_what_failed_is_an_area_on_the_scale_of_all():
    drawn = trace(rates((4, 2), (4, 0)), width=4, top=1, base=9)

    assert drawn.area == "M0 5.0L1 5.0L3 9.0H4V9H0Z"


def test_nothing_known_is_one_gap():
    drawn = trace(rates(None, None), width=4, top=1, base=9)

    assert (drawn.line, drawn.gaps, drawn.area) == ("", "M0 9H4", "")


@given(
    st.lists(st.none() | st.tuples(st.integers(0, 10**6), st.just(0)), max_size=50),
)
def test_no_line_leaves_the_view_box(calls):
    drawn = trace(rates(*calls), width=100, top=1, base=18)

    numbers = re.findall(r"[ML][\d.]+ ([\d.]+)", drawn.line)
    assert all(1 <= float(number) <= 18 for number in numbers)
    assert drawn.line.count("M") + drawn.gaps.count("M") == len(
        list(groupby(calls, key=lambda one: one is None))
    )
