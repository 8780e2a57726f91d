"""Alerts, their manifest and the dashboard: checked by the tools that read them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

import breakers.metrics  # noqa: F401 - both fill the registry
import bugfixer.metrics  # noqa: F401
from health.metrics import RECOVERY, Measures, queue_families, watchdog_families
from tests.deploy.tools import ROOT, documents, one, tool
from tests.server import Installation, free_port, get, wait_for

FOLDER = ROOT / "monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
UNIT_TESTS = [
    test
    for path in sorted(FOLDER.glob("*.test.yaml"))
    for test in yaml.safe_load(path.read_text())["tests"]
]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
PACKAGE = "apt-get install prometheus"
# Calls under a breaker as it comes, to a port that nobody listens on.
FAIL = """
from integrations.errors import ServiceError
from integrations.http import guarded_request
for _ in range(5):
    try:
        guarded_request("landlord", "POST", "http://127.0.0.1:{port}/")
    except ServiceError:
        pass
"""


def filled(expression: str) -> str:
    """Put values where Grafana would."""
    return expression.replace("$__rate_interval", "1m")


def metrics_in(expression: str) -> set[str]:
    """Return the names of an expression's series."""
    return set(re.findall(r"\b(?:ftw|process|heal)_\w+", expression))


# -- Alerts --------------------------------------------------------------------------
def test_promtool_accepts_the_rules():
    promtool = tool("promtool", PACKAGE)

    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_is_silent_when_not():
    promtool = tool("promtool", PACKAGE)

    done = subprocess.run(
        [
            promtool,
            "test",
            "rules",
            *(path.name for path in FOLDER.glob("*.test.yaml")),
        ],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_has_a_firing_and_a_silent_test(name):
    asked = [
        bool(case["exp_alerts"])
        for test in UNIT_TESTS
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]

    assert True in asked
    # The one that is silent never: that is its whole point.
    assert False in asked or name == "DeadMansSwitch"


@pytest.mark.parametrize(("name", "rule"), ALERTS.items())
def test_each_alert_says_what_how_bad_and_where_to_read_on(name, rule):
    operations = (ROOT / "docs" / "operations.md").read_text()

    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    assert f"\n### {name}\n" in operations


def test_no_runbook_is_without_its_alert():
    operations = (ROOT / "docs" / "operations.md").read_text()
    section = operations.split("\n## Runbooks\n")[1].split("\n## ")[0]

    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize(("name", "rule"), ALERTS.items())
def test_absence_is_believed_after_two_scrapes(name, rule):
    interval = 15
    absent = re.search(r"\babsent\(|\bunless\b", rule["expr"])

    seconds = 60 * int(rule.get("for", "0m").removesuffix("m"))
    assert seconds >= 2 * interval or not absent or name == "WatchdogHolding"


def test_the_objective_of_recoveries_is_the_one_that_is_documented():
    operations = (ROOT / "docs" / "operations.md").read_text()
    said = re.search(r"(\d+) of 100 recoveries within (\d+) s,", operations)
    rates = re.search(
        r"more than (\d+) % in an hour, or more than (\d+) % in six", operations
    )
    buckets = re.search(r"`ftw_recovery_seconds` \(([\d., \n]+)\)", operations)

    rule = ALERTS["MttrSlo"]["expr"]
    limits = set(re.findall(r'le=~"(\d+)\(', rule))
    spent = re.findall(r"> ([\d.]+) \* ([\d.]+)", rule)
    (budget,) = {float(each) for _, each in spent}
    assert limits == {said[2]}
    assert budget == pytest.approx(1 - int(said[1]) / 100)
    asked = {round(float(times) * budget * 100) for times, _ in spent}
    assert asked == {int(rates[1]), int(rates[2])}
    assert tuple(map(float, buckets[1].split(","))) == RECOVERY
    assert float(said[2]) in RECOVERY


def test_the_manifest_carries_the_same_rules():
    monitor, rule = documents("monitoring.yaml")

    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == RULES
    selector = monitor["spec"]["selector"]["matchLabels"]
    service = one("Service", "fortheweebs-metrics")
    assert selector.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("module", ["monitoring.manifest", "monitoring.dashboard"])
def test_what_is_generated_is_up_to_date(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


# -- Dashboard -----------------------------------------------------------------------
@pytest.mark.parametrize("expression", TARGETS)
def test_each_target_of_the_dashboard_can_be_parsed(expression):
    promql_parser.parse(filled(expression))


def test_a_wrong_target_would_be_found():
    with pytest.raises(ValueError, match=r"unclosed|unexpected|missing|invalid"):
        promql_parser.parse("sum by (check (ftw_check_status)")


def test_each_panel_has_a_title_a_unit_and_a_place_of_its_own():
    places: set[tuple[int, int]] = set()

    for panel in DASHBOARD["panels"]:
        where = panel["gridPos"]
        cells = {
            (where["x"] + x, where["y"] + y)
            for x in range(where["w"])
            for y in range(where["h"])
        }
        assert panel["title"]
        assert not cells & places, panel["title"]
        assert where["x"] + where["w"] <= 24
        places |= cells
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(
        DASHBOARD["panels"]
    )


@pytest.mark.parametrize("expression", TARGETS)
def test_each_target_looks_at_the_chosen_instances(expression):
    names = [one["name"] for one in DASHBOARD["templating"]["list"]]

    assert names == ["datasource", "job", "instance"]
    assert '{job=~"$job",instance=~"$instance"' in expression
    assert len(re.findall(r"\{", expression)) == len(metrics_in(expression))


# -- A running copy ------------------------------------------------------------------
@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    """A copy in which nothing runs yet."""
    with Installation(LOCAL_OPERATOR="1") as made:
        yield made


@pytest.fixture(scope="module")
def running(site, request) -> Installation:
    """The copy at work, to which happened once what shows a family."""
    if shutil.which("prometheus"):
        # First: it looks for its targets for the first time after 5 s.
        request.getfixturevalue("prometheus")
    site.manage("ledger", "verify")
    site.start_watchdog("--period", "0.5", "--timeout", "0.5")
    site.start_web()
    site.wait_ready()
    provoke(site)
    site.wait_ready()
    return site


def provoke(site: Installation) -> None:
    """Let a probe change, and a bug be reported and analysed."""
    drain = site.data / "run" / "drain"
    drain.touch()
    changed = b'ftw_probe_transitions_total{probe="ready"'
    wait_for(lambda: changed in site.probe("/metrics").body, 8, "a change")
    drain.unlink()
    taken = post(
        site, "report", errorMessage="no", pageUrl="http://x/y", severity="low"
    )
    post(site, "analyze", reportId=taken["reportId"])


def post(site: Installation, act: str, **body: str) -> dict[str, Any]:
    """Do something of the bug fixer."""
    reply = site.get(
        f"/api/bug-fixer/{act}",
        method="POST",
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert reply.status == 200, reply.body
    return dict(reply.json)


def exposed(text: str) -> set[str]:
    """Return every name of a series that the text may hold."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
    return {
        name + end
        for name, kind in kinds.items()
        for end in (("", "_bucket", "_count", "_sum") if kind == "histogram" else ("",))
    }


def counted_where_used() -> set[str]:
    """Return the families of web and worker processes: files begin with first use."""
    names = set()
    for family in REGISTRY.collect():
        ends = ("_bucket", "_count") if family.type == "histogram" else ("_total",)
        names |= {family.name + end for end in ends}
    return names


def test_every_metric_that_is_asked_for_is_exposed(running):
    wanted = set().union(
        *(metrics_in(rule["expr"]) for rule in ALERTS.values()),
        *(metrics_in(param.values[0]) for param in TARGETS),
    )

    def missing() -> set[str]:
        text = running.probe("/metrics").body.decode()
        return wanted - exposed(text) - counted_where_used()

    wait_for(lambda: not missing(), 8, f"{missing()}")


Family = tuple[str, frozenset[str]]


def documented() -> dict[str, Family]:
    """Return what the tables of the documents say: type and labels by name."""
    found: dict[str, Family] = {}
    for name in ("health.md", "breakers.md"):
        text = (ROOT / "docs" / name).read_text()
        for cell, kind in re.findall(
            r"^\| ((?:`\w+(?:\{[\w,]+\})?`(?:, )?)+) \| (\w+) \|", text, re.MULTILINE
        ):
            for one_, labels in re.findall(r"`(\w+)(?:\{([\w,]+)\})?`", cell):
                found[one_] = kind, frozenset(labels.split(",") if labels else ())
    return found


def declared() -> dict[str, Family]:
    """Return families that show nothing before something happens, as they are built."""
    families = [*watchdog_families(Measures()), *queue_families((), 0)]
    built = [(one.name, one.type, one) for one in families]
    for collector in set(REGISTRY._names_to_collectors.values()):
        if isinstance(collector, MetricWrapperBase):
            built += [(one.name, one.type, collector) for one in collector.describe()]
    return {
        name + ("_total" if kind == "counter" else ""): (
            kind,
            frozenset(where._labelnames),
        )
        for name, kind, where in built
    }


def shown(text: str) -> dict[str, Family]:
    """Return the families that the text shows series of."""
    return {
        name: (family.type, frozenset(labels) - {"le"})
        for family in text_string_to_metric_families(text)
        for name in [family.name + ("_total" if family.type == "counter" else "")]
        for labels in [{label for s in family.samples for label in s.labels}]
        if family.samples
    }


def test_the_documents_list_every_metric_with_its_type_and_labels(running):
    listed = documented()
    only_built = {
        *(name for name in listed if name.startswith("ftw_breaker_")),
        *("ftw_watchdog_decisions_total", "ftw_restarts_total"),
        *("ftw_recovery_seconds", "ftw_celery_canary_age_seconds"),
        "ftw_celery_canary_delay_seconds",
    } - {"ftw_breaker_state"}

    def missing() -> set[str]:
        return (
            set(listed)
            - only_built
            - set(shown(running.probe("/metrics").body.decode()))
        )

    wait_for(lambda: not missing(), 8, f"{missing()}")
    seen = {**declared(), **shown(running.probe("/metrics").body.decode())}
    ours = {name for name in seen if name.startswith(("ftw_", "heal_"))}
    assert {name: seen[name] for name in listed} == listed
    assert ours - set(listed) == set()


def test_no_label_of_a_scrape_hides_one_of_a_family(running):
    monitor, _ = documents("monitoring.yaml")
    (endpoint,) = monitor["spec"]["endpoints"]
    given = {each["targetLabel"] for each in endpoint["relabelings"]}
    given |= {"job", "namespace", "service", "endpoint", "pod", "container"}

    families = [
        *text_string_to_metric_families(running.probe("/metrics").body.decode()),
        *REGISTRY.collect(),
    ]
    own = {name for f in families for sample in f.samples for name in sample.labels}
    assert {"probe", "component", "role"} <= own
    assert not given & own


def test_promtool_finds_nothing_to_say_of_the_metrics(running):
    promtool = tool("promtool", PACKAGE)

    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=running.probe("/metrics").body,
        capture_output=True,
    )

    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def prometheus(site) -> Iterator[int]:
    """A Prometheus that scrapes the copy, its rules made hundreds of times as quick."""
    binary = tool("prometheus", PACKAGE)
    folder = Path(tempfile.mkdtemp(prefix="ftw-prom-", dir="/tmp"))
    rules = re.sub(
        r"for: \d+m$",
        "for: 200ms",
        (FOLDER / "rules.yaml").read_text(),
        flags=re.MULTILINE,
    )
    (folder / "rules.yaml").write_text(rules)
    target = f"127.0.0.1:{site.probe_port}"
    config: dict[str, Any] = {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": "fortheweebs", "static_configs": [{"targets": [target]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: get(port, "/-/ready").status == 200, 8, "Prometheus")
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def firing(port: int) -> dict[str, dict[str, str]]:
    """Return the alerts that fire, with their labels."""
    alerts = get(port, "/api/v1/alerts").json["data"]["alerts"]
    return {
        alert["labels"]["alertname"]: alert["labels"]
        for alert in alerts
        if alert["state"] == "firing"
    }


def quiet(port: int) -> dict[str, dict[str, str]]:
    """Return the alerts that fire once the copy was seen well; nothing until then."""
    seen = get(port, "/api/v1/query?query=ftw_probe_status%7Bprobe%3D%22ready%22%7D==1")
    alerts = firing(port)
    well = seen.json["data"]["result"] and "ReadinessDown" not in alerts
    return alerts if well else {}


def test_a_real_prometheus_hears_that_readiness_is_down(running, prometheus):
    before = wait_for(lambda: quiet(prometheus), 8, "silence after the start")
    drain = running.data / "run" / "drain"

    drain.touch()
    try:
        found = wait_for(lambda: firing(prometheus).get("ReadinessDown"), 8, "an alert")
    finally:
        drain.unlink()

    assert "DeadMansSwitch" in before
    assert "LivenessFailing" not in firing(prometheus)
    assert found["instance"] == f"127.0.0.1:{running.probe_port}"
    assert found["probe"] == "ready"


def test_a_real_prometheus_hears_that_a_breaker_is_open(running, prometheus):
    before = wait_for(lambda: quiet(prometheus), 8, "silence after the start")

    running.manage("shell", "-v", "0", "-c", FAIL.format(port=free_port()))

    found = wait_for(lambda: firing(prometheus).get("BreakerOpen"), 15, "an alert")
    assert "BreakerOpen" not in before
    assert found["breaker"] == "landlord"
    assert "ReadinessDown" not in firing(prometheus)
