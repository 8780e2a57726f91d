"""Absurd input on every route: a 4xx in the route's shape, never a 500, never a hang."""

import datetime as dt
import json
import socket
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from bugfixer.models import Bug
from fortheweebs.wsgi import plain_type
from ledger.services import record
from tests.project.test_access import API_STAFF, TABLE, example, routes
from tests.server import Installation

REPORT = "/api/bug-fixer/report"
GOOD = {"errorMessage": "E: x", "pageUrl": "http://shop.test/", "severity": "low"}
BACKEND = "django.contrib.auth.backends.ModelBackend"
API = sorted(example(route) for route in TABLE if route.startswith("/api/"))
SHAPED = set(API) - {"/api/schema", "/api/docs"}  # these speak YAML and HTML
CONSOLE = sorted(
    {example(route) for route in routes() if route.startswith("/admin/")}
    - {"/admin/logout/"}
)
# What these answer while nobody samples, as in these tests, is designed.
WITHOUT_SAMPLER = {
    "/api/health/ready",
    "/api/health/startup",
    "/api/health/health",
    "/api/health/metrics",
}
STRICT = [
    example(route)
    for route in TABLE
    if route.startswith(("/api/ledger/", "/api/bug-fixer/bugs", "/api/health/history"))
    or route in {"/api/breakers", "/api/breakers/<str:name>"}
    or "/reports/" in route
]
NAMES = [
    *("limit", "type", "source", "subject", "since", "until", "cursor", "after"),
    *("from", "to", "check", "status", "severity", "component", "search", "userId"),
    *("version", "lang", "format", "x\0y", "\N{ARABIC-INDIC DIGIT THREE}"),
]
VALUES: list[str | bytes] = [
    *("", "\0", "-1", "9" * 400, "1e999", "NaN", "-Infinity", "\\", "%", "[]", "1.5"),
    *("\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}", "\r\nX-Evil: 1", " 1 "),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-40"),
    *(b"\xff", b"\xed\xa0\x80", "x" * 10_000),
]
DEEP = 10_000


@pytest.fixture(autouse=True)
def _no_limits(settings: Any) -> None:
    settings.THROTTLE_RATES = dict.fromkeys(settings.THROTTLE_RATES)


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_superuser("ann")


@pytest.fixture
def staff(ann: User) -> Client:
    _, token = AuthToken.objects.create(ann, dt.timedelta(days=1))
    record(type="restart", source="watchdog", subject="process:web-1/1")
    return Client(
        raise_request_exception=False, headers={"Authorization": f"Bearer {token}"}
    )


@pytest.fixture
def console(ann: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(ann, BACKEND)
    client.post(REPORT, json.dumps(GOOD), content_type="application/json")
    return client


def check(path: str, answer: Any, what: object = "") -> None:
    """Assert that an answer is no failure and that a refusal has its route's shape."""
    content = getattr(answer, "content", b"")  # an export is streamed
    said = f"{path} {what!r:.200}: {answer.status_code} {content[:300]!r}"
    allowed = {503} if path in WITHOUT_SAMPLER else set()
    assert answer.status_code < 500 or answer.status_code in allowed, said
    if path in SHAPED and 400 <= answer.status_code < 500 and content:
        body = json.loads(content)
        assert isinstance(body["error"], str), said
        assert body["error"], said


# -- Query strings -----------------------------------------------------------------
@pytest.mark.parametrize("path", sorted(SHAPED))
def test_no_query_string_is_too_absurd(staff, path):
    for place, name in enumerate(NAMES):
        for value in VALUES[place % 2 :: 2]:  # every name, every value, half the pairs
            query = f"{quote(name, safe='')}={quote(value, safe='')}"

            answer = staff.get(f"{path}?{query}")

            check(path, answer, (name, value))


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
@pytest.mark.parametrize("name", ["version", "lang", "format"])
def test_no_query_string_of_the_documents_is_too_absurd(staff, path, name):
    for value in ("\0", "\r\nX-Evil: 1", "../../etc/passwd", b"\xff", "x" * 10_000):
        check(path, staff.get(f"{path}?{name}={quote(value, safe='')}"), value)


@pytest.mark.parametrize("path", STRICT)
def test_an_unknown_parameter_of_our_own_routes_is_refused_by_name(staff, path):
    answer = staff.get(f"{path}?zebra=1")

    assert answer.status_code == 400
    assert "zebra" in answer.json()["error"]
    assert "zebra" in {row["field"] for row in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/api/ledger/artifacts", "limit", "0"),
        ("/api/ledger/artifacts", "limit", "9" * 30),
        ("/api/ledger/artifacts", "since", "yesterday"),
        ("/api/ledger/artifacts", "subject", "x" * 81),
        ("/api/ledger/artifacts", "subject", "a\0b"),
        ("/api/ledger/consistency", "from", "-1"),
        ("/api/health/history", "check", "\0"),
        ("/api/health/history", "limit", "1001"),
        ("/api/bug-fixer/bugs", "severity", "worst"),
        ("/api/bug-fixer/bugs", "search", "x" * 201),
        ("/api/bug-fixer/bugs", "cursor", "9" * 30),
    ],
)
def test_a_bad_value_of_our_own_routes_is_refused_by_name(staff, path, name, value):
    answer = staff.get(path, {name: value})

    assert answer.status_code == 400
    assert name in {row["field"] for row in answer.json()["errors"]}
    assert answer.json()["error"].startswith(name)


