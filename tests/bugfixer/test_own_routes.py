"""Our own routes: strict, paged, read only."""

import pytest

from bugfixer import services
from bugfixer.models import Bug
from tests.bugfixer.builders import PYTHON_STACK, make_bug, make_report, staff

pytestmark = pytest.mark.django_db
BUGS = "/api/bug-fixer/bugs"


def test_bugs_are_listed_newest_first():
    for name in ("alpha", "beta"):
        make_bug(error_message=name)

    body = staff().get(BUGS).json()

    assert body["count"] == 2
    assert body["next"] is None
    assert [bug["title"] for bug in body["bugs"]] == ["beta", "alpha"]
    assert set(body["bugs"][0]) == {
        "id", "title", "errorType", "severity", "status", "component", "system",
        "firstSeen", "lastSeen", "occurrences", "regressedAt", "resolvedAt",
        "resolvedBy", "resolutionNotes", "analysisWantedAt",
    }  # fmt: skip


def test_following_next_shows_every_bug_once():
    names = [f"bug {letter}" for letter in "abcdefg"]
    for name in names:
        make_bug(error_message=name)
    client, seen, url = staff(), [], f"{BUGS}?limit=3&severity=medium"

    while url:
        body = client.get(url).json()
        seen += [bug["title"] for bug in body["bugs"]]
        url = body["next"]

    assert seen == names[::-1]


def test_bugs_are_narrowed_by_what_is_asked():
    make_bug(error_message="alpha", severity="high", component="Cart", system="shop")
    make_bug(error_message="beta")
    client = staff()

    def titles(**query):
        return [bug["title"] for bug in client.get(BUGS, query).json()["bugs"]]

    assert titles(severity="high") == ["alpha"]
    assert titles(component="Cart", system="shop") == ["alpha"]
    assert titles(search="LPHA") == ["alpha"]
    assert titles(status="fixed") == []
    assert titles(since="2100-01-01T00:00:00Z") == []
    assert titles(until="2100-01-01T00:00:00Z", status="open") == ["beta", "alpha"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "abc"}, "limit"),
        ({"severity": "urgent"}, "severity"),
        ({"status": "analyzing"}, "status"),
        ({"since": "yesterday"}, "since"),
        ({"cursor": "-1"}, "cursor"),
        ({"cursor": "9" * 30}, "cursor"),
        ({"search": "a\x00b"}, "search"),
        ({"search": "x" * 201}, "search"),
        ({"unheard": "of"}, "unheard"),
    ],
)
def test_what_is_wrong_in_a_query_is_a_400_by_name(query, name):
    answer = staff().get(BUGS, query)

    body = answer.json()
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in body["errors"]] == [name]
    assert body["error"] == body["detail"]


def test_a_bug_shows_its_fingerprints_analyses_and_reports():
    report = make_report(error_stack=PYTHON_STACK, error_message="timed out")
    services.analyze_bug(report=report, actor="user:1")

    body = staff().get(f"{BUGS}/{report.bug_id}").json()

    assert body["id"] == report.bug_id
    assert body["occurrences"] == 1
    assert body["fingerprints"] == [report.content["fingerprint"]]
    assert body["analyses"][0]["source"] == "offline"
    assert body["analyses"][0]["result"]["category"] == "timeout"
    assert [row["reportId"] for row in body["reports"]] == [report.report_id]


@pytest.mark.parametrize(
    "path",
    [
        f"{BUGS}/4711",
        f"{BUGS}/{'9' * 30}",
        "/api/bug-fixer/reports/BUG-1-00000000",
        "/api/bug-fixer/reports/%00",
        "/api/bug-fixer/reports/%ff",
        "/api/bug-fixer/reports/" + "x" * 500,
        "/api/bug-fixer/reports/BUG-1-00000000/screenshot",
    ],
)
def test_what_is_not_there_is_a_404_problem(path):
    answer = staff().get(path)

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_unknown_path_is_the_documented_404(client):
    answer = client.get("/api/bug-fixer/nothing")

    assert answer.status_code == 404
    assert answer.json() == {"error": "Not found"}


@pytest.mark.parametrize("role", ["viewer", "support"])
def test_a_report_shows_private_parts_to_those_who_may(role):
    report = make_report(
        user_email="someone@example.com",
        additional_data={"a": 1},
        error_stack="password=hunter2",
    )

    body = staff(role).get(f"/api/bug-fixer/reports/{report.report_id}").json()

    private = role == "support"
    assert body["userEmail"] == ("someone@example.com" if private else None)
    assert (body["payload"] is not None) is private
    assert body["errorMessage"] == "Test error"
    assert body["errorStack"] == "password=[secret]"
    assert body["scrubbed"] == {"secret": 1}


def test_bugs_and_one_bug_keep_their_query_budget(django_assert_num_queries):
    for name in ("alpha", "beta", "gamma"):
        make_report(error_message=name)
    client = staff()

    with django_assert_num_queries(1):
        client.get(BUGS)
    first = Bug.objects.order_by("id")[0].pk
    with django_assert_num_queries(4):
        client.get(f"{BUGS}/{first}")
