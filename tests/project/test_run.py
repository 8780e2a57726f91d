"""`make run` as a stranger sees it: the original's curl lines, faults, the end."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.system import ROOT, System, fetch, wait_for

# The curl lines of the original document, as written there; only the port differs here.
ORIGINAL = r"""
curl -X POST http://localhost:3001/api/bug-fixer/report -H "Content-Type: application/json" -d '{
  "errorMessage": "Test error",
  "pageUrl": "http://localhost:3003/test",
  "severity": "medium"
}'
---
curl http://localhost:3001/api/bug-fixer/list
---
curl http://localhost:3001/api/health/artifacts
---
curl http://localhost:3001/api/health/live
---
curl http://localhost:3001/api/health/ready
---
curl http://localhost:3001/api/health/startup
---
curl http://localhost:3001/api/health/health
---
curl 'http://localhost:3001/api/health/artifacts?limit=100&type=restart'
---
curl http://localhost:3001/api/health/metrics
"""
MARKS = ["success", "bugs", "artifacts", "alive", "ready", "ready", "liveness"]
MARKS += ["artifacts", "process_uptime_seconds"]


@pytest.mark.xdist_group("system")
@pytest.mark.parametrize(
    ("line", "mark"), list(zip(ORIGINAL.split("---"), MARKS, strict=True))
)
def test_a_curl_line_of_the_original_document_works(system, line, mark):
    written = line.strip().replace("localhost:3001", f"localhost:{system.port}")

    done = subprocess.run(
        ["bash", "-c", f"{written} -s -f"], capture_output=True, text=True, timeout=20
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert mark in done.stdout


@pytest.mark.xdist_group("system")
def test_an_operator_login_is_printed_once(system):
    assert (
        len(re.findall(r"operator login: operator +password: \S+", system.said())) == 1
    )


@pytest.mark.xdist_group("system")
def test_the_secret_key_is_for_its_owner_only(system):
    assert (system.data / "secret_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.xdist_group("system")
def test_all_parts_run_and_are_seen(system):
    for words in ("gunicorn", "celery -A fortheweebs worker", "beat", "watchdog"):
        assert system.part(words).is_running()
    assert fetch(f"http://127.0.0.1:{system.probe_port}/api/health/live")[0] == 200


@pytest.mark.xdist_group("system")
@pytest.mark.parametrize("words", ["gunicorn", "fortheweebs beat", "valkey-server"])
def test_a_killed_part_comes_back(system, words):
    before = system.part(words)

    before.kill()

    wait_for(lambda: not before.is_running(), 5, "the part to die")
    wait_for(
        lambda: any(words in " ".join(p.cmdline()) for p in system.processes()),
        10,
        f"{words} to come back",
    )
    wait_for(system.is_ready, 20, "ready after the restart")


@pytest.mark.xdist_group("system")
def test_a_second_copy_runs_beside_the_first_and_ctrl_c_leaves_no_process(
    system, tmp_path
):
    other = System(tmp_path / "var").start()
    ours = other.processes()

    both = system.get("/api/health/ready")[0], other.get("/api/health/ready")[0]
    os.killpg(other.process.pid, signal.SIGINT)

    code = other.process.wait(10)
    wait_for(lambda: not any(p.is_running() for p in ours), 1, "every process to end")
    other.stop()
    assert both == (200, 200)
    assert len(ours) >= 6
    assert code in {0, 2, -signal.SIGINT}
    assert system.get("/api/health/ready")[0] == 200


@pytest.mark.xdist_group("system")
def test_a_second_run_on_the_same_folder_is_refused(system):
    code, said = run_briefly(DATA_DIR=str(system.data))

    assert code == 1
    assert "Another run" in said


@pytest.mark.xdist_group("system")
def test_a_taken_port_is_refused_by_name(system, tmp_path):
    code, said = run_briefly(DATA_DIR=str(tmp_path), PORT=str(system.port))

    assert code == 1
    assert f"PORT {system.port}" in said
    assert "Traceback" not in said


def test_an_unreachable_database_is_a_sentence_and_exit_1(tmp_path):
    code, said = run_briefly(
        DATA_DIR=str(tmp_path), DATABASE_URL="postgresql://me@127.0.0.1:1/shop"
    )

    assert code == 1
    assert "DATABASE_URL" in said
    assert "Traceback" not in said


def test_a_wrong_value_is_a_sentence_and_exit_1(tmp_path):
    code, said = run_briefly(DATA_DIR=str(tmp_path), PORT="zero")

    assert code == 1
    assert "PORT: " in said
    assert "Traceback" not in said


def run_briefly(**environ: str) -> tuple[int, str]:
    """Run the runner in the expectation that it refuses."""
    kept = {"PATH": os.environ["PATH"], "PORT": "3977", **environ}
    done = subprocess.run(
        [sys.executable, "-m", "fortheweebs.runner"],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr
