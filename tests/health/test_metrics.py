import json
import re

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from health import metrics
from health.metrics import Asked, Measures, expose, register_family
from tests.server import free_port, wait_for


def families(text: str):
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture(scope="module")
def scraped(site):
    """The families once the ledger was looked at and every probe was judged."""

    def whole():
        text = site.probe("/metrics").body.decode()
        wanted = ("ftw_ledger_size", "ftw_bugs", 'probe="live"', 'check="breakers"')
        return text if all(one in text for one in wanted) else None

    return wait_for(whole, 8, "the ledger's families")


def test_every_family_is_there_once(scraped):
    names = re.findall(r"^# TYPE (\S+)", scraped, re.MULTILINE)

    assert len(names) > 20
    assert len(names) == len(set(names))


def test_every_family_has_a_help_line_and_no_series_carries_a_pid(scraped):
    assert all(family.documentation for family in families(scraped).values())
    assert "pid=" not in scraped


def test_every_name_keeps_the_rules_of_prometheus(scraped):
    found = families(scraped)
    abbreviated = re.compile(r"_(ms|msec|millis|sec|secs|min|mins|kb|mb|percent)(_|$)")

    for name, family in found.items():
        samples = {sample.name for sample in family.samples}
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name)
        assert not abbreviated.search(name)
        if family.type == "counter":
            assert all(one.endswith(("_total", "_created")) for one in samples)
        else:
            assert not any(one.endswith("_total") for one in samples)
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_bytes"))


def test_a_report_is_counted_by_the_process_that_took_it(site):
    body = {"errorMessage": "no cart here", "pageUrl": "http://x/y", "severity": "low"}
    taken = site.get(
        "/api/bug-fixer/report",
        method="POST",
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )

    def counted():
        text = site.probe("/metrics").body.decode()
        return re.search(
            r'^ftw_bug_reports_total\{severity="low"\} (\d)', text, re.MULTILINE
        )

    assert taken.status == 200
    assert wait_for(counted, 5, "the counter")[1] == "1"


@pytest.fixture
def registered():
    kept = list(metrics._registered)
    metrics._registered.clear()
    yield metrics._registered
    metrics._registered[:] = kept


def test_families_of_others_are_asked_when_looked_at_and_never_in_a_scrape(registered):
    asked: list[int] = []

    def shop_families():
        asked.append(1)
        yield GaugeMetricFamily("shop_carts", "Carts.", value=len(asked))

    register_family(shop_families)
    register_family(shop_families)
    measures = Measures()
    before = expose(measures, lambda: None).decode()
    measures.asked.look()
    after = [expose(measures, lambda: None).decode() for _ in range(3)]

    assert "shop_carts" not in before
    assert all(text.count("shop_carts 1.0") == 1 for text in after)
    assert len(asked) == 1


def test_who_cannot_answer_keeps_no_other_from_it_and_what_was_known_stays(registered):
    works = [True]

    def broken_families():
        if not works[0]:
            raise OperationalError("the database is away")
        yield GaugeMetricFamily("shop_carts", "Carts.", value=7)

    def other_families():
        yield GaugeMetricFamily("shop_orders", "Orders.", value=3 if works[0] else 4)

    register_family(broken_families)
    register_family(other_families)
    asked = Asked()
    asked.look()
    works[0] = False
    with pytest.raises(OperationalError):
        asked.look()

    known = {family.name: family.samples[0].value for family in asked.collect()}
    assert known == {"shop_carts": 7, "shop_orders": 4}


def test_the_probes_pass_and_the_checks_are_named(scraped):
    found = families(scraped)

    probes = {s.labels["probe"]: s.value for s in found["ftw_probe_status"].samples}
    checks = {s.labels["check"] for s in found["ftw_check_status"].samples}
    assert probes == {"live": 1, "ready": 1, "startup": 1}
    assert checks == {"db", "cache", "queue", "disk", "ledger", "breakers", "canary"}


def test_memory_and_uptime_are_those_of_the_web_server(scraped):
    found = families(scraped)

    assert found["process_heap_bytes"].samples[0].value > 10_000_000
    assert 0 < found["process_uptime_seconds"].samples[0].value < 600


def test_a_duration_falls_into_its_bucket():
    measures = Measures()

    measures.observe("db", 0.005)
    measures.observe("db", 9.0)

    assert measures.checks.counts["db"] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert measures.checks.sums["db"] == pytest.approx(9.005)


def test_staff_get_the_same_text_on_the_main_port(site):
    reply = site.get("/api/health/metrics", headers={"Accept": "text/plain"})

    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"ftw_probe_status" in reply.body


@pytest.mark.django_db
def test_without_a_probe_port_the_metrics_are_503(settings):
    settings.PROBE_PORT = free_port()
    client = APIClient()
    client.force_authenticate(User(username="staff", is_staff=True, is_active=True))

    reply = client.get("/api/health/metrics")

    assert reply.status_code == 503
    assert reply["Retry-After"] == "5"
    assert "error" in reply.json()


def test_strangers_get_no_metrics_on_the_main_port(site):
    reply = site.get("/api/health/metrics", headers={"Forwarded": "for=192.0.2.1"})

    assert reply.status in {401, 403}
