"""POST /api/bug-fixer/report: the shape, the fields, the limits, once."""

import base64
import datetime as dt
import json
import re

import pytest
from django.db import OperationalError, connection
from django.test import Client

from bugfixer import services
from bugfixer.models import Bug, Report, Screenshot
from tests.bugfixer.builders import BODY, PNG, REPORT, post

pytestmark = pytest.mark.django_db

ROW_KEYS = {
    "id", "report_id", "error_message", "error_stack", "error_type", "severity",
    "user_id", "user_email", "page_url", "user_agent", "browser_info",
    "screenshot_data", "screenshot_url", "ai_analysis", "suggested_fix", "fix_applied",
    "fix_pr_url", "status", "resolution_notes", "resolved_by", "resolved_at", "system",
    "component", "additional_data", "created_at", "updated_at",
    "fingerprint", "bug_id", "occurrence_count", "release", "environment",
}  # fmt: skip
FULL = {
    "errorStack": "Error: boom\n    at pay (http://localhost:3003/app.js:10:5)",
    "errorType": "network",
    "userId": "anonymous",
    "userEmail": "someone@example.com",
    "userAgent": "Mozilla/5.0 Chrome/142.0.0.0 Safari/537.36",
    "browserInfo": {"language": "en", "screen": {"width": 1366}},
    "system": "shop",
    "component": "Cart",
    "additionalData": {"step": 3, "flags": ["a", None, True]},
    "release": "1.14.1",
    "environment": "production",
}


def test_the_three_required_fields_are_enough(client: Client):
    answer = post(client)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"success", "reportId", "message", "data"}
    assert body["success"] is True
    assert isinstance(body["message"], str)
    assert re.fullmatch(r"BUG-\d{13}-[0-9a-f]{8}", body["reportId"])
    assert set(body["data"]) == ROW_KEYS
    assert body["data"]["report_id"] == body["reportId"]


def test_a_row_of_a_bare_report_has_the_documented_defaults(client: Client):
    row = post(client).json()["data"]

    nulls = {key for key, value in row.items() if value is None}
    assert row["error_type"] == "frontend"
    assert row["status"] == "open"
    assert row["severity"] == "medium"
    assert row["additional_data"] == {}
    assert row["fix_applied"] is False
    assert row["occurrence_count"] == 1
    assert re.fullmatch(r"v0:[0-9a-f]{32}", row["fingerprint"])
    assert row["bug_id"] == Bug.objects.get().pk
    assert nulls == {
        "error_stack", "user_id", "user_email", "user_agent", "browser_info",
        "screenshot_data", "screenshot_url", "ai_analysis", "suggested_fix",
        "fix_pr_url", "resolution_notes", "resolved_by", "resolved_at", "system",
        "component", "release", "environment",
    }  # fmt: skip


def test_times_are_utc_and_read_by_any_client(client: Client):
    row = post(client).json()["data"]

    made = dt.datetime.fromisoformat(row["created_at"])
    assert row["created_at"].endswith("Z")
    assert abs((dt.datetime.now(dt.UTC) - made).total_seconds()) < 60
    assert row["updated_at"] == row["created_at"]


def test_every_optional_field_is_kept(client: Client):
    row = post(client, **FULL).json()["data"]

    assert row["error_stack"] == FULL["errorStack"]
    assert row["error_type"] == "network"
    assert row["user_id"] == "anonymous"
    assert row["user_email"] == "someone@example.com"
    assert row["user_agent"] == FULL["userAgent"]
    assert row["browser_info"] == FULL["browserInfo"]
    assert row["system"] == "shop"
    assert row["component"] == "Cart"
    assert row["additional_data"] == FULL["additionalData"]
    assert row["release"] == "1.14.1"
    assert row["environment"] == "production"


def test_the_stored_report_says_what_the_answer_said(client: Client):
    row = post(client, **FULL).json()["data"]

    stored = Report.objects.get(report_id=row["report_id"])
    assert stored.pk == row["id"]
    assert stored.content["error_stack"] == row["error_stack"]
    assert stored.content["browser_info"] == row["browser_info"]
    assert stored.content["fingerprint"] == row["fingerprint"]
    assert stored.user_email == row["user_email"]
    assert stored.counted is False


def test_fields_we_do_not_know_become_additional_data(client: Client):
    row = post(client, lineNumber=12, columnNumber=7, additionalData={"a": 1}).json()

    assert row["data"]["additional_data"] == {
        "a": 1,
        "lineNumber": 12,
        "columnNumber": 7,
    }


