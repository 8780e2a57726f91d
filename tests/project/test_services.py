"""The suite's own servers end with it, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.server import ROOT, wait_for

START = """
import os, time
from tests import services
names = "DATABASE_URL", "REDIS_URL", "DATA_DIR"
print(*(os.environ[name] for name in names), flush=True)
time.sleep(60)
"""


def running_in(folder: Path) -> list[str]:
    """Return the command lines that name a folder."""
    lines = [
        " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])
    ]
    return [line for line in lines if str(folder) in line]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name
)
def test_a_killed_run_leaves_no_server_and_no_folder(number):
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("TEST_", "PYTEST_"))
    }
    command = [sys.executable, "-c", START]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        database, redis, data = run.stdout.readline().split()
        postgres = Path(database.partition("host=")[2]).parent
        folders = [postgres, Path(redis.removeprefix("unix://")).parent, Path(data)]
        assert all(map(Path.is_dir, folders))
        assert running_in(postgres)

        run.send_signal(number)

    for folder in folders:
        wait_for(lambda folder=folder: not folder.exists(), 8, f"the end of {folder}")
        assert not running_in(folder)
