"""A hostile visitor: other origins, forged addresses, sessions, redirects, paths."""

import datetime as dt
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from bugfixer import services
from ledger.models import Artifact
from tests.project.conftest import SECRET
from tests.project.test_access import API_STAFF, TABLE, example
from tests.project.test_bad_input import CONSOLE, raw, request

BACKEND = "django.contrib.auth.backends.ModelBackend"
SHOP, EVIL = "http://shop.test:3003", "http://evil.test"
REPORT = "/api/bug-fixer/report"
GOOD = {"errorMessage": "E: x", "pageUrl": "http://shop.test/", "severity": "low"}
CROSS = {
    f"/api/bug-fixer/{n}" for n in ("report", "analyze", "list", "resolve", "health")
}
PASSWORD = "a long password 1"


@pytest.fixture
def ann(db: None, settings: Any) -> User:
    # The real one takes a quarter of a second for each of 90 tests.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return User.objects.create_superuser("ann", password=PASSWORD)


@pytest.fixture
def shop(settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = [SHOP]


# -- Other origins -----------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("route", sorted(TABLE))
def test_another_origin_reads_the_documented_bug_routes_and_nothing_else(client, route):
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }

    def allowed(origin: str) -> set[str]:
        headers = {"Origin": origin}
        answers = [
            client.get(example(route), headers=headers),
            client.options(example(route), headers={**headers, **preflight}),
        ]
        names = ("access-control-allow-origin", "access-control-allow-credentials")
        return {a.headers[n] for a in answers for n in names if n in a.headers}

    assert allowed(SHOP) == ({SHOP} if route in CROSS else set())
    assert allowed(EVIL) == allowed("null") == set()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "host", ["evil.test", "localhost.evil.test", "127.0.0.1.nip.io"]
)
@pytest.mark.parametrize("path", [*API_STAFF, "/admin/", "/admin/login/", "/"])
def test_a_name_that_was_rebound_to_this_host_reaches_nothing(client, path, host):
    answer = client.get(example(path), headers={"Host": host})

    assert answer.status_code in {400, 401}
    assert host not in answer.content.decode()


# -- Addresses ---------------------------------------------------------------------
@pytest.mark.django_db
def test_a_forged_address_escapes_no_limit(client, settings):
    settings.THROTTLE_RATES = {**settings.THROTTLE_RATES, "report": (2, 60)}

    statuses = [
        client.post(
            REPORT,
            json.dumps(GOOD),
            content_type="application/json",
            headers={"X-Forwarded-For": f"10.0.0.{n}"},
        ).status_code
        for n in range(5)
    ]

    assert 429 in statuses
    assert statuses[-1] == 429


@pytest.mark.django_db
def test_a_forged_address_is_not_logged(client, caplog):
    with caplog.at_level("INFO"):
        client.get("/api/bug-fixer/health", headers={"X-Forwarded-For": "203.0.113.9"})

    assert "request_started" in caplog.text
    assert "203.0.113.9" not in caplog.text


@pytest.mark.django_db
def test_a_request_id_of_a_caller_reaches_neither_log_nor_ledger(ann, caplog):
    client = Client()
    client.post(REPORT, json.dumps(GOOD), content_type="application/json")
    evil = 'x", "level": "critical", "who": "bob@example.com' + "y" * 5000

    with caplog.at_level("INFO"):
        answer = client.post(
            REPORT,
            json.dumps({**GOOD, "errorMessage": "TypeError: another one"}),
            content_type="application/json",
            headers={"X-Request-ID": evil, "X-Correlation-ID": evil},
        )

    assert answer.status_code == 200
    assert "bob@example.com" not in caplog.text
    bodies = list(Artifact.objects.values_list("body", flat=True))
    assert bodies
    assert all("bob@example.com" not in body and len(body) < 1000 for body in bodies)


# -- Sessions and forms ------------------------------------------------------------
def log_in(client: Client, **more: str) -> Any:
    """Log in as a person would."""
    return client.post(
        "/admin/login/", {"username": "ann", "password": PASSWORD, **more}
    )


@pytest.mark.parametrize("path", [*CONSOLE, *map(example, API_STAFF)])
def test_no_post_of_a_session_is_taken_without_its_token(ann, path):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann, BACKEND)

    answers = [
        client.post(path, {"post": "yes"}),
        client.post(path, "{}", content_type="application/json"),
        client.post(path, {"a": "b"}, headers={"Origin": EVIL, "Referer": EVIL}),
    ]

    assert {answer.status_code for answer in answers} <= {403, 404, 405}


def test_a_login_throws_the_session_away_that_somebody_fixed(ann):
    client = Client()
    client.cookies["sessionid"] = fixed = "a" * 32

    log_in(client)

    assert client.cookies["sessionid"].value not in {"", fixed}


