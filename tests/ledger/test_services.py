import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from structlog.contextvars import bound_contextvars

from ledger import services, spool
from ledger.models import Artifact
from ledger.services import ArtifactType, Source, emit, record, record_many

BASE = {"type": ArtifactType.RESTART, "source": Source.WATCHDOG}


@pytest.mark.django_db
def test_a_recorded_artifact_stores_its_body_and_its_hash():
    at = datetime(2026, 11, 24, 3, 12, 11, 402881, tzinfo=UTC)

    artifact = record(
        **BASE, subject="process:web-1/4711", actor="user:7", at=at, why="stuck"
    )

    stored = Artifact.objects.get(pk=artifact.pk)
    assert stored.is_intact()
    assert stored.fields == {
        "actor": "user:7",
        "at": "2026-11-24T03:12:11.402881Z",
        "details": {"why": "stuck"},
        "id": str(stored.event_id),
        "node": "test",
        "source": "watchdog",
        "subject": "process:web-1/4711",
        "type": "restart",
        "v": 1,
    }


@pytest.mark.django_db
def test_an_event_recorded_twice_is_stored_once_and_says_so():
    event = uuid.uuid4()

    first = record(**BASE, event_id=event, number=1)
    second = record(**BASE, event_id=event, number=2)

    assert (first.repeated, second.repeated) == (False, True)
    assert second.details == {"number": 1}
    assert Artifact.objects.count() == 1


@pytest.mark.django_db
def test_many_are_recorded_at_once():
    assert record_many({**BASE, "number": n} for n in range(100)) == 100

    assert [row.details["number"] for row in Artifact.objects.order_by("id")] == list(
        range(100)
    )
    assert all(row.is_intact() for row in Artifact.objects.all())


@pytest.mark.django_db(transaction=True)
def test_what_is_emitted_outlives_the_rollback_of_its_caller():
    with transaction.atomic():
        record(**BASE, how="recorded")
        emit(**BASE, how="emitted")
        transaction.set_rollback(True)

    spool.ship()

    assert [row.details["how"] for row in Artifact.objects.all()] == ["emitted"]


@pytest.mark.django_db
def test_an_event_emitted_by_every_process_is_stored_once():
    event = uuid.uuid5(uuid.NAMESPACE_URL, "breaker:openai/7/OPEN")

    for process in range(3):
        assert emit(**BASE, event_id=event, process=process) == event
    spool.ship()

    assert Artifact.objects.get().details == {"process": 0}
    assert spool.counts()["repeated"] >= 2


@pytest.mark.django_db
def test_the_request_id_comes_from_the_context_only():
    with bound_contextvars(request_id="5b1d0f7e"):
        artifact = record(**BASE)

    assert artifact.details == {"request_id": "5b1d0f7e"}
    with pytest.raises(ValueError, match=r"^details\.request_id: is set"):
        record(**BASE, request_id="forged")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"type": "explode"}, "type"),
        ({"source": "rumour"}, "source"),
        ({"subject": "bug:" + "1" * 80}, "subject"),
        ({"subject": "bug:1\x00"}, "subject"),
        ({"actor": "someone@example.org"}, "actor"),
        ({"actor": "Jane Doe"}, "actor"),
        ({"at": datetime(2026, 1, 1)}, "at"),  # noqa: DTZ001
        ({"load": float("nan")}, "details.load"),
        ({"deep": {"list": [1, {"n": 2**53}]}}, r"details\.deep\.list\[1\]\.n"),
        ({"text": "\ud800"}, "details.text"),
        ({"keys": {1: 2}}, "details.keys"),
        ({"when": datetime.now(UTC)}, "details.when"),
        ({"long": "x" * 65_536}, "details"),
    ],
)
def test_a_value_that_may_not_be_stored_is_refused_by_name(wrong, named):
    for verb in (services.record, services.emit):
        with pytest.raises(ValueError, match=f"^{named}: "):
            verb(**{**BASE, **wrong})


def test_whoever_acts_is_named_by_a_kind_and_a_number():
    person = User(pk=7, username="ann")
    loopback = SimpleNamespace(pk=None, actor="loopback")

    assert (services.actor_of(person), services.actor_of(loopback)) == (
        "user:7",
        "loopback",
    )
