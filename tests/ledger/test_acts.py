"""What an operator's act must say, the same for breakers, instances and what comes."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.acts import is_long, wrong_end, wrong_reason

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOURS = timedelta(hours=8)


@pytest.mark.parametrize(
    ("reason", "wrong"),
    [
        ("abcd", "must have 5 to 200 characters"),
        ("   abcd   ", "must have 5 to 200 characters"),
        ("abcde", ""),
        ("x" * 200, ""),
        ("x" * 201, "must have 5 to 200 characters"),
        ("two\nlines", "must be one line without control characters"),
        (" their status page is red \n", ""),
    ],
)
def test_a_reason_is_one_line_of_5_to_200_characters(reason, wrong):
    assert wrong_reason(reason) == wrong


@pytest.mark.parametrize(
    ("until", "wrong", "long"),
    [
        (NOW - timedelta(seconds=1), "must be in the future", False),
        (NOW, "must be in the future", False),
        (NOW + timedelta(seconds=1), "", False),
        (NOW + HOURS, "", False),
        (NOW + HOURS + timedelta(seconds=1), "", True),
        (None, "", True),
    ],
)
def test_an_end_lies_ahead_and_more_than_eight_hours_is_long(until, wrong, long):
    assert (wrong_end(until, NOW), is_long(until, NOW)) == (wrong, long)
