import re

import pytest
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from health.metrics import Measures
from tests.server import free_port, wait_for

FAMILIES = {
    *("ftw_probe_status", "ftw_check_status", "ftw_check_age_seconds"),
    *("ftw_check_duration_seconds", "ftw_probe_transitions"),
    *("ftw_snapshot_age_seconds", "ftw_build_info", "ftw_heal_artifacts"),
    *("heal_artifacts", "process_uptime_seconds", "process_heap_bytes"),
    *("ftw_worker_heartbeat_age_seconds", "ftw_inflight_oldest_seconds"),
    *("ftw_ledger_size", "ftw_ledger_pending", "ftw_ledger_anchored_size"),
    *("ftw_breaker_state", "ftw_watchdog_decisions", "ftw_restarts"),
    *("ftw_celery_canary_age_seconds", "ftw_celery_canary_delay_seconds"),
    *("ftw_queue_depth", "ftw_recovery_seconds"),
    "ftw_watchdog_last_beat_timestamp_seconds",
}


def families(text: str):
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture(scope="module")
def scraped(site):
    """The families once the ledger was looked at and every probe was judged."""

    def whole():
        text = site.probe("/metrics").body.decode()
        wanted = ("ftw_ledger_size", 'probe="live"', 'check="breakers"')
        return text if all(one in text for one in wanted) else None

    return wait_for(whole, 8, "the ledger's families")


def test_every_family_is_there_once(scraped):
    names = re.findall(r"^# TYPE (\S+)", scraped, re.MULTILINE)

    assert set(families(scraped)) >= FAMILIES
    assert len(names) == len(set(names))


def test_every_family_has_a_help_line_and_no_series_carries_a_pid(scraped):
    assert all(family.documentation for family in families(scraped).values())
    assert "pid=" not in scraped


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
