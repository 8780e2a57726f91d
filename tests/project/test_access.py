"""Who may come in: every route of the project against one literal table."""

import datetime as dt
import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from knox.models import AuthToken

# route -> kind. A new route fails here until somebody says who may come in.
TABLE = {
    "/": "public",
    "/status": "probe",
    "/api/health/live": "probe",
    "/api/health/ready": "probe",
    "/api/health/startup": "probe",
    "/api/health/health": "staff",
    "/api/health/artifacts": "staff",
    "/api/health/metrics": "staff",
    "/api/health/history": "staff",
    "/api/ledger/artifacts": "staff",
    "/api/ledger/artifacts/<int:sequence>": "staff",
    "/api/ledger/artifacts/<int:sequence>/proof": "staff",
    "/api/ledger/checkpoint": "staff",
    "/api/ledger/consistency": "staff",
    "/api/ledger/verify": "staff",
    "/api/breakers": "staff",
    "/api/breakers/<str:name>": "staff",
    "/api/breakers/<str:name>/override": "staff",
    "/api/breakers/<str:name>/reset": "staff",
    "/api/bug-fixer/report": "public",
    "/api/bug-fixer/health": "public",
    "/api/bug-fixer/analyze": "staff",
    "/api/bug-fixer/list": "staff",
    "/api/bug-fixer/resolve": "staff",
    "/api/bug-fixer/bugs": "staff",
    "/api/bug-fixer/bugs/<int:bug_id>": "staff",
    "/api/bug-fixer/reports/<str:report_id>": "staff",
    "/api/bug-fixer/reports/<str:report_id>/screenshot": "staff",
    "/api/schema": "staff",
    "/api/docs": "staff",
    "/admin/login/": "public",
}
# Everything else of the console is staff; these it answers without a login.
OPEN_IN_CONSOLE = {"/admin/login/", "/admin/jsi18n/", "/admin/logout/"}
API_STAFF = sorted(r for r, kind in TABLE.items() if kind == "staff")