@pytest.mark.parametrize("name", ["errorMessage", "pageUrl", "severity"])
@pytest.mark.parametrize("value", [None, "", "  ", 0, False, [], "absent"])
def test_a_missing_required_field_gets_the_documented_sentence(client, name, value):
    body = {**BODY, name: value}
    if value == "absent":
        del body[name]

    answer = client.post(REPORT, json.dumps(body), content_type="application/json")

    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "error": "Missing required fields: errorMessage, pageUrl, severity",
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("severity", "urgent", "urgent"),
        ("errorMessage", {"a": 1}, "string"),
        ("errorStack", ["a"], "string"),
        ("userId", {"id": 1}, "string"),
        ("pageUrl", "x" * 8193, "8192"),
        ("errorType", "x" * 65, "64"),
        ("userEmail", "x" * 321, "320"),
        ("userAgent", "x" * 1001, "1000"),
        ("component", "x" * 101, "100"),
        ("clientEventId", "x" * 65, "64"),
        ("browserInfo", "Firefox", "dictionary"),
        ("additionalData", [1], "dictionary"),
        ("screenshotData", 5, "base64"),
        ("screenshotData", "%%%", "base64"),
        ("screenshotData", base64.b64encode(b"<svg/>").decode(), "PNG"),
    ],
)
def test_a_wrong_value_is_refused_by_field_and_limit(client, name, value, said):
    answer = post(client, **{name: value})

    body = answer.json()
    assert answer.status_code == 400
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    assert body["error"].startswith(f"{name}: ")
    assert said in body["error"]
    assert not Report.objects.exists()


def test_null_and_empty_optional_fields_count_as_absent(client: Client):
    empty = dict.fromkeys(FULL, None) | {"component": "", "screenshotData": ""}

    answer = post(client, **empty)

    assert answer.status_code == 200
    assert answer.json()["data"]["component"] is None


def test_a_number_as_user_id_is_read_as_text(client: Client):
    assert post(client, userId=7).json()["data"]["user_id"] == "7"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe\x00",
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"errorMessage": ' + b"9" * 5000 + b"}",
        b"null",
        b"[]",
        b'"text"',
        b"3",
    ],
)
def test_a_body_that_is_no_json_object_is_a_400_in_the_documented_shape(client, raw):
    answer = client.generic("POST", REPORT, raw, content_type="application/json")

    assert answer.status_code == 400
    assert set(answer.json()) == {"success", "error"}


def test_another_content_type_is_a_415_in_the_documented_shape(client: Client):
    answer = client.post(REPORT, BODY)

    assert answer.status_code == 415
    assert answer.json()["success"] is False


def test_another_method_is_a_405_in_the_documented_shape(client: Client):
    answer = client.get(REPORT)

    assert answer.status_code == 405
    assert answer.json()["success"] is False


def test_nul_and_lone_surrogates_are_replaced_and_accepted(client: Client):
    raw = (
        r'{"errorMessage":"a\u0000b\ud800c","pageUrl":"http://x/\udfff",'
        r'"severity":"low","additionalData":{"k\u0000":"\ud83d\ude00","n":1e999}}'
    )

    answer = client.post(REPORT, raw, content_type="application/json")

    row = answer.json()["data"]
    assert answer.status_code == 200
    assert row["error_message"] == "a\ufffdb\ufffdc"
    assert row["page_url"] == "http://x/\ufffd"
    assert row["additional_data"] == {"k\ufffd": "😀", "n": "inf"}


def test_a_wrong_value_with_a_lone_surrogate_is_still_a_400(client: Client):
    raw = r'{"errorMessage":"a","pageUrl":"b","severity":"\ud800"}'

    answer = client.post(REPORT, raw, content_type="application/json")

    assert answer.status_code == 400


def test_a_10_mb_body_is_a_413_that_names_the_limit(client: Client, settings):
    answer = post(client, additionalData={"big": "x" * 10_000_000})

    assert answer.status_code == 413
    assert answer.json() == {
        "success": False,
        "error": "The body is larger than 4,194,304 bytes.",
    }


def test_more_than_256_kb_without_the_screenshot_is_a_413(client: Client):
    answer = post(client, errorStack="x" * (256 * 1024))

    assert answer.status_code == 413
    assert "262,144 bytes" in answer.json()["error"]