@pytest.mark.parametrize("path", ["/api/health/artifacts", "/api/bug-fixer/list"])
def test_the_documented_lists_ignore_what_they_cannot_read(staff, path):
    answers = [
        staff.get(path, {name: value}).status_code
        for name in ("limit", "since", "cursor", "zebra")
        for value in ("", "-1", "NaN", "1e999", "\0", "x" * 10_000)
    ]

    assert set(answers) == {200}


def test_more_fields_than_allowed_name_the_limit(staff):
    many = "&".join(f"a{i}=1" for i in range(1001))

    answer = staff.get(f"/api/ledger/artifacts?{many}")

    assert answer.status_code == 400
    assert "1,000" in answer.json()["error"]


# -- Bodies ------------------------------------------------------------------------
BODIES: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "half": b'{"errorMessage":',
    "array": b"[]",
    "string": b'"x"',
    "number": b"1e999",
    "null": b"null",
    "nan": b'{"errorMessage": NaN, "reportId": NaN}',
    "infinity": b'{"additionalData": -Infinity}',
    "twice": b'{"reportId": "x", "reportId": ["y"]}',
    "brackets": b"[" * DEEP,
    "nested": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "digits": b'{"reportId": ' + b"9" * 5000 + b"}",
    "latin": b'{"reportId": "\xff\xfe"}',
    "surrogate": b'{"reportId": "\\ud800\\u0000"}',
    "utf16": json.dumps({"reportId": "x"}).encode("utf-16"),
    "bom": b"\xef\xbb\xbf{}",
    "nul": b"\0" * 100,
    "wrong types": b'{"reportId": {"a": []}, "resolutionNotes": 5, "resolvedBy": []}',
}
KINDS = [
    *("application/json", "text/plain", "application/x-www-form-urlencoded", ""),
    *("multipart/form-data", "multipart/form-data; boundary=x", "a", "application/xml"),
]


@pytest.mark.parametrize("path", API)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_body_is_too_absurd(staff, path, method):
    bodies = BODIES if method == "POST" else {"half": BODIES["half"]}
    for name, body in bodies.items():
        for kind in KINDS if method == "POST" else KINDS[:1]:
            answer = staff.generic(method, path, body, content_type=kind)

            check(path, answer, (name, kind))


@pytest.mark.parametrize("path", API)
def test_a_method_nobody_wrote_is_refused(staff, path):
    for method in ("HEAD", "TRACE", "FOO", "get"):
        check(path, staff.generic(method, path), method)


@pytest.mark.parametrize("depth", [50, 150, 250, 330, 400, 480, 600, 900, 2000])
def test_a_report_nested_to_any_depth_is_taken_or_refused_with_a_reason(db, depth):
    nested = '{"a":' * depth + "1" + "}" * depth
    body = json.dumps({**GOOD, "additionalData": 0}).replace(": 0}", f": {nested}}}")

    answer = Client().post(REPORT, body, content_type="application/json")

    assert answer.status_code in {200, 400}
    if answer.status_code == 400:
        assert "nested" in answer.json()["error"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("errorMessage", {"a": 1}),
        ("errorMessage", True),
        ("pageUrl", "x" * 8193),
        ("pageUrl", ["http://a/"]),
        ("severity", "worst"),
        ("severity", {"a": 1}),
        ("errorStack", ["at a"]),
        ("errorType", "x" * 65),
        ("userId", {"id": 1}),
        ("userEmail", "x" * 321),
        ("userAgent", "x" * 1001),
        ("browserInfo", "Firefox"),
        ("screenshotData", 5),
        ("screenshotData", "data:image/png;base64,@@"),
        ("system", "x" * 101),
        ("component", []),
        ("additionalData", [1]),
        ("clientEventId", "x" * 65),
        ("release", "x" * 201),
        ("environment", {}),
    ],
)
def test_a_wrong_field_of_a_report_is_named(db, field, value):
    answer = Client().post(
        REPORT, json.dumps({**GOOD, field: value}), content_type="application/json"
    )

    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert answer.json()["error"].startswith(f"{field}: ")


