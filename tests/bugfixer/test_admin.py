"""Bugs in the console: to read, escaped, within the budget, no forms for anybody."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from bugfixer import services
from bugfixer.models import Bug
from tests.bugfixer.builders import PNG, PYTHON_STACK, make_bug, make_report, post

pytestmark = pytest.mark.django_db
LIST = "/admin/bugfixer/bug/"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def person(role: str) -> Client:
    user = User.objects.create_user(f"{role}-person", is_staff=True)
    if role == "superuser":
        user.is_superuser = True
        user.save()
    else:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client


def page(bug: Bug) -> str:
    return f"{LIST}{bug.pk}/change/"


def test_the_list_shows_what_is_known_of_a_bug():
    for user in ("u-1", "u-2", "u-1"):
        report = make_report(
            error_message="TimeoutError in checkout",
            error_stack=PYTHON_STACK,
            severity="critical",
            user_id=user,
            release="1.14.1",
        )
    services.analyze_bug(report=report, actor="")

    html = person("viewer").get(LIST).content.decode()

    assert "TimeoutError in checkout" in html
    assert "pay /app/shop/checkout.py:212" in html
    assert "critical" in html
    assert "1.14.1" in html
    assert "unassigned" in html
    assert "offline" in html
    assert 'class="field-n_reports">3<' in html
    assert 'class="field-n_users">2<' in html


def test_an_empty_list_says_what_would_appear_and_how_to_make_one():
    html = person("viewer").get(LIST).content.decode()

    assert "Bugs appear here when a report comes in" in html
    assert "curl -X POST" in html


def test_titles_can_be_searched_and_states_filtered():
    make_bug(error_message="alpha broke")
    make_bug(error_message="beta broke")
    client = person("viewer")

    found = client.get(LIST, {"q": "ALPHA"}).content.decode()
    fixed = client.get(LIST, {"status__exact": "fixed"}).content.decode()

    assert "alpha broke" in found
    assert "beta broke" not in found
    assert "alpha broke" not in fixed


def test_the_page_shows_stack_reports_and_analysis():
    report = make_report(error_message="timed out", error_stack=PYTHON_STACK)
    services.analyze_bug(report=report, actor="")

    html = person("viewer").get(page(report.bug)).content.decode()

    assert "2 of 3 frames are yours" in html
    assert "<b>pay</b>" in html
    assert "1 foreign frame" in html
    assert report.report_id in html
    assert "Offline analysis" in html
    assert report.content["fingerprint"] in html


def test_what_people_send_is_shown_as_text(client: Client):
    post(
        client,
        errorMessage=EVIL,
        pageUrl=EVIL,
        errorStack=f"Error\n    at {EVIL} (http://h/{EVIL}.js:1:2)",
        component=EVIL[:100],
        system=EVIL[:100],
        userAgent=EVIL,
        userEmail="<script>@x.example",
        release=EVIL,
        environment=EVIL,
        additionalData={EVIL: EVIL},
        browserInfo={"a": EVIL},
    )
    bug = Bug.objects.get()
    services.analyze_bug(report=bug.reports.get(), actor="")
    services.resolve_bug(bug=bug, notes=EVIL, resolved_by=EVIL, actor="user:1")
    admin = person("admin")

    for path in (LIST, page(bug)):
        html = admin.get(path).content.decode()
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "&lt;script&gt;" in html


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("support", True)])
def test_addresses_and_raw_payloads_need_their_permission(client, role, sees):
    post(
        client,
        userEmail="someone@example.com",
        additionalData={"rawmark": 1},
        screenshotData=PNG,
    )

    html = person(role).get(page(Bug.objects.get())).content.decode()

    assert ("someone@example.com" in html) is sees
    assert ("rawmark" in html) is sees
    assert ("/screenshot" in html) is sees


@pytest.mark.parametrize("role", ["viewer", "admin", "superuser"])
def test_nobody_adds_changes_or_deletes(role):
    bug = make_bug()
    client = person(role)

    codes = {
        path: client.post(path, {"title": "x", "post": "yes"}).status_code
        for path in (f"{LIST}add/", f"{LIST}{bug.pk}/delete/")
    }
    changed = client.post(page(bug), {"title": "x"})

    assert set(codes.values()) == {403}
    assert changed.status_code in {200, 403, 405}
    assert Bug.objects.get().title == bug.title


def test_staff_without_a_role_sees_nothing():
    bug = make_bug()
    user = User.objects.create_user("nobody", is_staff=True)
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")

    assert client.get(LIST).status_code == 403
    assert client.get(page(bug)).status_code == 403


@pytest.mark.parametrize("number", ["4711", "abc", "9" * 30, "%00"])
def test_a_bug_that_is_not_there_is_a_404(number):
    answer = person("viewer").get(f"{LIST}{number}/change/")

    assert answer.status_code == 404


@pytest.mark.parametrize("role", ["viewer", "superuser"])
def test_list_and_page_keep_their_query_budgets(role, django_assert_max_num_queries):
    for number in range(60):
        report = make_report(
            error_message=f"bug {'abcdefghij'[number % 10]} {'xyzuvw'[number // 10]}",
            error_stack=PYTHON_STACK,
        )
    services.analyze_bug(report=report, actor="")
    client = person(role)

    with django_assert_max_num_queries(6):
        listed = client.get(LIST)
    with django_assert_max_num_queries(9):
        shown = client.get(page(report.bug))

    assert listed.status_code == shown.status_code == 200