def test_a_new_password_ends_the_sessions_of_a_thief(ann):
    thief = Client()
    log_in(thief)
    stolen = thief.cookies["sessionid"].value

    ann.set_password("another password 2")
    ann.save()

    assert stolen
    assert thief.get("/admin/").status_code == 302


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(ann, settings):
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    client = Client()
    client.get("/admin/login/")

    log_in(client)

    assert {"sessionid", "csrftoken", "ftw_view"} == set(client.cookies)
    for cookie in client.cookies.values():
        assert cookie["httponly"]
        assert cookie["secure"]
        assert cookie["samesite"] in {"Lax", "Strict"}


@pytest.mark.parametrize(
    "target",
    [
        *("http://evil.test/", "//evil.test", "/\\evil.test", "https:evil.test"),
        *("javascript:alert(1)", "http:///evil.test", "\t//evil.test", "@evil.test/x"),
        *("/admin/\r\nX-Evil: 1", "http://localhost@evil.test", "///evil.test"),
    ],
)
def test_the_login_sends_nobody_elsewhere(ann, target):
    client = Client()

    answer = log_in(client, next=target)

    assert answer.status_code == 302
    assert "evil.test" not in answer.headers["Location"].replace("@evil.test/x", "")
    assert answer.headers["Location"].startswith(("/", "@"))
    assert not answer.headers["Location"].startswith(("//", "/\\"))
    assert "X-Evil" not in answer.headers


# -- Paths -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        *(
            "/static/../secret_key",
            "/static/%2e%2e/secret_key",
            "/static/..%2fsecret_key",
        ),
        *("/static/%252e%252e/secret_key", "/static//etc/passwd", "/static/%00"),
        *("/static/....//secret_key", "/static/..\\secret_key", "/static/.digest"),
        *("/static/", "/static/admin/", "//static/../../secret_key"),
    ],
)
def test_nothing_but_static_files_is_served(site, path):
    status, body = raw(site, request(method="GET", path=path))

    assert status in {400, 404}
    assert SECRET.encode() not in body
    assert b"root:" not in body


@pytest.mark.parametrize(
    "path",
    [
        *("//api/health/live", "/./api/health/live", "/api/health/%2e/live"),
        *("/api/health/live/", "/API/health/live", "/api/health/live%00"),
        *("/api/health/live;x", "/api//health/live", "/api/health/x/../live"),
    ],
)
def test_a_probe_answers_under_its_own_path_alone(site, path):
    status, _ = raw(site, request(method="GET", path=path))

    assert status == 404


@pytest.mark.parametrize(
    "path", ["//evil.test/admin", "//evil.test/..;/admin", "/%2f/evil.test"]
)
def test_a_path_of_two_slashes_redirects_nowhere(site, path):
    reply = site.get(path)

    assert reply.status == 404
    assert "location" not in reply.headers


# -- Personal data -----------------------------------------------------------------
PEOPLE = [
    *("jane.doe@example.com", "203.0.113.77", "2001:db8::dead", "Jane Doe"),
    *("4111 1111 1111 1111", "+49 170 1234567", "user-4711", "hunter2-secret"),
]


def test_no_artifact_holds_anything_of_a_reporter(ann):
    client, everybody = Client(), " / ".join(PEOPLE)
    _, token = AuthToken.objects.create(ann, dt.timedelta(days=1))
    bearer = {"Authorization": f"Bearer {token}"}
    body = {
        "errorMessage": f"Error: {everybody}",
        "errorStack": f"Error\n at {everybody} (app.js:1:1)",
        "pageUrl": f"http://a/?email={PEOPLE[0]}",
        "severity": "critical",
        **dict.fromkeys(("system", "component", "environment"), everybody[:100]),
        "errorType": everybody[:64],
        "release": everybody,
        "userId": "user-4711",
        "userEmail": PEOPLE[0],
        "userAgent": everybody,
        "additionalData": {name: name for name in PEOPLE},
        "clientEventId": "jane.doe@example.com",
    }

    def post(path: str, sent: dict[str, Any], **headers: str) -> Any:
        return client.post(
            path,
            json.dumps(sent),
            content_type="application/json",
            headers={**headers, "X-Forwarded-For": PEOPLE[1], "User-Agent": everybody},
        )

    number = post(REPORT, body).json()["reportId"]
    post("/api/bug-fixer/analyze", {"reportId": number}, **bearer)
    done = post(
        "/api/bug-fixer/resolve",
        {"reportId": number, "resolvedBy": "Jane Doe", "resolutionNotes": everybody},
        **bearer,
    )
    post(REPORT, {**body, "clientEventId": "again"})
    services.count_reports()
    for _ in range(6):
        client.post("/admin/login/", {"username": PEOPLE[0], "password": "wrong"})

    bodies = list(Artifact.objects.values_list("type", "body", "subject"))
    assert done.status_code == 200
    assert {kind for kind, _, _ in bodies} >= {
        "bug_opened",
        "bug_resolved",
        "bug_regressed",
    }
    for kind, text, subject in bodies:
        found = [who for who in PEOPLE if who.lower() in (text + subject).lower()]
        assert found == [], kind