def test_a_report_of_odd_characters_is_taken_with_them_replaced(db):
    odd = json.dumps({**GOOD, "errorMessage": "a\0b\ud800c", "component": "\0"})

    answer = Client().post(REPORT, odd, content_type="application/json")

    assert answer.status_code == 200
    assert answer.json()["data"]["error_message"] == "a\ufffdb\ufffdc"
    assert Bug.objects.get().title == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("path", [REPORT, "/api/bug-fixer/resolve"])
def test_ten_megabytes_are_refused_with_the_limit(staff, path):
    answer = staff.post(path, b"x" * 10_000_000, content_type="application/json")

    assert answer.status_code == 413
    assert answer.json()["success"] is False
    assert "4,194,304" in answer.json()["error"]


def test_a_form_of_ten_megabytes_is_refused_with_the_limit(console):
    answer = console.post("/admin/password_change/", {"old_password": "x" * 10_000_000})

    assert answer.status_code == 413
    assert b"4,194,304" in answer.content


# -- Headers -----------------------------------------------------------------------
HEADERS = [
    *(
        ("Authorization", value)
        for value in ("Bearer", "Bearer a b", "Basic x", "\xff")
    ),
    *(("Authorization", f"Bearer {value}") for value in ("\xff\xfe", "\0", "x" * 9000)),
    *(("Cookie", value) for value in ('sessionid="\\000aaaaaaaaa"', "sessionid=\xff")),
    *(
        ("Cookie", value)
        for value in ("ftw_view=\xff:\xff:\xff", "csrftoken=\0", "=;=")
    ),
    *(("Accept", value) for value in ("\xff", "*/*;q=NaN", "a/b;;;=")),
    *(
        ("Content-Type", value)
        for value in ("\xff", "multipart/form-data; boundary=\xff")
    ),
    *(("If-None-Match", value) for value in ('"\xff"', "*", "W/")),
    ("If-Modified-Since", "Mon, 99 Foo 99999999999999999999 99:99:99 GMT"),
    ("Range", "bytes=99999999999999999999999999-"),
    *(("Origin", value) for value in ("null", "http://[", "\xff")),
    *(("Host", value) for value in ("[::1", "a b", "\xff", "localhost:99999999")),
    ("Referer", "http://[::"),
    ("Idempotency-Key", "\xff" * 64),
    ("X-Forwarded-For", "\xff, [::, 1"),
    ("Content-Length", "abc"),
]


@pytest.mark.parametrize("path", [*API, "/", "/admin/", "/admin/login/"])
def test_no_header_is_too_absurd(staff, path):
    stranger = Client(raise_request_exception=False)
    for name, value in HEADERS:
        for client in (staff, stranger):
            check(path, client.get(path, headers={name: value}), (name, value))
            answer = client.post(
                path, b"{}", content_type="application/json", headers={name: value}
            )
            check(path, answer, (name, value))


