"""The units: valid, confined, and in step with settings, runner and Celery."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from fortheweebs.celery import app
from fortheweebs.runner import python_parts
from tests.deploy.machine import HOME, ROOT

UNITS = sorted((ROOT / "systemd").glob("*.service"))
NAMES = [path.name for path in UNITS]
MEGABYTE = 1 << 20
# The master and two idle workers, without what requests take.
BASE_MEMORY = 150 * MEGABYTE


class Unit:
    """A unit file: every value of a key, in order."""

    def __init__(self, path: Path) -> None:
        self.values: dict[tuple[str, str], list[str]] = {}
        section = ""
        for line in path.read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                self.values.setdefault((section, key), []).append(value)

    def all(self, key: str, section: str = "Service") -> list[str]:
        return self.values.get((section, key), [])

    def one(self, key: str, section: str = "Service") -> str:
        (value,) = self.all(key, section)
        return value

    @property
    def environment(self) -> dict[str, str]:
        words = " ".join(self.all("Environment")).split()
        return dict(word.split("=", 1) for word in words)


def unit(name: str) -> Unit:
    return Unit(ROOT / "systemd" / name)


def megabytes(text: str) -> int:
    return int(text[:-1]) * {"M": 1, "G": 1024}[text[-1]]


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        sentence = "systemd-analyze is missing: apt-get install systemd"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)


def test_every_part_of_the_runner_has_a_unit():
    names = {"web": "fortheweebs.service"}
    expected = {
        names.get(part.name, f"fortheweebs-{part.name}.service")
        for part in python_parts()
    }

    assert set(NAMES) == expected


def test_the_manager_finds_nothing_to_say_about_the_units(tmp_path):
    for path in [*UNITS, ROOT / "systemd" / "fortheweebs.target"]:
        # Where the checkout is here, so that its commands are found.
        text = path.read_text().replace(str(HOME), str(ROOT))
        (tmp_path / path.name).write_text(text)

    done = analyze("verify", "--man=no", *map(str, tmp_path.iterdir()))

    # It exits 0 whatever it says.
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_key_in_the_wrong_section_would_be_found(tmp_path):
    text = (ROOT / "systemd" / "fortheweebs.service").read_text()
    moved = tmp_path / "fortheweebs.service"
    text = text.replace("StartLimitIntervalSec=0\n", "").replace(str(HOME), str(ROOT))
    moved.write_text(text.replace("[Service]", "[Service]\nStartLimitIntervalSec=0"))

    done = analyze("verify", "--man=no", str(moved))

    assert "StartLimitIntervalSec" in done.stderr


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_a_unit_is_exposed_to_little(path):
    done = analyze("security", "--offline=true", "--threshold=15", str(path))

    assert done.returncode == 0, done.stdout


def test_all_units_are_confined_by_the_same_lines():
    def confinement(path: Path) -> str:
        text = path.read_text()
        return text[text.index("# -- What it may not do") : text.index("[Install]")]

    assert len({confinement(path) for path in UNITS}) == 1


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_a_unit_is_started_again_for_ever(path):
    one = Unit(path)

    assert one.one("Restart") == "always"
    assert one.one("RestartSec") == "5"
    assert one.one("StartLimitIntervalSec", "Unit") == "0"
    assert "$$SERVICE_RESULT" in one.one("ExecStopPost")


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_the_kernel_slows_a_unit_down_before_it_kills_it(path):
    one = Unit(path)

    assert megabytes(one.one("MemoryHigh")) < megabytes(one.one("MemoryMax"))


def test_liveness_speaks_before_the_kernel_kills():
    web = unit("fortheweebs.service")
    cap = int(web.environment["LIVE_MAX_RSS"])

    needed = settings.WEB_WORKERS * cap + BASE_MEMORY

    assert needed <= megabytes(web.one("MemoryHigh")) * MEGABYTE


def test_units_run_what_make_run_runs():
    for part in python_parts():
        suffix = "" if part.name == "web" else f"-{part.name}"
        one = unit(f"fortheweebs{suffix}.service")
        python, *arguments = one.one("ExecStart").split()

        assert python == f"{HOME}/.venv/bin/python"
        assert arguments == part.command[1:]
        assert one.environment["ROLE"] == part.role


def test_timings_fit_settings_and_tasks():
    web, worker = unit("fortheweebs.service"), unit("fortheweebs-worker.service")

    assert int(web.one("TimeoutStopSec")) == settings.GRACEFUL_TIMEOUT + 5
    assert int(worker.one("TimeoutStopSec")) > app.conf.task_time_limit


def env_example() -> str:
    return (ROOT / ".env.example").read_text()


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_a_unit_sets_only_variables_that_are_read(path):
    known = set(re.findall(r"^([A-Z_]+)=", env_example(), re.MULTILINE))
    of_python = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    one = Unit(path)

    secrets = {line.split(":")[0] for line in one.all("LoadCredential")}

    assert set(one.environment) - known - of_python == {"DJANGO_SETTINGS_MODULE"}
    assert secrets <= known
    assert {name for name in known if re.search("KEY|SECRET", name)} <= secrets
    assert {"DATABASE_URL", "REDIS_URL"} <= secrets


def test_who_may_sample_knows_the_dead_man_and_nobody_else():
    told = {
        path.stem
        for path in UNITS
        if any("DEADMAN_URL" in line for line in Unit(path).all("LoadCredential"))
    }

    assert told == {"fortheweebs", "fortheweebs-watchdog"}


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_the_folder_of_the_data_is_the_one_that_is_made(path):
    one = Unit(path)

    folder = f"/var/lib/{one.one('StateDirectory')}"

    assert one.environment["DATA_DIR"] == folder
    assert f">>{folder}/run/%p.ended" in one.one("ExecStopPost")


def test_the_log_of_the_watchdog_is_where_logs_are():
    watchdog = unit("fortheweebs-watchdog.service")
    log, data = watchdog.one("LogsDirectory"), watchdog.environment["DATA_DIR"]

    assert watchdog.one("BindPaths") == f"/var/log/{log}:{data}/logs"


def test_the_target_wants_every_unit():
    target = Unit(ROOT / "systemd" / "fortheweebs.target")
    wanted = " ".join(target.all("Wants", "Unit")).split()

    assert sorted(wanted) == NAMES
    for name in NAMES:
        assert unit(name).one("PartOf", "Unit") == "fortheweebs.target"


def test_a_credential_is_read_as_if_a_file_named_it(tmp_path):
    (tmp_path / "SECRET_KEY").write_text("from-a-credential\n")
    environ = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    del environ["SECRET_KEY"]
    code = "from django.conf import settings; print(settings.SECRET_KEY)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "from-a-credential"


def test_credentials_that_cannot_be_read_stop_the_process(tmp_path):
    environ = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path / "missing")}
    code = "from django.conf import settings; print(settings.SECRET_KEY)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "CREDENTIALS_DIRECTORY" in done.stderr
