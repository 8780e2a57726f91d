"""Write dashboard.json for Grafana, or check that it is up to date.

`python -m monitoring.dashboard [--check]`

Rows answer in the order in which one asks: is it well, what refuses calls, what was
healed, who works, is the ledger whole. Each target is a query over the families of
/metrics; the tests parse every one and ask a running copy for its families.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.manifest import run

DASHBOARD = Path(__file__).resolve().parent / "dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCOPE = 'job=~"$job",instance=~"$instance"'
WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 24, 8, 7
STATES = ((0, "fail", "red"), (0.5, "warn", "orange"), (1, "pass", "green"))
REFUSALS = ((0, "lets through", "green"), (1, "refuses", "red"))


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what it shows, in which unit, what it is for."""

    title: str
    query: str
    legend: str
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A heading with its panels."""

    title: str
    panels: tuple[Panel, ...]


def scoped(metric: str, labels: str = "") -> str:
    """Return a selector within the chosen jobs and instances."""
    return f"{metric}{{{', '.join(part for part in (SCOPE, labels) if part)}}}"


def rate(metric: str, labels: str = "") -> str:
    """Return the rate over an interval that Grafana fits to the scrapes."""
    return f"rate({scoped(metric, labels)}[$__rate_interval])"


def by(function: str, labels: str, query: str) -> str:
    """Return an aggregation by labels."""
    return f"{function} by ({labels}) ({query})"


def changes(metric: str, labels: str = "") -> str:
    """Return how often a counter was increased between two points of a panel."""
    return f"increase({scoped(metric, labels)}[$__rate_interval])"


def quantile(share: float, labels: str, buckets: str) -> str:
    """Return a quantile of a histogram by labels."""
    return f"histogram_quantile({share}, {by('sum', f'{labels}, le', buckets)})"


REFUSING = 'state=~"open|half_open|forced_open"'
UNSEEN = 'status=~"open|regressed"'
SINCE_VERIFIED = (
    f"time() - max({scoped('ftw_ledger_verified_timestamp_seconds')})",
    "age",
)
ROWS = (
    Row(
        "Now",
        (
            Panel(
                "Probes",
                by("min", "instance, probe", scoped("ftw_probe_status")),
                "{{instance}} {{probe}}",
                kind="state-timeline",
                about="1 while the probe passes. ready 0: no traffic. live 0: restart.",
            ),
            Panel(
                "Checks",
                by("min", "check", scoped("ftw_check_status")),
                "{{check}}",
                kind="state-timeline",
                about="The worst instance. 0.5 warns: a degradable check that fails.",
            ),
            Panel(
                "Age of the snapshot",
                scoped("ftw_snapshot_age_seconds"),
                "{{instance}}",
                unit="s",
                about="Older than 15 s is not ready.",
            ),
            Panel(
                "Duration of the checks, 95th percentile",
                quantile(0.95, "check", rate("ftw_check_duration_seconds_bucket")),
                "{{check}}",
                unit="s",
            ),
            Panel(
                "Changes of probes",
                by("sum", "probe, to", changes("ftw_probe_transitions_total")),
                "{{probe}} to {{to}}",
            ),
            Panel(
                "Versions",
                by("count", "version, python", scoped("ftw_build_info")),
                "{{version}} on {{python}}",
                kind="stat",
            ),
        ),
    ),
    Row(
        "Breakers",
        (
            Panel(
                "Refusing calls",
                by("max", "breaker", scoped("ftw_breaker_state", REFUSING)),
                "{{breaker}}",
                kind="state-timeline",
                about="1 while the fleet's breaker is open, on trial or forced open.",
            ),
            Panel(
                "Calls by outcome",
                by("sum", "breaker, outcome", rate("ftw_breaker_calls_total")),
                "{{breaker}} {{outcome}}",
                unit="cps",
            ),
            Panel(
                "Changes of state",
                by("sum", "breaker, to", changes("ftw_breaker_transitions_total")),
                "{{breaker}} to {{to}}",
            ),
            Panel(
                "Duration of calls, 95th percentile",
                quantile(
                    0.95, "breaker", rate("ftw_breaker_call_duration_seconds_bucket")
                ),
                "{{breaker}}",
                unit="s",
                about="Of a sample: one call a second, breaker and process.",
            ),
            Panel(
                "How long circuits were open, median",
                quantile(0.5, "breaker", changes("ftw_breaker_open_seconds_bucket")),
                "{{breaker}}",
                unit="s",
            ),
        ),
    ),
    Row(
        "Heals",
        (
            Panel(
                "Artifacts by type",
                by("max", "type, source", changes("ftw_heal_artifacts_total")),
                "{{type}} by {{source}}",
                about="Counted in the ledger, so every instance says the same.",
            ),
            Panel(
                "Decisions of the watchdog",
                by("sum", "action, result", changes("ftw_watchdog_decisions_total")),
                "{{action}} {{result}}",
            ),
            Panel(
                "Since the last beat of who watches",
                f"time() - {scoped('ftw_watchdog_last_beat_timestamp_seconds')}",
                "{{instance}} {{component}}",
                unit="s",
            ),
            Panel(
                "Restarts by reason",
                by("sum", "target, reason", changes("ftw_restarts_total")),
                "{{target}} {{reason}}",
            ),
            Panel(
                "Time to recover, 95th percentile",
                quantile(0.95, "failure", changes("ftw_recovery_seconds_bucket")),
                "{{failure}}",
                unit="s",
            ),
        ),
    ),
    Row(
        "Workers and queues",
        (
            Panel(
                "Oldest heartbeat of a role",
                by("max", "role", scoped("ftw_worker_heartbeat_age_seconds")),
                "{{role}}",
                unit="s",
                about="8 s is frozen for a web worker, 30 s for a worker or beat.",
            ),
            Panel(
                "Oldest request in flight",
                by("max", "role", scoped("ftw_inflight_oldest_seconds")),
                "{{role}}",
                unit="s",
            ),
            Panel(
                "Since a worker took a canary",
                by("min", "queue", scoped("ftw_celery_canary_age_seconds")),
                "{{queue}}",
                unit="s",
                about="One a queue every 30 s; over 90 s nobody listens.",
            ),
            Panel(
                "Tasks that wait",
                by("max", "queue", scoped("ftw_queue_depth")),
                "{{queue}}",
            ),
            Panel(
                "Memory of the web workers",
                scoped("process_heap_bytes"),
                "{{instance}}",
                unit="bytes",
            ),
            Panel(
                "Time since the web server started",
                scoped("process_uptime_seconds"),
                "{{instance}}",
                unit="s",
            ),
        ),
    ),
    Row(
        "Ledger",
        (
            Panel(
                "Whole when last verified",
                f"min({scoped('ftw_ledger_valid')})",
                "valid",
                kind="state-timeline",
            ),
            Panel("Since it was verified", *SINCE_VERIFIED, unit="s"),
            Panel(
                "Entries",
                f"max({scoped('ftw_ledger_size')})",
                "sequenced",
                more=(
                    (f"max({scoped('ftw_ledger_anchored_size')})", "anchored outside"),
                    (f"max({scoped('ftw_ledger_pending')})", "pending"),
                ),
                about="What is not anchored yet is what an owner could still rewrite.",
            ),
        ),
    ),
    Row(
        "Bugs",
        (
            Panel(
                "Bugs nobody has looked at",
                by("max", "status, severity", scoped("ftw_bugs", UNSEEN)),
                "{{status}} {{severity}}",
            ),
            Panel(
                "Reports",
                by("sum", "severity", rate("ftw_bug_reports_total")),
                "{{severity}}",
                unit="cps",
            ),
            Panel(
                "Duration of an analysis, 95th percentile",
                quantile(0.95, "outcome", rate("ftw_bug_analysis_seconds_bucket")),
                "{{outcome}}",
                unit="s",
            ),
        ),
    ),
)


def target(number: int, expression: str, legend: str) -> dict[str, Any]:
    """Return one query."""
    return {
        "datasource": SOURCE,
        "expr": expression,
        "legendFormat": legend,
        "range": True,
        "refId": chr(ord("A") + number),
    }


def field_config(panel: Panel) -> dict[str, Any]:
    """Return unit and, for states, their words and colours."""
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.kind == "state-timeline":
        meanings = REFUSALS if panel.title == "Refusing calls" else STATES
        words = {str(value): {"text": word} for value, word, _ in meanings}
        steps = [
            {"value": value or None, "color": colour} for value, _, colour in meanings
        ]
        defaults["mappings"] = [{"type": "value", "options": words}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["color"] = {"mode": "thresholds"}
    return {"defaults": defaults, "overrides": []}


def place(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """Return one panel where it belongs."""
    asked = ((panel.query, panel.legend), *panel.more)
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {"h": PANEL_HEIGHT, "w": PANEL_WIDTH, "x": x, "y": y},
        "fieldConfig": field_config(panel),
        "targets": [target(n, *one) for n, one in enumerate(asked)],
    }


def panels() -> list[dict[str, Any]]:
    """Lay the rows out from left to right, top to bottom."""
    made: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        heading = {"type": "row", "title": row.title, "collapsed": False, "panels": []}
        place_ = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        made.append({"id": len(made) + 1, "gridPos": place_, **heading})
        x, y = 0, y + 1
        for panel in row.panels:
            if x + PANEL_WIDTH > WIDTH:
                x, y = 0, y + PANEL_HEIGHT
            made.append(place(panel, len(made) + 1, x, y))
            x += PANEL_WIDTH
        y += PANEL_HEIGHT
    return made


def variable(name: str, query: str) -> dict[str, Any]:
    """Return a choice of label values."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "fortheweebs",
        "title": "ForTheWeebs",
        "tags": ["fortheweebs"],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                source,
                variable("job", "label_values(ftw_build_info, job)"),
                variable(
                    "instance", 'label_values(ftw_build_info{job=~"$job"}, instance)'
                ),
            ]
        },
        "panels": panels(),
    }


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=2) + "\n"
    sys.exit(run(DASHBOARD, text, __doc__))
