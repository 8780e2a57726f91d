"""Which alert is silent beside which: the documented rules in a real Alertmanager."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_monitoring import ALERTS
from tests.deploy.tools import ROOT, tool
from tests.server import free_port, get, wait_for

PACKAGE = "apt-get install prometheus-alertmanager"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
BLOCK = re.search(r"^inhibit_rules:\n(?: .*\n)+", OPERATIONS, re.MULTILINE)
RULES = yaml.safe_load(BLOCK[0])["inhibit_rules"]
# What fails first, what is silent beside it, and the label both must share.
FAMILIES = [
    (
        "LivenessFailing",
        ["ReadinessDown", "SnapshotStale", "WatchdogSilent"],
        "instance",
    ),
    ("SnapshotStale", ["ReadinessDown"], "instance"),
    ("BeatSilent", ["LedgerUnverified", "CanaryLate"], ""),
    ("CanaryLate", ["QueueGrowing"], "queue"),
    ("BreakerOpen", ["BreakerFlapping"], "breaker"),
]
NAMES = [parent for parent, _, _ in FAMILIES]


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[int]:
    """An Alertmanager with the documented rules, and nobody to tell."""
    amtool = tool("amtool", PACKAGE)
    binary = shutil.which("prometheus-alertmanager") or tool("alertmanager", PACKAGE)
    folder = Path(tempfile.mkdtemp(prefix="ftw-alerts-", dir="/tmp"))
    nobody = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    config = folder / "alertmanager.yml"
    config.write_text(yaml.safe_dump({**nobody, "inhibit_rules": RULES}))
    checked = subprocess.run(
        [amtool, "check-config", config], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: get(port, "/-/ready").status == 200, 8, "Alertmanager")
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def alert(name: str, **labels: str) -> dict[str, Any]:
    return {"labels": {"alertname": name, **ALERTS[name]["labels"], **labels}}


def send(port: int, *alerts: dict[str, Any]) -> None:
    answer = get(
        port,
        "/api/v2/alerts",
        method="POST",
        body=json.dumps(alerts).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status == 200, answer.body


def silent(port: int, family: str) -> list[tuple[str, str]]:
    """Return which children of a family are inhibited: name and place."""
    found = get(port, f"/api/v2/alerts?filter=family%3D{family}").json
    return sorted(
        (one["labels"]["alertname"], one["labels"]["place"])
        for one in found
        if one["status"]["inhibitedBy"] and one["labels"]["alertname"] != family
    )


@pytest.mark.parametrize(("parent", "children", "shared"), FAMILIES, ids=NAMES)
def test_what_follows_from_a_failure_is_silent_beside_it(
    alertmanager, parent, children, shared
):
    def here(name: str, place: str) -> dict[str, Any]:
        labels = {shared: f"{parent}-{place}"} if shared else {}
        return alert(name, family=parent, place=place, **labels)

    send(alertmanager, here(children[0], "there"), *(here(c, "here") for c in children))
    before = silent(alertmanager, parent)
    send(alertmanager, here(parent, "here"))

    everywhere = [] if shared else [(children[0], "there")]
    wanted = sorted([*((child, "here") for child in children), *everywhere])
    wait_for(lambda: silent(alertmanager, parent) == wanted, 3, f"{wanted}")
    # One may follow from another, so not always none.
    assert len(before) < len(wanted)


def test_every_rule_is_of_alerts_that_there_are():
    named = [
        (
            rule["source_matchers"][0].removeprefix("alertname = "),
            re.sub(r'alertname =~? |"', "", rule["target_matchers"][0]).split("|"),
            ",".join(rule.get("equal", [])),
        )
        for rule in RULES
    ]

    assert named == FAMILIES
    assert {
        name for parent, children, _ in named for name in [parent, *children]
    } <= set(ALERTS)
