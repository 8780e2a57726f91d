"""The console's pages: policy, budgets, what they say, what they weigh."""

import gzip
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from breakers.models import BreakerState
from bugfixer.models import Bug, Report
from health.models import Instance
from ledger.models import Leaf
from ledger.services import record
from tests.console.conftest import make_user

ROOT = Path(settings.BASE_DIR)
POLICY = {
    "default-src 'self'",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}
PAGES = [
    "/admin/",
    "/admin/now/",
    "/admin/login/",
    "/admin/breakers/",
    "/admin/breakers/-/openai/",
    "/admin/health/",
    "/admin/health/instance/",
    "/admin/health/instance/web-1/change/",
    "/admin/bugfixer/bug/",
    "/admin/bugfixer/bug/1/change/",
    "/admin/ledger/",
    "/admin/ledger/artifact/",
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/auth/group/",
    "/admin/knox/authtoken/",
    "/admin/password_change/",
    "/nope",
]


def make_instance(name="web-1", **options):
    now = timezone.now()
    values = {
        "role": "web",
        "boot_id": "b",
        "version": "0.1.0",
        "started_at": now,
        "seen_at": now,
        **options,
    }
    return Instance.objects.create(name=name, **values)


def make_bug(title="TimeoutError in checkout.pay", reports=1, **options):
    now = timezone.now()
    values = {"severity": "critical", "first_seen": now, "last_seen": now}
    bug = Bug.objects.create(
        title=title, **{**values, "occurrences": reports, **options}
    )
    for number in range(reports):
        Report.objects.create(
            report_id=f"BUG-{bug.pk}-{number}",
            bug=bug,
            received_at=now,
            payload=Report.pack({}),
            counted=True,
        )
    return bug


def make_story():
    """Make a failing afternoon: instances, bugs and artifacts of each kind."""
    make_instance()
    make_instance("web-2", ready=False, hold="drain", hold_by="user:7")
    bug = make_bug(reports=3)
    for number, (kind, source, subject) in enumerate(
        [
            ("degrade", "readiness", "probe:ready"),
            ("breaker_trip", "circuit_breaker", "breaker:openai"),
            ("bug_opened", "bugfixer", bug.subject),
            ("restart", "watchdog", "process:web-1/4711"),
        ]
    ):
        row = record(type=kind, source=source, subject=subject, reason="a reason")
        Leaf.objects.create(sequence=48190 + number, artifact=row)
    record(type="recover", source="readiness", subject="probe:ready")
    return bug


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_every_page_carries_the_policy_and_nothing_inline(login, page):
    make_instance()

    answer = login("superuser").get(page)
    html = answer.content.decode()

    assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|data:", html)
    assert not re.search(r"<script(?![^>]*\ssrc=)", html)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", html)


@pytest.mark.django_db
def test_now_says_what_is_wrong_since_when_and_where(login, snapshot):
    snapshot(cache="fail")
    bug = make_story()

    page = login("operator").get(reverse("admin:index")).content.decode()

    assert "Failing 29 min, since" in page
    assert "1 of 2 instances are not ready: web-2." in page
    assert "cache fails: cache did not answer in 2.0 s." in page
    assert "1 in force: web-2 drain without end." in page
    assert f"#{bug.pk} TimeoutError in checkout.pay" in page
    assert "openai" in page
    assert "#48,191" in page
    assert "48,194 entries" in page


@pytest.mark.django_db
def test_now_says_so_when_nothing_was_ever_checked(login):
    page = login("viewer").get(reverse("admin:index")).content.decode()

    assert "Nothing was checked in the last 15 s." in page
    assert "All pass" not in page


@pytest.mark.django_db
def test_now_shouts_when_the_ledger_is_broken(login, snapshot):
    snapshot()
    record(
        type="ledger_verify",
        source="ledger",
        subject="ledger",
        ok=False,
        kind="edited",
        first_bad=3,
        size=9,
    )

    page = login("viewer").get(reverse("admin:index")).content.decode()

    assert "Ledger broken, found" in page
    assert "The ledger is broken: edited at #3." in page


