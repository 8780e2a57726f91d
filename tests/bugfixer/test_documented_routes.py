"""analyze, list, resolve and health as documented, and who may call them."""

import datetime as dt
import json
import re

import pytest
from django.test import Client, override_settings
from rest_framework.test import APIClient

from bugfixer import services
from bugfixer.models import Analysis, Bug, Report
from ledger.models import Artifact
from tests.bugfixer.builders import (
    BODY,
    PNG,
    PYTHON_STACK,
    REPORT,
    make_bug,
    make_report,
    post,
    staff,
)
from tests.bugfixer.test_report import ROW_KEYS

pytestmark = pytest.mark.django_db
ANALYZE = "/api/bug-fixer/analyze"
LIST = "/api/bug-fixer/list"
RESOLVE = "/api/bug-fixer/resolve"
HEALTH = "/api/bug-fixer/health"


def send(client, path, **body):
    return client.post(path, json.dumps(body), content_type="application/json")


# -- analyze -----------------------------------------------------------------------
def test_analyze_answers_at_once_with_the_offline_analysis():
    report = make_report(
        error_message="TimeoutError: no connection", error_stack=PYTHON_STACK
    )

    answer = send(staff(), ANALYZE, reportId=report.report_id)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {
        "success", "reportId", "analysis", "updatedReport", "source", "confidence",
    }  # fmt: skip
    assert body["success"] is True
    assert body["reportId"] == report.report_id
    assert "Offline analysis" in body["analysis"]
    assert "pay /app/shop/checkout.py:212" in body["analysis"]
    assert body["source"] == "offline"
    assert 0 < body["confidence"] <= 0.6


def test_the_updated_report_carries_the_analysis_and_never_stays_analyzing():
    report = make_report(error_stack=PYTHON_STACK)

    row = send(staff(), ANALYZE, reportId=report.report_id).json()["updatedReport"]

    assert set(row) == ROW_KEYS
    assert row["ai_analysis"]
    assert row["suggested_fix"]
    assert row["status"] == "open"
    assert Bug.objects.get().analysis_wanted_at is None


def test_with_a_model_configured_analyze_asks_for_it_and_says_so(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_MODEL = "k", "m"
    report = make_report()

    answer = send(staff(), ANALYZE, reportId=report.report_id)

    assert answer.status_code == 200
    assert answer.json()["updatedReport"]["status"] == "analyzing"
    assert Bug.objects.get().analysis_wanted_at is not None


def test_any_report_of_a_bug_may_be_analysed_and_it_is_done_once():
    first, second = make_report(), make_report()
    client = staff()

    one = send(client, ANALYZE, reportId=first.report_id).json()
    other = send(client, ANALYZE, reportId=second.report_id).json()

    assert one["analysis"] == other["analysis"]
    assert other["updatedReport"]["report_id"] == second.report_id
    assert Analysis.objects.count() == 1
    assert Artifact.objects.filter(type="bug_analyzed").count() == 1


@pytest.mark.parametrize("path", [ANALYZE, RESOLVE])
@pytest.mark.parametrize("body", [{}, {"reportId": None}, {"reportId": "  "}])
def test_a_missing_report_id_gets_the_documented_sentence(path, body):
    answer = send(staff(), path, **body)

    assert answer.status_code == 400
    assert answer.json() == {"success": False, "error": "Missing reportId"}


@pytest.mark.parametrize("path", [ANALYZE, RESOLVE])
@pytest.mark.parametrize("report_id", ["BUG-1-00000000", "\u0000", "no such", 7])
def test_an_unknown_report_is_a_404_with_success_false(path, report_id):
    answer = send(staff(), path, reportId=report_id)

    assert answer.status_code == 404
    assert answer.json() == {"success": False, "error": "Bug report not found"}


@pytest.mark.parametrize("path", [ANALYZE, RESOLVE])
@pytest.mark.parametrize("report_id", [{"a": 1}, ["x"], "x" * 41, True])
def test_a_report_id_of_a_wrong_kind_is_a_400_by_name(path, report_id):
    answer = send(staff(), path, reportId=report_id)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("reportId: ")


# -- resolve -----------------------------------------------------------------------
def test_resolve_closes_the_bug_and_says_so():
    report = make_report()

    answer = send(
        staff(),
        RESOLVE,
        reportId=report.report_id,
        resolutionNotes="Deployed 1.2",
        resolvedBy="ops",
    )

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"success", "message", "data"}
    assert body["success"] is True
    assert body["message"] == "Bug marked as resolved"
    assert set(body["data"]) == ROW_KEYS
    assert body["data"]["status"] == "fixed"
    assert body["data"]["resolution_notes"] == "Deployed 1.2"
    assert body["data"]["resolved_by"] == "ops"
    assert dt.datetime.fromisoformat(body["data"]["resolved_at"]).tzinfo is not None


