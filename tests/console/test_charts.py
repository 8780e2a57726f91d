from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fortheweebs.charts import per_hour, spark

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
