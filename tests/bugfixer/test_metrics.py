"""What the bug fixer counts."""

import pytest
from prometheus_client import REGISTRY

from bugfixer import services
from bugfixer.metrics import bug_families
from bugfixer.models import Bug
from tests.bugfixer.builders import make_report

pytestmark = pytest.mark.django_db


def reports(severity: str) -> float:
    labels = {"severity": severity}
    return REGISTRY.get_sample_value("ftw_bug_reports_total", labels) or 0.0


def bugs() -> dict[tuple[str, str], float]:
    (family,) = bug_families()
    return {
        (sample.labels["status"], sample.labels["severity"]): sample.value
        for sample in family.samples
    }


def test_a_report_is_counted_by_its_severity():
    before = reports("high"), reports("low")

    make_report(severity="high")

    assert (reports("high"), reports("low")) == (before[0] + 1, before[1])


def test_a_repeat_is_not_counted():
    before = reports("high")

    for _ in range(3):
        make_report(severity="high", client_event_id="tab-1")

    assert reports("high") == before + 1


def test_bugs_are_counted_by_status_and_severity_in_one_query(
    django_assert_num_queries,
):
    for number, severity in enumerate(("critical", "critical", "low")):
        make_report(error_message=f"no {'abc'[number]} here", severity=severity)
    Bug.objects.filter(severity="low").update(status="fixed")

    with django_assert_num_queries(1):
        found = bugs()

    assert len(found) == 6 * 4
    assert {key: value for key, value in found.items() if value} == {
        ("open", "critical"): 2,
        ("fixed", "low"): 1,
    }


def test_an_analysis_is_timed_by_who_made_it():
    labels = {"outcome": "offline"}
    name = "ftw_bug_analysis_seconds_count"
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    report = make_report()

    services.analyze_bug(report=report, actor="")

    assert REGISTRY.get_sample_value(name, labels) == before + 1
