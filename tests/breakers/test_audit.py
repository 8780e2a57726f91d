"""What the ledger is told: trips and closings, once each, without anything personal."""

from datetime import UTC, datetime, timedelta

import pytest

from breakers import CircuitBreaker, CircuitState, Transition, audit
from breakers.states import ENDED
from ledger import spool
from ledger.models import Artifact

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_alone")]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def told() -> list[Artifact]:
    spool.ship()
    return list(Artifact.objects.order_by("pk"))


def make(old: str, new: str, **changes) -> Transition:
    known = {"reason": "5 failures in a row", "at": NOW, "version": 3}
    return Transition(
        "audited", CircuitState(old), CircuitState(new), **(known | changes)
    )


@pytest.fixture
def _agreed():
    audit.agree("audited")
    yield
    audit._agreed.discard("audited")


def test_a_trip_says_on_what_grounds_and_no_message():
    breaker = CircuitBreaker("trips", failure_threshold=3)
    for _ in range(3):
        with pytest.raises(ValueError, match="ann@example"):
            breaker.execute(int, "ann@example.org")

    (artifact,) = told()

    assert (artifact.type, artifact.subject) == ("breaker_trip", "breaker:trips")
    assert artifact.fields["source"] == "circuit_breaker"
    assert artifact.actor == ""
    details = artifact.details
    assert (details["old"], details["new"]) == ("CLOSED", "OPEN")
    assert details["reason"] == "3 failures in a row"
    assert (details["failures"], details["calls"], details["version"]) == (3, 3, 1)
    assert details["first_error"] == "ValueError"
    assert 53 < float(details["open_for_s"]) < 67
    assert "ann" not in artifact.body


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("CLOSED", "OPEN", "breaker_trip"),
        ("HALF_OPEN", "CLOSED", "breaker_reset"),
        ("OPEN", "CLOSED", "breaker_reset"),
        ("CLOSED", "FORCED_OPEN", "override"),
        ("FORCED_OPEN", "CLOSED", "override"),
        ("OPEN", "HALF_OPEN", None),
        ("HALF_OPEN", "OPEN", None),
    ],
)
def test_what_is_worth_an_artifact(old, new, kind):
    audit.tell(make(old, new))

    assert [one.type for one in told()] == ([kind] if kind else [])


def test_what_was_made_elsewhere_or_ends_by_its_time_is_recorded_elsewhere():
    audit.tell(make("CLOSED", "OPEN", adopted=True))
    audit.tell(make("DISABLED", "CLOSED", reason="the override ended"))

    assert told() == []


def test_an_override_that_ends_by_its_time_says_so_in_its_reason():
    moves = []
    now = [0.0]
    circuit = CircuitBreaker("ends").circuit
    circuit._clock = lambda: now[0]
    circuit.set_override(circuit.override.DISABLED, seconds=1)
    now[0] = 2.0

    moves.append(circuit.tend())

    assert moves[0].reason == ENDED


@pytest.mark.usefixtures("_agreed")
def test_the_same_change_in_many_processes_is_one_artifact():
    for second in range(4):
        audit.tell(make("CLOSED", "OPEN", at=NOW + timedelta(seconds=20 * second)))

    assert len(told()) == 1


def test_a_process_that_never_saw_the_table_loses_no_trip_to_an_old_one():
    audit.agree("audited")
    audit.tell(make("CLOSED", "OPEN", version=1))
    audit._agreed.discard("audited")

    for day in (30, 60):
        audit.tell(make("CLOSED", "OPEN", version=1, at=NOW + timedelta(days=day)))

    assert len(told()) == 3
