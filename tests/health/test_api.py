"""The staff routes: summary and history."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from ledger.models import Artifact
from ledger.services import record
from tests.health.test_holds import make_instance

pytestmark = pytest.mark.django_db


@pytest.fixture
def client():
    user = User.objects.create_user("staff", is_staff=True)
    client = APIClient()
    client.force_authenticate(user)
    return client


def make_change(check: str, kind: str = "degrade", **details):
    said = {"from": "pass", "to": "fail", "reason": "no answer", **details}
    return record(type=kind, source="readiness", subject=f"check:{check}", **said)


def test_the_history_lists_the_changes_of_the_checks_oldest_first(client):
    make_change("db")
    record(type="degrade", source="readiness", subject="probe:ready")
    make_change("db", "recover", **{"from": "fail", "to": "pass"})
    make_change("cache")

    found = client.get("/api/health/history").json()
    of_db = client.get("/api/health/history?check=db").json()

    assert [row["check"] for row in found["history"]] == ["db", "db", "cache"]
    assert [row["type"] for row in of_db["history"]] == ["degrade", "recover"]
    assert of_db["history"][0]["reason"] == "no answer"
    assert of_db["history"][0]["from"] == "pass"


def test_the_history_begins_where_it_is_asked_to(client):
    make_change("db")
    later = make_change("db", "recover").timestamp

    found = client.get("/api/health/history", {"since": later}).json()

    assert [row["type"] for row in found["history"]] == ["recover"]


def test_the_history_keeps_the_newest_within_the_limit(client):
    for _ in range(3):
        make_change("db")
    make_change("cache")

    found = client.get("/api/health/history?limit=2").json()

    assert [row["check"] for row in found["history"]] == ["db", "cache"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("chek=db", "chek"),
        ("since=yesterday", "since"),
        ("since=2999-01-01T00:00:00Z", "since"),
        ("check=DB%27", "check"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
    ],
)
def test_the_history_names_what_it_does_not_understand(client, query, field):
    reply = client.get(f"/api/health/history?{query}")

    assert reply.status_code == 400
    assert reply["Content-Type"] == "application/problem+json"
    assert [row["field"] for row in reply.json()["errors"]] == [field]


def test_the_history_takes_one_query(client, django_assert_num_queries):
    for _ in range(5):
        make_change("db")

    with django_assert_num_queries(1):
        client.get("/api/health/history")


def test_the_summary_has_the_documented_shape(client):
    for _ in range(7):
        make_change("db")

    reply = client.get("/api/health/health")

    body = reply.json()
    assert reply.status_code == 503  # nobody samples here
    assert body["status"] == "unhealthy"
    assert body["liveness"] == "/api/health/live"
    assert body["artifacts"]["count"] == 7
    assert len(body["artifacts"]["recent"]) == 5
    assert body["artifacts"]["endpoint"] == "/api/health/artifacts"
    assert {"rss", "limit"} <= set(body["memory"])
    assert set(body["lastChecks"]) >= {"db", "cache", "queue"}
    assert len(body["artifacts"]["recent"][0]["hash"]) == 64


def test_a_running_instance_is_operational(site):
    reply = site.get("/api/health/health")

    assert reply.status == 200
    assert reply.json["status"] in {"operational", "degraded"}


@pytest.mark.parametrize("path", ["health", "history", "metrics"])
def test_strangers_are_refused(path):
    assert APIClient().get(f"/api/health/{path}").status_code in {401, 403}


def test_the_console_lists_the_instances_and_changes_nothing(client):
    user = User.objects.create_superuser("root")
    make_instance(
        "web-1",
        ready=False,
        detail={"rss": 412 << 20, "slots": 2, "fresh": 1, "reasons": ["db fails"]},
    )
    client = APIClient()
    client.force_login(user)

    page = client.get("/admin/health/instance/").content.decode()
    added = client.get("/admin/health/instance/add/")

    for text in ("web-1", "db fails", "412", "1 of 2", " s ago"):
        assert text in page
    assert added.status_code == 403
    assert not Artifact.objects.exists()