def test_resolve_has_the_documented_defaults():
    row = send(staff(), RESOLVE, reportId=make_report().report_id).json()["data"]

    assert row["resolution_notes"] == "Manually resolved"
    assert row["resolved_by"] == "admin"


def test_resolving_twice_succeeds_and_is_recorded_once():
    report = make_report()
    client = staff()

    codes = [
        send(client, RESOLVE, reportId=report.report_id).status_code for _ in range(2)
    ]

    assert codes == [200, 200]
    assert Artifact.objects.filter(type="bug_resolved").count() == 1


def test_the_artifact_names_the_actor_by_number_only():
    report = make_report()
    client = staff()

    send(client, RESOLVE, reportId=report.report_id, resolvedBy="Eve Example")

    artifact = Artifact.objects.get(type="bug_resolved")
    assert re.fullmatch(r"user:\d+", artifact.actor)
    assert artifact.subject == f"bug:{report.bug_id}"
    assert "Eve" not in artifact.body


# -- list --------------------------------------------------------------------------
def test_list_has_the_documented_shape():
    make_report()

    answer = staff().get(LIST)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"success", "bugs", "count"}
    assert body["success"] is True
    assert body["count"] == len(body["bugs"]) == 1
    assert set(body["bugs"][0]) == ROW_KEYS


def test_an_empty_list_is_a_list():
    assert staff().get(LIST).json() == {"success": True, "bugs": [], "count": 0}


def test_one_row_per_bug_under_its_first_report_with_the_number_of_reports():
    first = make_report()
    for _ in range(3):
        make_report()

    (row,) = staff().get(LIST).json()["bugs"]

    assert row["report_id"] == first.report_id
    assert row["occurrence_count"] == 4


def test_counted_and_uncounted_reports_are_added_up():
    make_report()
    services.count_reports()
    make_report()

    (row,) = staff().get(LIST).json()["bugs"]

    assert row["occurrence_count"] == 2


def test_the_newest_bug_comes_first():
    for name in ("alpha", "beta", "gamma"):
        make_bug(error_message=name)

    rows = staff().get(LIST).json()["bugs"]

    assert [row["error_message"] for row in rows] == ["gamma", "beta", "alpha"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"severity": "high"}, {"bad"}),
        ({"severity": "urgent"}, set()),
        ({"status": "open"}, {"bad", "asked"}),
        ({"status": "fixed"}, {"done"}),
        ({"status": "analyzing"}, set()),
        ({"status": "ignored"}, set()),
        ({"status": "nonsense"}, set()),
        ({"userId": "u-1"}, {"asked"}),
        ({"userId": "nobody"}, set()),
        ({"userId": "\x00"}, set()),
        ({"status": "open", "severity": "high"}, {"bad"}),
        ({"status": "", "severity": "", "userId": ""}, {"bad", "asked", "done"}),
        ({"unheard": "of"}, {"bad", "asked", "done"}),
    ],
)
def test_list_filters_leniently(query, expected):
    make_bug(error_message="bad", severity="high")
    make_bug(error_message="asked", user_id="u-1")
    done = make_bug(error_message="done")
    services.resolve_bug(bug=done, notes="", resolved_by="", actor="loopback")

    answer = staff().get(LIST, query)

    assert answer.status_code == 200
    assert {row["error_message"] for row in answer.json()["bugs"]} == expected


@pytest.mark.parametrize(
    ("limit", "length"),
    [("2", 2), ("1", 1), ("abc", 3), ("0", 3), ("-1", 3), ("", 3), ("9" * 30, 3)],
)
def test_a_bad_limit_counts_as_fifty(limit, length):
    for name in ("alpha", "beta", "gamma"):
        make_bug(error_message=name)

    assert staff().get(LIST, {"limit": limit}).json()["count"] == length


def test_fifty_are_listed_unless_more_are_asked_for():
    for number in range(55):
        make_bug(error_message=f"bug {chr(65 + number % 26)}{chr(65 + number // 26)}")
    client = staff()

    assert client.get(LIST).json()["count"] == 50
    assert client.get(LIST, {"limit": "1000"}).json()["count"] == 55


def test_list_costs_the_same_queries_however_many_bugs(django_assert_num_queries):
    for name in ("alpha", "beta", "gamma", "delta"):
        services.analyze_bug(
            report=make_report(error_message=name, error_stack=PYTHON_STACK), actor=""
        )
    client = staff()

    with django_assert_num_queries(6):  # bugs, reports, pictures, analyses, 2 of rights
        client.get(LIST)


# -- who sees what -----------------------------------------------------------------
def test_a_viewer_sees_no_address_and_no_raw_payload():
    make_report(
        user_email="someone@example.com",
        browser_info={"language": "en"},
        additional_data={"a": 1},
    )

    (row,) = staff("viewer").get(LIST).json()["bugs"]

    assert row["user_email"] is None
    assert row["browser_info"] is None
    assert row["additional_data"] == {}
    assert row["error_message"] == "Test error"