@pytest.mark.django_db
def test_now_keeps_within_eight_queries_with_session_and_user(
    login, snapshot, django_assert_max_num_queries
):
    snapshot()
    make_story()
    client = login("operator")

    with django_assert_max_num_queries(8):
        answer = client.get(reverse("admin:index"))

    assert answer.status_code == 200


@pytest.mark.django_db
def test_now_asks_no_more_queries_of_a_large_house(
    login, snapshot, django_assert_max_num_queries
):
    snapshot()
    make_story()
    for number in range(30):
        make_instance(f"worker-{number}", role="worker", ready=number % 2 == 0)
        make_bug(f"KeyError {number}", reports=2)
        record(
            type="breaker_trip", source="circuit_breaker", subject=f"breaker:b{number}"
        )
    client = login("operator")

    with django_assert_max_num_queries(8):
        page = client.get(reverse("admin:index")).content.decode()

    assert "<b>31</b> critical open" in page
    assert page.count('class="rail"') == 1


@pytest.mark.django_db
def test_an_unchanged_poll_is_a_304_in_three_queries(
    login, snapshot, django_assert_max_num_queries
):
    snapshot()
    make_story()
    client = login("operator")
    first = client.get(reverse("admin:now"))

    with django_assert_max_num_queries(3):
        again = client.get(
            reverse("admin:now"), headers={"If-None-Match": first.headers["ETag"]}
        )

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["artifact", "snapshot", "user"])
def test_a_poll_brings_what_has_changed(login, snapshot, change):
    snapshot()
    client = login("operator")
    etag = client.get(reverse("admin:now")).headers["ETag"]

    if change == "artifact":
        record(type="restart", source="watchdog", subject="process:web-1/1")
    elif change == "snapshot":
        snapshot(queue="fail")
    else:
        client = Client()
        client.force_login(
            make_user("viewer"), "django.contrib.auth.backends.ModelBackend"
        )
    answer = client.get(reverse("admin:now"), headers={"If-None-Match": etag})

    assert answer.status_code == 200
    assert answer.headers["ETag"] != etag


@pytest.mark.django_db
def test_the_fragment_is_what_the_page_holds(login, snapshot):
    snapshot()
    make_story()
    client = login("operator")

    page = client.get(reverse("admin:index")).content.decode()
    fragment = client.get(reverse("admin:now")).content.decode()

    rows = re.findall(r"</time>(.*?)</li>", fragment)
    assert len(rows) == 5
    assert all(row in page for row in rows)


@pytest.mark.django_db
def test_a_title_from_a_report_is_text_on_the_page(login, snapshot):
    snapshot()
    make_bug("<img src=x onerror=alert(1)>")
    record(
        type="bug_opened",
        source="bugfixer",
        subject="bug:1",
        title="<script>x</script>",
    )

    page = login("operator").get(reverse("admin:index")).content.decode()

    assert "<img src=x" not in page
    assert "<script>x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


@pytest.mark.django_db
def test_a_user_without_a_role_sees_neither_bugs_nor_instances(login, snapshot):
    snapshot()
    make_story()

    page = login("staff").get(reverse("admin:index")).content.decode()

    assert "checkout.pay" not in page.split("Healing")[0].split("</ol>")[-1]
    assert "web-2 drain" not in page


BUDGETS = {
    "/admin/health/instance/": 6,
    "/admin/bugfixer/bug/": 6,
    "/admin/auth/user/": 8,
}


@pytest.mark.django_db
@pytest.mark.parametrize("path", BUDGETS)
def test_a_list_of_two_pages_keeps_within_its_queries(
    login, django_assert_max_num_queries, path
):
    for number in range(60):
        make_instance(f"web-{number}")
        make_bug(f"KeyError {number}")
        make_user("viewer", name=f"user-{number}")
    client = login("admin")

    with django_assert_max_num_queries(BUDGETS[path]):
        page = client.get(path).content.decode()

    assert page.split("result_list")[1].count("<tr>") == 51
    assert "50 of 6" in page