def test_just_under_the_limit_is_stored(client: Client):
    answer = post(client, errorStack="x " * (127 * 1024))

    assert answer.status_code == 200


def test_a_screenshot_is_kept_in_its_own_table(client: Client):
    row = post(client, screenshotData=f"data:image/png;base64,{PNG}").json()["data"]

    shot = Screenshot.objects.get()
    assert shot.report_id == row["id"]
    assert shot.content_type == "image/png"
    assert bytes(shot.data) == base64.b64decode(PNG)
    assert row["screenshot_data"] is None


def test_a_screenshot_of_more_than_2_mb_is_a_413_that_names_the_limit(client: Client):
    big = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * (2 << 20)).decode()

    answer = post(client, screenshotData=big)

    assert answer.status_code == 413
    assert "screenshotData" in answer.json()["error"]
    assert "2,097,152" in answer.json()["error"]


def test_a_screenshot_of_just_2_mb_is_taken(client: Client):
    big = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * ((2 << 20) - 8)).decode()

    answer = post(client, screenshotData=big)

    assert answer.status_code == 200
    assert len(Screenshot.objects.get().data) == 2 << 20


@pytest.mark.parametrize("how", ["body", "header"])
def test_a_repeat_is_stored_once_and_answers_with_the_first_number(client, how):
    fields = {"clientEventId": "e-1"} if how == "body" else {}
    headers = {"Idempotency-Key": "e-1"} if how == "header" else {}

    answers = [
        client.post(
            REPORT,
            json.dumps({**BODY, **fields}),
            content_type="application/json",
            headers=headers,
        ).json()
        for _ in range(3)
    ]

    assert len({answer["reportId"] for answer in answers}) == 1
    assert Report.objects.count() == 1


def test_a_repeat_with_other_words_opens_no_second_bug(client: Client):
    first = post(client, clientEventId="e-1").json()

    second = post(client, clientEventId="e-1", errorMessage="Other words").json()

    assert second["reportId"] == first["reportId"]
    assert Bug.objects.count() == 1


def test_who_guesses_an_event_id_learns_nothing_of_the_first_report(client: Client):
    post(client, clientEventId="e-1", userEmail="someone@example.com", userId="u-77")

    answer = post(client, clientEventId="e-1", errorMessage="Mine")

    assert "someone" not in answer.content.decode()
    assert "u-77" not in answer.content.decode()
    assert answer.json()["data"]["error_message"] == "Mine"


def test_a_reporter_sees_nothing_of_what_staff_did_with_the_bug(client: Client):
    bug = Bug.objects.get(pk=post(client).json()["data"]["bug_id"])
    services.resolve_bug(bug=bug, notes="internal", resolved_by="eve", actor="user:1")

    answer = post(client)

    assert "internal" not in answer.content.decode()
    assert answer.json()["data"]["status"] == "open"


def test_an_idempotency_key_of_65_characters_is_refused(client: Client):
    answer = client.post(
        REPORT,
        json.dumps(BODY),
        content_type="application/json",
        headers={"Idempotency-Key": "x" * 65},
    )

    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["error"]
    assert "64" in answer.json()["error"]


def test_a_report_asks_for_no_session_and_no_token(client: Client):
    answer = client.post(
        REPORT,
        json.dumps(BODY),
        content_type="application/json",
        headers={"Authorization": "Bearer wrong"},
    )

    assert answer.status_code == 200


def test_over_the_rate_it_is_a_429_with_retry_after(client: Client, settings):
    settings.THROTTLE_RATES = {"report": (2, 60)}

    codes = [post(client).status_code for _ in range(2)]
    refused = post(client)

    assert codes == [200, 200]
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["success"] is False


def test_with_the_database_away_it_is_a_503_that_says_when_to_come_back(client):
    def away(execute, sql, params, many, context):
        raise OperationalError("away")

    with connection.execute_wrapper(away):
        answer = post(client)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["success"] is False
    assert not Report.objects.exists()


def test_a_report_of_a_known_bug_costs_two_queries(client, django_assert_num_queries):
    post(client)

    with django_assert_num_queries(4):  # with the savepoint of the test around it
        post(client)


def test_stored_reports_are_small(client: Client):
    stack = "\n".join(
        f"    at call{n} (http://localhost:3003/static/js/part{n % 7}.js:{n}:{n * 3})"
        for n in range(40)
    )

    post(client, **{**FULL, "errorStack": stack})

    report = Report.objects.get()
    assert len(report.payload) < 2000
