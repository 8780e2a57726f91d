"""A wall clock that jumps, by a day ahead or a year back, disturbs no order."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import sequencer, services, spool, upkeep
from ledger.models import Anchor, Artifact
from ledger.state import last_verify, state
from tests.ledger.ledgers import anchored_lines, found, make_ledger

pytestmark = pytest.mark.django_db
RESTART = {"type": "restart", "source": "watchdog"}
JUMPS = [timedelta(days=1), timedelta(days=-365)]


def jump(time_machine, by: timedelta) -> datetime:
    """Let the wall clock jump and stand still there."""
    there = datetime.now(UTC).replace(microsecond=123456) + by
    time_machine.move_to(there, tick=False)
    return there


@pytest.mark.parametrize("by", JUMPS, ids=str)
def test_places_follow_the_order_of_insertion_whatever_the_clock_says(time_machine, by):
    services.record(**RESTART, number=0)
    there = jump(time_machine, by)
    services.record(**RESTART, number=1)
    with spool.held():
        services.emit(**RESTART, number=2)
        spool.ship()

    sequencer.sequence_all()

    rows = list(Artifact.objects.with_sequence().order_by("leaf__sequence"))
    assert [row.details["number"] for row in rows] == [0, 1, 2]
    assert [row.at for row in rows[1:]] == [there, there]
    assert found() == (None, "whole")


@pytest.mark.parametrize("by", JUMPS, ids=str)
def test_silence_is_anchored_at_once_when_the_clock_has_jumped(
    time_machine, settings, by
):
    make_ledger(3)
    jump(time_machine, by)

    sequencer.sequence()
    sequencer.sequence()

    assert Anchor.objects.count() == 2
    assert len(anchored_lines(settings.ANCHORS_FILE)) == 2
    assert found() == (None, "whole")


@pytest.mark.parametrize("by", JUMPS, ids=str)
def test_what_waits_is_never_older_than_nothing(time_machine, by):
    services.record(**RESTART)
    jump(time_machine, by)

    assert state().oldest_pending_seconds == pytest.approx(
        max(by.total_seconds(), 0.0), abs=5
    )


def test_a_full_look_from_the_future_is_no_reason_to_wait(time_machine):
    make_ledger(3)
    now = datetime.now(UTC)
    time_machine.move_to(now + timedelta(days=30), tick=False)
    upkeep.verify_ledger()
    time_machine.move_to(now, tick=False)

    due = upkeep.is_full_due()
    upkeep.verify_ledger(full=True)

    assert due
    assert not upkeep.is_full_due()
    assert last_verify().at == now