def routes(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[str]:
    """Yield every route of the URLconf as it would be written."""
    for item in (resolver or get_resolver()).url_patterns:
        path = prefix + re.sub(r"^\^|\$$", "", str(item.pattern))
        if isinstance(item, URLResolver):
            yield from routes(item, path)
        else:
            assert isinstance(item, URLPattern)
            yield path


def example(route: str) -> str:
    """Return a path for a route."""
    path = re.sub(r"<int:\w+>", "1", route)
    path = re.sub(r"<(?:str|path|slug):\w+>|<\w+>", "1", path)
    return re.sub(r"\(\?P<\w+>.*\)", "x", path)


@pytest.fixture
def staff(db) -> User:
    return User.objects.create_user("ann", password="a long password 1", is_staff=True)


def test_every_route_is_in_the_table_and_nothing_else():
    found = {r for r in routes() if not r.startswith("/admin/")} | {"/admin/login/"}

    assert found == set(TABLE)


@pytest.mark.django_db
@pytest.mark.parametrize("route", API_STAFF)
def test_a_stranger_is_refused_on_every_staff_route(client, route):
    for method in ("get", "post"):
        answer = getattr(client, method)(example(route))

        assert answer.status_code in {401, 403, 405}
        assert "traceback" not in answer.content.decode().lower()
    assert client.get(example(route)).status_code in {401, 403, 405}


@pytest.mark.django_db
@pytest.mark.parametrize("route", API_STAFF)
def test_a_user_who_is_not_staff_is_refused_on_every_staff_route(client, route):
    client.force_login(
        User.objects.create_user("bob"), "django.contrib.auth.backends.ModelBackend"
    )

    assert client.get(example(route)).status_code in {403, 405}


@pytest.mark.django_db
def test_a_stranger_is_sent_to_the_login_from_every_page_of_the_console(client):
    pages = {example(r) for r in routes() if r.startswith("/admin/")}

    for page in sorted(pages - OPEN_IN_CONSOLE):
        answer = client.get(page)
        assert answer.status_code in {302, 404}, page
        if answer.status_code == 302:
            target = answer.headers["Location"]
            assert "/login/" in target or target.startswith(page[:7]), page


@pytest.mark.django_db
def test_a_token_lets_staff_in_and_a_wrong_one_does_not(client, staff):
    _, token = AuthToken.objects.create(staff, dt.timedelta(days=1))

    good = client.get(
        "/api/health/artifacts", headers={"Authorization": f"Bearer {token}"}
    )
    wrong = client.get(
        "/api/health/artifacts", headers={"Authorization": f"Bearer {token[:-1]}x"}
    )

    assert (good.status_code, wrong.status_code) == (200, 401)
    assert set(wrong.json()) == {"error"}


@pytest.mark.django_db
def test_an_expired_token_is_refused(client, staff):
    _, token = AuthToken.objects.create(staff, dt.timedelta(seconds=-1))

    answer = client.get(
        "/api/health/artifacts", headers={"Authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 401


@pytest.mark.django_db
def test_a_token_of_somebody_who_left_is_refused(client, staff):
    _, token = AuthToken.objects.create(staff, dt.timedelta(days=1))
    staff.is_active = False
    staff.save()

    answer = client.get(
        "/api/health/artifacts", headers={"Authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 401


LOCAL = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost:3001"}


@pytest.mark.django_db
@override_settings(LOCAL_OPERATOR=True)
def test_a_direct_loopback_caller_is_an_operator_of_the_api(client):
    assert client.get("/api/health/artifacts", **LOCAL).status_code == 200
    assert client.get("/admin/", **LOCAL).status_code == 302


@pytest.mark.django_db
def test_a_loopback_caller_is_a_stranger_where_it_is_not_switched_on(client):
    assert client.get("/api/health/artifacts", **LOCAL).status_code == 401


@pytest.mark.django_db
@override_settings(LOCAL_OPERATOR=True, ALLOWED_HOSTS=["*"])
@pytest.mark.parametrize(
    "change",
    [
        {"REMOTE_ADDR": "10.0.0.5"},
        {"REMOTE_ADDR": ""},
        {"HTTP_HOST": "evil.example"},
        {"HTTP_HOST": "localhost.evil.example"},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
        {"HTTP_VIA": "1.1 proxy"},
    ],
)
def test_a_forwarded_or_foreign_caller_is_no_local_operator(client, change):
    answer = client.get("/api/health/artifacts", **{**LOCAL, **change})

    assert answer.status_code == 401


@pytest.mark.django_db
@override_settings(LOCAL_OPERATOR=True)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_form_of_a_page_is_no_local_operator(client, kind):
    answer = client.post(
        "/api/bug-fixer/resolve", '{"reportId": "x"}', content_type=kind, **LOCAL
    )

    assert answer.status_code == 401


@pytest.mark.django_db
def test_a_foreign_host_is_refused(client):
    assert (
        client.get("/api/bug-fixer/health", HTTP_HOST="evil.example").status_code == 400
    )


@pytest.mark.django_db
def test_a_session_needs_its_csrf_token_to_act(staff):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff, "django.contrib.auth.backends.ModelBackend")

    answer = client.post(
        "/api/bug-fixer/resolve", '{"reportId": "x"}', content_type="application/json"
    )

    assert answer.status_code == 403


@pytest.mark.django_db
def test_a_viewer_reads_and_does_not_act(client, staff):
    staff.groups.add(Group.objects.get(name="viewer"))
    client.force_login(staff, "django.contrib.auth.backends.ModelBackend")

    read = client.get("/api/bug-fixer/list").status_code
    acted = [
        client.post(
            path, '{"reportId": "x"}', content_type="application/json"
        ).status_code
        for path in (
            "/api/bug-fixer/resolve",
            "/api/bug-fixer/analyze",
            "/api/ledger/verify",
            "/api/breakers/openai/override",
            "/api/breakers/openai/reset",
        )
    ]

    assert (read, acted) == (200, [403] * 5)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api/health/live/", "/api/bug-fixer/"]
)
def test_an_unknown_path_of_the_api_is_a_404_in_the_documented_shape(client, path):
    answer = client.get(path)

    assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})