@pytest.mark.parametrize("token", ["\xff\xfe", "a\0b", "é" * 64, "-" * 64])
def test_a_token_of_odd_characters_is_a_wrong_token(db, token):
    answer = Client().get(API_STAFF[0], headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401
    assert answer.json()["error"] == "Invalid token."


# -- The console -------------------------------------------------------------------
QUERIES = [
    *("o=99.-99.x", "o=", "o=-0", "p=-1", "p=0", "p=99", "p=9" + "9" * 400, "p=x"),
    *(
        "q=%00",
        "q=%ff",
        "q=" + "x" * 3000,
        "q=%27%22%5C%25_",
        "all=",
        "e=1",
        "p=99&e=1",
    ),
    *("zzz=1", "zzz=1&e=1", "__x=1", "password__startswith=p", "pk__in=,", "pk__in=x"),
    *("id__exact=" + "9" * 40, "status__exact=%00", "severity__exact=%00&e=1"),
    *("groups__id__exact=%00", "is_active__exact=%00", "node=%00", "within=%00"),
    *("type=%00", "source=%00", "_popup=1", "_to_field=", "_to_field=%00"),
    *("_changelist_filters=%00", "next=//evil.test", "user__password__contains=x"),
]


@pytest.mark.parametrize("page", CONSOLE)
def test_no_query_string_of_the_console_is_too_absurd(console, page):
    for query in QUERIES:
        check(page, console.get(f"{page}?{query}"), query)


@pytest.mark.parametrize("model", ["bugfixer/bug", "ledger/artifact", "auth/user"])
@pytest.mark.parametrize(
    "key", ["0", "-1", "9" * 400, "9" * 4400, "%00", "%FF", "x", "_5F", "1.5", "²"]
)
def test_a_row_that_cannot_be_is_not_there(console, model, key):
    answer = console.get(f"/admin/{model}/{key}/change/")

    assert answer.status_code in {302, 404}


@pytest.mark.parametrize("name", ["%00", "%ED%A0%80", "%FF", "x" * 10_000, "ann%00"])
def test_a_login_of_odd_characters_is_a_wrong_login(db, name):
    answer = Client(raise_request_exception=False).post(
        "/admin/login/",
        f"username={name}&password={name}",
        content_type="application/x-www-form-urlencoded",
    )

    assert answer.status_code == 200
    assert answer.context["form"].errors


# -- The wire ----------------------------------------------------------------------
def raw(site: Installation, data: bytes, *, half: bool = False) -> tuple[int, bytes]:
    """Send bytes as they are; return status and body. Status 0 is no answer."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=8) as wire:
        wire.sendall(data)
        if half:
            wire.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := wire.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def request(*headers: str, method: str = "POST", path: str = REPORT) -> bytes:
    """Return the head of a request that closes its connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += ["Content-Type: application/json"] if method == "POST" else []
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n{}\r\n0\r\n\r\n", b"-5\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n"],
)
def test_broken_chunks_are_refused_in_the_documented_shape(site, chunks):
    status, body = raw(site, request(CHUNKED) + chunks)

    assert status == 400
    assert json.loads(body) == {
        "success": False,
        "error": "The chunks of the body are broken.",
    }


def test_a_chunked_report_over_the_limit_says_so_in_the_documented_shape(site):
    big = b"%x\r\n" % (5 << 20) + b"x" * (5 << 20) + b"\r\n0\r\n\r\n"

    status, body = raw(site, request(CHUNKED) + big)

    assert status == 413
    assert json.loads(body) == {
        "success": False,
        "error": "The body is larger than 4,194,304 bytes.",
        "limit": 4194304,
    }


@pytest.mark.parametrize(
    "data", [request(CHUNKED) + b"5\r\n{}", request("Content-Length: 100") + b"{}"]
)
def test_a_body_that_stalls_is_a_408(site, data):
    status, body = raw(site, data)

    assert status == 408
    assert json.loads(body)["success"] is False
    assert "in time" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        (request("Content-Length: 100") + b"{}", {400}),
        (request("Content-Length: 1") + b"{}", {400}),
        (request("Content-Length: -1") + b"{}", {400}),
        (request("Content-Length: 2", "Content-Length: 3") + b"{}", {400}),
        (request("Content-Length: " + "9" * 30) + b"{}", {413}),
        (request("Content-Length: 2", CHUNKED) + b"2\r\n{}\r\n0\r\n\r\n", {400}),
        (request(CHUNKED) + b"f" * 20 + b"\r\n{}", {0, 400}),
        (request("X: \0", method="GET"), {400}),
        (request(method="GET", path="/api/\xff"), {400}),
        (request(method="GET", path="/?" + "x" * 9000), {414}),
        (request(method="GET", path="nowhere"), {400}),
        (request(method="OPTIONS", path="*"), {404}),
        (b"GET /\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01", {0, 400}),
    ],
)
def test_a_request_that_is_none_is_refused(site, data, allowed):
    status, _ = raw(site, data, half=True)

    assert status in allowed


@pytest.mark.parametrize(
    "kind",
    [
        *(f"text/plain; charset={c}" for c in ("hex", "base64", "undefined", "idna")),
        *("a/b; charset*=utf-8''hex", "a/b; x*=nope''x", 'a/b; charset="hex'),
    ],
)
@pytest.mark.parametrize("path", ["/api/bug-fixer/health", "/", "/admin/login/"])
def test_no_charset_of_a_caller_breaks_the_request(site, kind, path):
    query = f"{path}?type=%ff%41&{'x=1&' * 500}"

    status, _ = raw(site, request(f"Content-Type: {kind}", method="GET", path=query))

    assert status in {200, 302}


def test_only_the_boundary_of_a_form_is_kept():
    assert plain_type("Text/Plain; charset=hex") == "text/plain"
    assert plain_type("a/b; x*=nope''x") == "a/b"
    assert (
        plain_type("multipart/form-data; charset=hex; boundary=a;b=c")
        == 'multipart/form-data; boundary="a"'
    )
