"""The probes as strangers, staff and scrapers see them."""

import json

import pytest
from django.test import Client

from health.edge import is_staff
from health.viewer import COOKIE, read_view, sign_view

PROBES = [
    "/api/health/live",
    "/api/health/ready",
    "/api/health/startup",
    "/status",
]
STRANGER = {"Forwarded": "for=192.0.2.1", "Accept": "application/json"}


@pytest.fixture
def cookie(settings, site):
    settings.SECRET_KEY = site.environment["SECRET_KEY"]
    return {"Cookie": f"{COOKIE}={sign_view(user=7, groups=['viewer'])}", **STRANGER}


@pytest.mark.parametrize("path", PROBES)
def test_a_probe_answers_whatever_host_is_asked_for(site, path):
    reply = site.get(path, headers={"Host": "10.1.2.3:99", **STRANGER})

    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PROBES)
def test_a_probe_refuses_to_be_written_to(site, path):
    reply = site.get(path, method="POST", body=b"{}")

    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", PROBES)
def test_head_says_the_same_without_a_body(site, path):
    reply = site.get(path, method="HEAD", headers=STRANGER)

    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize("path", PROBES)
def test_the_probe_port_says_the_same_to_strangers(site, path):
    main = site.get(path, headers=STRANGER)
    port = site.probe(path, headers={"Accept": "application/json"})

    assert port.status == main.status
    assert set(port.json) == set(main.json)


def test_a_stranger_sees_no_detail(site):
    live = site.get("/api/health/live", headers=STRANGER).json
    ready = site.get("/api/health/ready", headers=STRANGER).json
    status = site.get("/status", headers=STRANGER).json

    assert set(live) == {"status", "timestamp"}
    assert set(ready) == {"ready", "checks", "lastHealthCheck"}
    assert status["staff"] is False
    assert status["checks"] == []
    assert [row["name"] for row in status["rows"]] == [
        *("Live", "Ready", "Startup", "Database", "Cache", "Queue"),
    ]


def test_the_view_cookie_unlocks_detail(site, cookie):
    live = site.get("/api/health/live", headers=cookie).json
    ready = site.get("/api/health/ready", headers=cookie).json

    assert {"uptime", "memory", "pid"} <= set(live)
    assert {check["name"] for check in ready["details"]} >= {"db", "cache", "queue"}


def test_the_probe_port_gives_no_detail_even_for_the_cookie(site, cookie):
    assert "pid" not in site.probe("/api/health/live", headers=cookie).json


def test_a_loopback_operator_sees_detail(site):
    assert "pid" in site.get("/api/health/live").json


def test_a_forged_or_cut_cookie_unlocks_nothing():
    value = sign_view(user=7, groups=["viewer"])

    assert read_view(value) is not None
    assert read_view(value[:-1]) is None
    assert read_view("x" + value) is None
    assert read_view("") is None


def test_a_cookie_of_more_than_8_hours_unlocks_nothing(time_machine):
    time_machine.move_to("2026-01-01T00:00:00Z", tick=False)
    value = sign_view(user=7, groups=[])

    time_machine.move_to("2026-01-01T08:00:01Z", tick=False)

    assert read_view(value) is None


@pytest.mark.parametrize("cookie", ["", "ftw_view", "a=b; ftw_view=", "\x00;=;;"])
def test_a_strange_cookie_header_is_a_stranger(cookie):
    assert is_staff({"HTTP_COOKIE": cookie}) is False


def test_a_token_is_not_looked_up_without_a_passing_database():
    # No database mark: a query would fail the test.
    environ = {"HTTP_AUTHORIZATION": "Bearer " + "a" * 64}

    assert is_staff(environ) is False


def test_ready_speaks_health_json(site):
    reply = site.get(
        "/api/health/ready", headers={**STRANGER, "Accept": "application/health+json"}
    )

    assert reply.headers["content-type"] == "application/health+json"
    assert reply.json["status"] in {"pass", "warn"}
    assert reply.json["checks"]["db"][0]["status"] == "pass"


def test_ready_speaks_plain_text(site):
    reply = site.get("/api/health/ready", headers={**STRANGER, "Accept": "text/plain"})

    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.body.startswith(b"ready: yes\n")


def test_an_unknown_path_on_the_probe_port_is_not_found(site):
    reply = site.probe("/admin/")

    assert (reply.status, reply.json) == (404, {"error": "Not found"})


@pytest.mark.parametrize("path", PROBES)
def test_the_views_behind_the_edge_say_the_same(path, settings, tmp_path):
    settings.RUN_DIR = tmp_path
    client = Client(headers={"accept": "application/json"})

    reply = client.get(path)

    assert reply.status_code == (200 if path.endswith(("live", "status")) else 503)
    assert json.loads(reply.content)


def test_the_status_page_is_a_page(site):
    reply = site.get("/status", headers={"Accept": "text/html"})

    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert b"Ready" in reply.body
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["referrer-policy"] == "same-origin"