def test_support_sees_address_and_payload():
    make_report(user_email="someone@example.com", browser_info={"language": "en"})

    (row,) = staff("support").get(LIST).json()["bugs"]

    assert row["user_email"] == "someone@example.com"
    assert row["browser_info"] == {"language": "en"}


@pytest.mark.parametrize("path", [ANALYZE, RESOLVE])
def test_a_viewer_may_not_act(path):
    report = make_report()

    answer = send(staff("viewer"), path, reportId=report.report_id)

    assert answer.status_code == 403
    assert answer.json()["success"] is False
    assert not Artifact.objects.exclude(type="bug_opened").exists()


@pytest.mark.parametrize(
    ("method", "path"), [("post", ANALYZE), ("get", LIST), ("post", RESOLVE)]
)
def test_a_stranger_is_sent_away_in_the_documented_shape(method, path):
    answer = getattr(APIClient(), method)(path, {}, format="json")

    assert answer.status_code == 401
    assert set(answer.json()) == {"success", "error"}


# -- the original curl lines ---------------------------------------------------------
@override_settings(LOCAL_OPERATOR=True)
def test_a_direct_local_caller_lists_analyses_and_resolves(client: Client):
    report_id = post(client).json()["reportId"]

    listed = client.get(LIST, headers={"host": "localhost:3001"})
    analysed = client.post(
        ANALYZE,
        json.dumps({"reportId": report_id}),
        content_type="application/json",
        headers={"host": "localhost:3001"},
    )
    resolved = client.post(
        RESOLVE,
        json.dumps({"reportId": report_id}),
        content_type="application/json",
        headers={"host": "localhost:3001"},
    )

    assert [listed.status_code, analysed.status_code, resolved.status_code] == [200] * 3
    assert listed.json()["bugs"][0]["report_id"] == report_id
    assert {a.actor for a in Artifact.objects.exclude(type="bug_opened")} == {
        "loopback"
    }


# -- health --------------------------------------------------------------------------
def test_health_answers_anybody_without_a_query(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get(HEALTH)

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "status": "operational",
        "selfHealing": True,
        "endpoints": {
            "report": "POST /api/bug-fixer/report",
            "analyze": "POST /api/bug-fixer/analyze",
            "list": "GET /api/bug-fixer/list",
            "resolve": "POST /api/bug-fixer/resolve",
        },
    }


# -- other origins -------------------------------------------------------------------
@override_settings(CORS_ALLOWED_ORIGINS=["http://localhost:3003"])
@pytest.mark.parametrize("path", [REPORT, ANALYZE, LIST, RESOLVE, HEALTH])
def test_a_page_of_an_allowed_origin_may_ask_first(client: Client, path):
    answer = client.options(
        path,
        headers={
            "origin": "http://localhost:3003",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3003"
    assert "content-type" in answer.headers["access-control-allow-headers"]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


@override_settings(CORS_ALLOWED_ORIGINS=["http://localhost:3003"])
def test_the_answer_itself_names_the_origin(client: Client):
    answer = client.post(
        REPORT,
        json.dumps(BODY),
        content_type="application/json",
        headers={"origin": "http://localhost:3003"},
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3003"


@override_settings(CORS_ALLOWED_ORIGINS=["http://localhost:3003"])
@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (REPORT, "http://evil.example"),
        ("/api/bug-fixer/bugs", "http://localhost:3003"),
        ("/api/bug-fixer/reportx", "http://localhost:3003"),
    ],
)
def test_other_origins_and_other_routes_are_not_named(client: Client, path, origin):
    answer = client.options(
        path, headers={"origin": origin, "access-control-request-method": "POST"}
    )

    assert "access-control-allow-origin" not in answer.headers


# -- the picture ----------------------------------------------------------------------
def test_a_screenshot_is_served_as_a_download_to_those_who_may(client: Client):
    report_id = post(client, screenshotData=PNG).json()["reportId"]
    url = f"/api/bug-fixer/reports/{report_id}/screenshot"

    support, viewer, stranger = (
        staff("support").get(url), staff("viewer").get(url), client.get(url),
    )  # fmt: skip

    assert support.status_code == 200
    assert support.headers["Content-Type"] == "image/png"
    assert support.headers["Content-Disposition"].startswith("attachment")
    assert support.headers["X-Content-Type-Options"] == "nosniff"
    assert viewer.status_code == 403
    assert stranger.status_code == 401


def test_the_row_links_its_screenshot(client: Client):
    report_id = post(client, screenshotData=PNG).json()["reportId"]

    (row,) = staff("support").get(LIST).json()["bugs"]

    assert row["screenshot_url"] == f"/api/bug-fixer/reports/{report_id}/screenshot"
    assert Report.objects.count() == 1
