"""The form of an answer: documented routes have one, our own refuse others."""

import datetime as dt

import pytest
from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

pytestmark = pytest.mark.django_db
DOCUMENTED = [
    "/api/health/live",
    "/api/health/health",
    "/api/health/artifacts",
    "/api/bug-fixer/list",
    "/api/bug-fixer/health",
]


@pytest.fixture
def staff() -> Client:
    user = User.objects.create_user("ann", is_staff=True, is_superuser=True)
    _, token = AuthToken.objects.create(user, dt.timedelta(days=1))
    return Client(headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("path", DOCUMENTED)
def test_a_documented_route_answers_in_json_whatever_form_is_asked_for(staff, path):
    for accept in ("application/xml", "image/*", "text/html;q=0.9, */nonsense"):
        answer = staff.get(f"{path}?format=xml", headers={"Accept": accept})

        assert answer.status_code in {200, 503}, (accept, answer.content)
        assert answer["Content-Type"] == "application/json"
        assert answer.json()


def test_a_refusal_of_a_documented_route_is_json_whatever_form_is_asked_for():
    answer = Client().get("/api/bug-fixer/list", headers={"Accept": "text/csv"})

    assert (answer.status_code, answer["Content-Type"]) == (401, "application/json")


def test_our_own_routes_refuse_a_form_and_a_parameter_they_do_not_know(staff):
    form = staff.get("/api/ledger/artifacts", headers={"Accept": "text/csv"})
    parameter = staff.get("/api/ledger/artifacts?format=xml")

    assert form.status_code == 406
    assert parameter.status_code == 400
    assert "format" in parameter.json()["error"]
