"""The breakers over HTTP: who sees, who acts, and what is refused by name."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from breakers.models import BreakerState
from ledger.models import Artifact
from tests.breakers.test_services import make_open, make_row

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_alone")]
KEYS = [
    *("name", "state", "reason", "failures", "threshold", "openUntil", "override"),
    *("version", "trips", "lastError", "openedAt", "updatedAt"),
]


def ahead(**time: float) -> str:
    return (timezone.now() + timedelta(**time)).isoformat()


def force_open(client: Any, name: str = "openai", **changes: Any) -> Any:
    body = {
        "mode": "forced_open",
        "reason": "their status page is red",
        "expiresAt": ahead(hours=1),
    }
    path = f"/api/breakers/{name}/override"
    headers = changes.pop("headers", {})
    content = json.dumps(body | changes)  # lone surrogates and 1e999 too
    return client.post(path, content, content_type="application/json", headers=headers)


def reset(client: Any, name: str = "openai", **body: Any) -> Any:
    body = {"reason": "key was renewed"} | body
    return client.post(f"/api/breakers/{name}/reset", body, format="json")


def test_a_viewer_sees_them_all(client_of):
    make_open("stripe")

    answer = client_of("viewer").get("/api/breakers").json()

    assert answer["count"] == 4
    assert [row["name"] for row in answer["breakers"]] == [
        *("coinbase", "openai", "stripe", "supabase")
    ]
    assert all(list(row) == KEYS for row in answer["breakers"])


def test_an_open_breaker_says_since_when_until_when_and_why(client_of):
    row = make_open("stripe", seconds=30)

    told = client_of("viewer").get("/api/breakers/stripe").json()

    assert (told["state"], told["reason"]) == ("OPEN", "5 failures in a row")
    assert (told["trips"], told["version"], told["threshold"]) == (1, 1, 5)
    assert datetime.fromisoformat(told["openUntil"]) == row.open_until
    assert datetime.fromisoformat(told["openedAt"]) == row.opened_at
    assert told["lastError"] == "ConnectError"
    assert told["override"] == {"mode": "auto", "reason": "", "by": "", "until": None}


def test_an_operator_overrides_and_the_answer_shows_it(client_of):
    client = client_of("operator")

    answer = force_open(client)

    told = answer.json()
    assert (answer.status_code, told["state"], told["version"]) == (
        *(200, "FORCED_OPEN"),
        1,
    )
    assert told["override"]["mode"] == "forced_open"
    assert told["override"]["by"] == f"user:{User.objects.get().pk}"
    assert client.get("/api/breakers/openai").json() == told


def test_auto_undoes_an_override(client_of):
    client = client_of("operator")
    force_open(client)

    answer = client.post(
        "/api/breakers/openai/override",
        {"mode": "auto", "reason": "they are back", "version": 1},
        format="json",
    )

    assert (answer.status_code, answer.json()["state"]) == (200, "CLOSED")
    assert [row.details["after"] for row in Artifact.objects.order_by("pk")] == [
        *("forced_open", "auto")
    ]


def test_an_operator_resets(client_of):
    make_open("openai")

    answer = reset(client_of("operator"), version=1)

    assert (answer.status_code, answer.json()["state"]) == (200, "CLOSED")
    assert Artifact.objects.get().type == "breaker_reset"


@pytest.mark.parametrize("role", ["viewer", "support"])
def test_who_only_looks_does_not_act(client_of, role):
    client = client_of(role)

    assert [force_open(client).status_code, reset(client).status_code] == [403, 403]
    assert not BreakerState.objects.exists()


@override_settings(LOCAL_OPERATOR=True)
def test_a_direct_local_caller_is_an_operator_named_loopback(client):
    answer = client.post(
        "/api/breakers/openai/reset",
        {"reason": "trying it out"},
        content_type="application/json",
        HTTP_HOST="localhost:3001",
    )

    assert answer.status_code == 200
    assert Artifact.objects.get().actor == "loopback"


@pytest.mark.parametrize(
    ("changes", "status", "field", "limit"),
    [
        ({"mode": "closed"}, 400, "mode", "valid choice"),
        ({"mode": "\ud800"}, 400, "mode", "valid choice"),
        ({"mode": ["auto"]}, 400, "mode", "valid choice"),
        ({"mode": None}, 400, "mode", "null"),
        ({"mode": "auto"}, 400, "expiresAt", "no end"),
        ({"reason": "why"}, 400, "reason", "5"),
        ({"reason": "x" * 201}, 400, "reason", "200"),
        ({"reason": "two\nlines"}, 400, "reason", "one line"),
        ({"reason": "nul\0byte"}, 400, "reason", "ull"),
        ({"expiresAt": "tomorrow"}, 400, "expiresAt", "format"),
        ({"expiresAt": "0001-01-01T00:00:00+14:00"}, 400, "expiresAt", ""),
        ({"expiresAt": ahead(hours=-1)}, 400, "expiresAt", "future"),
        ({"expiresAt": ahead(hours=9)}, 403, "expiresAt", "8 hours"),
        ({"expiresAt": None}, 403, "expiresAt", "8 hours"),
        ({"version": -1}, 400, "version", "0"),
        ({"version": 1.5}, 400, "version", "integer"),
        ({"forever": True}, 400, "forever", "known are"),
    ],
)
def test_a_bad_act_is_refused_by_field_and_limit(
    client_of, changes, status, field, limit
):
    answer = force_open(client_of("operator"), **changes)

    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [row["field"] for row in body["errors"]] == [field]
    assert limit in body["error"]
    assert not Artifact.objects.exists()


def test_an_admin_may_go_without_an_end(client_of):
    answer = force_open(client_of("admin"), expiresAt=None)

    assert (answer.status_code, answer.json()["override"]["until"]) == (200, None)


def test_an_act_for_an_older_version_is_a_conflict_that_says_the_new_state(client_of):
    client = client_of("operator")
    force_open(client)

    late = [reset(client, version=0), force_open(client, version=0)]

    assert [answer.status_code for answer in late] == [409, 409]
    assert "FORCED_OPEN at version 1" in late[0].json()["error"]
    assert Artifact.objects.count() == 1


@pytest.mark.parametrize("name", ["nobody", "Open AI", "%00", "x" * 300, "é", "-1"])
def test_an_unknown_name_is_not_found_whatever_it_is(client_of, name):
    client = client_of("operator")

    answers = [
        client.get(f"/api/breakers/{name}"),
        force_open(client, name),
        reset(client, name),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert "openai" in answers[0].json()["error"]


def test_the_same_key_acts_once(client_of):
    client = client_of("operator")

    answers = [force_open(client, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    too_long = force_open(client, headers={"Idempotency-Key": "x" * 65})

    assert [answer.json()["version"] for answer in answers] == [1, 1]
    assert Artifact.objects.count() == 1
    assert (too_long.status_code, "64" in too_long.json()["error"]) == (400, True)


def test_looking_costs_one_query(client_of, django_assert_num_queries):
    client = client_of("viewer")
    for number in range(20):
        make_row(f"b{number}")

    with django_assert_num_queries(1):
        client.get("/api/breakers")
    with django_assert_num_queries(1):
        client.get("/api/breakers/b3")


def test_acting_costs_few_queries(client_of, django_assert_max_num_queries):
    client = client_of("operator")
    make_row("openai")
    force_open(client)  # reads the user's rights

    with django_assert_max_num_queries(6):
        reset(client)