@pytest.mark.django_db
def test_what_fits_on_a_page_is_not_counted(login, django_assert_max_num_queries):
    make_instance()
    client = login("admin")

    # Session, user, roles, the values of a filter, the page.
    with django_assert_max_num_queries(5):
        page = client.get("/admin/health/instance/").content.decode()

    assert "1 of 1" in page


@pytest.mark.django_db
def test_a_list_ends_at_a_thousand_and_says_so(login):
    now = timezone.now()
    Instance.objects.bulk_create(
        Instance(
            name=f"web-{number}",
            role="web",
            boot_id="b",
            version="1",
            started_at=now,
            seen_at=now,
        )
        for number in range(1005)
    )
    client = login("operator")

    first = client.get("/admin/health/instance/").content.decode()
    beyond = client.get("/admin/health/instance/?p=21")
    everything = client.get("/admin/health/instance/?all=")

    assert "1,000+" in first
    assert client.get("/admin/health/instance/?p=20").status_code == 200
    assert beyond.status_code == 302
    assert everything.content.decode().count("<tr>") == 51


@pytest.mark.django_db
def test_an_instance_that_is_silent_is_unknown_and_not_well(login):
    make_instance(seen_at=timezone.now() - timedelta(minutes=5))

    page = login("operator").get("/admin/health/instance/").content.decode()

    table = page.split("result_list")[1].split("</table>")[0]
    assert table.count("unknown</span>") == 2
    assert "#i-tick" not in table


def test_the_sheet_and_the_script_keep_their_size():
    sheet, script = (ROOT / "static" / f"console.{kind}" for kind in ("css", "js"))

    assert sheet.stat().st_size <= 8192
    assert script.stat().st_size <= 6144


@pytest.mark.django_db
def test_now_weighs_at_most_40_kilobytes_cold_and_compressed(login, snapshot):
    snapshot(cache="fail")
    make_story()

    html = login("operator").get(reverse("admin:index")).content
    names = set(re.findall(rb'(?:src|href)="/static/([^"]+)"', html))
    files = [Path(finders.find(name.decode())).read_bytes() for name in names]
    weight = sum(len(gzip.compress(body, 6)) for body in [html, *files])

    assert len(files) == 7
    assert weight <= 40_000


@pytest.mark.django_db
def test_a_list_links_the_column_its_app_named_and_says_units(login):
    row = record(type="restart", source="watchdog", subject="process:web-1/1")
    Leaf.objects.create(sequence=0, artifact=row)
    make_bug(reports=3)
    client = login("viewer")

    ledger = client.get("/admin/ledger/artifact/").content.decode()
    bugs = client.get("/admin/bugfixer/bug/").content.decode()

    assert re.search(
        rf'href="/admin/ledger/artifact/{row.pk}/change/[^"]*">#0<', ledger
    )
    assert 'class="field-n_reports">3<span class="u"> reports</span>' in bugs


@pytest.mark.django_db
def test_now_lists_the_breakers_when_one_is_open_and_what_is_in_force(login, snapshot):
    snapshot(breakers="warn")
    now = timezone.now()
    BreakerState.objects.create(
        name="openai",
        state="OPEN",
        version=1,
        trips=1,
        opened_at=now - timedelta(minutes=29),
        open_until=now + timedelta(seconds=12),
        updated_at=now,
    )
    BreakerState.objects.create(
        name="coinbase", override="disabled", override_by="user:7", updated_at=now
    )

    page = login("viewer").get(reverse("admin:index")).text

    assert "Breaker openai is OPEN, web-hooks HALF-OPEN." in page
    assert "29 min, trial in 1" in page
    assert "coinbase disabled without end" in page
    assert "without end by user 7" in page
    assert page.index("/-/coinbase/") < page.index("/-/stripe/")


@pytest.mark.django_db
def test_now_lists_no_breakers_on_a_quiet_day(login, snapshot):
    snapshot(breakers="pass")

    page = login("viewer").get(reverse("admin:index")).text

    assert 'href="/admin/breakers/-/' not in page
