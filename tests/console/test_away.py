"""The database is away: designed answers, at once, and without it.

No test here may touch the database: that none is marked for it is the proof.
"""

import pytest
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from fortheweebs import urls as project
from health.viewer import COOKIE, sign_view

SAY = "The database does not answer; try again."
PAGES = ["/admin/", "/admin/login/", "/admin/health/instance/", "/", "/nope"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_status_at_once(client, snapshot, page):
    snapshot(db="fail")

    answer = client.get(page)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert b"Failing since" in answer.content
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_login_that_is_sent_then_is_answered_too(client, snapshot):
    snapshot(db="fail")

    answer = client.post("/admin/login/", {"username": "a", "password": "b"})

    assert answer.status_code == 503


def test_a_documented_route_answers_in_its_shape(client, snapshot):
    snapshot(db="fail")

    listed = client.get("/api/bug-fixer/list")
    artifacts = client.get("/api/health/artifacts")

    assert listed.status_code == artifacts.status_code == 503
    assert artifacts.json() == {"error": SAY}
    assert listed.json()["error"] == SAY


def test_a_report_is_told_that_it_did_not_succeed(client, snapshot):
    snapshot(db="fail")

    answer = client.post(
        "/api/bug-fixer/report", {"errorMessage": "x"}, content_type="application/json"
    )

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json() == {"success": False, "error": SAY}


def test_a_route_of_our_own_answers_with_a_problem(client, snapshot):
    snapshot(db="fail")

    answer = client.get("/api/ledger/checkpoint")

    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 503
    assert answer.json()["error"] == answer.json()["detail"] == SAY


def test_an_unknown_path_of_the_api_answers_in_the_documented_shape(client, snapshot):
    snapshot(db="fail")

    assert client.get("/api/nothing").json() == {"error": SAY}


@pytest.mark.parametrize("name", ["live", "ready", "startup"])
def test_the_probes_go_on_answering(client, snapshot, name):
    snapshot(db="fail")

    answer = client.get(f"/api/health/{name}")

    assert answer.headers["Content-Type"] == "application/json"
    assert SAY not in answer.content.decode()


def test_the_status_goes_on_answering_200(client, snapshot):
    snapshot(db="fail")

    assert client.get("/status").status_code == 200


def test_staff_see_why_and_a_stranger_does_not(client, snapshot):
    snapshot(db="fail")

    stranger = client.get("/admin/").content.decode()
    client.cookies[COOKIE] = sign_view(user=1, groups=["viewer"])
    staff = client.get("/admin/").content.decode()

    assert "db did not answer in 2.0 s" not in stranger
    assert "db did not answer in 2.0 s" in staff


def test_nothing_is_refused_while_another_dependency_fails(client, snapshot):
    snapshot(cache="fail")

    answer = client.get("/nope")

    assert answer.status_code == 404


def raiser(error):
    def view(request):
        raise error

    return view


class Broken:
    """A middleware that fails outside every view, as a session store does."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path.startswith("/outside"):
            raise OperationalError("server closed the connection")
        return self.get_response(request)


urlpatterns = [
    path("page", raiser(OperationalError("gone"))),
    path("interface", raiser(InterfaceError("connection already closed"))),
    path("api/json", raiser(OperationalError("gone"))),
    path("ours", raiser(ZeroDivisionError("our mistake"))),
    path("well", lambda request: HttpResponse("well")),
]
handler500 = project.handler500


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize("page", ["/page", "/interface"])
def test_a_connection_lost_in_a_view_is_503_and_never_a_bare_500(client, page):
    answer = client.get(page)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert b"gone" not in answer.content


@override_settings(ROOT_URLCONF=__name__)
def test_a_connection_lost_behind_an_api_path_is_json(client):
    answer = client.get("/api/json")

    assert (answer.status_code, answer.json()) == (503, {"error": SAY})


@override_settings(ROOT_URLCONF=__name__)
def test_a_connection_lost_outside_every_view_is_503_too(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Broken"]
    client = Client(raise_request_exception=False)

    assert client.get("/well").status_code == 200
    assert client.get("/outside").status_code == 503
    assert client.get("/api/outside").status_code == 404


@override_settings(ROOT_URLCONF=__name__)
def test_our_own_mistake_is_500_with_a_request_id_and_no_traceback():
    answer = Client(raise_request_exception=False).get("/ours")

    assert answer.status_code == 500
    assert b"Request <code>" in answer.content
    assert b"ZeroDivisionError" not in answer.content
    assert "Retry-After" not in answer.headers
