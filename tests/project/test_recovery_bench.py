"""The long recovery proof, as far as it can be looked at without the long run."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In a process of its own: its tasks would join those of the suite.
LANES = """
import json
from bench.recovery import LONG, QUICK, ROWS
print(json.dumps([sorted(ROWS), [lane.split() for lane in QUICK + LONG]]))
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True
    )


def test_a_full_run_produces_every_failure_once():
    rows, lanes = json.loads(run("-c", LANES).stdout)

    assert sorted(name for lane in lanes for name in lane) == rows


def test_a_failure_that_nobody_knows_is_refused_by_its_name():
    done = run("-m", "bench.recovery", "worker-frozn")

    assert done.returncode == 2
    assert "no such row: worker-frozn" in done.stderr
