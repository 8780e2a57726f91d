"""Processes that are forked ready-made are as those that begin from nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nursery import ROOT, nursery
from tests.server import wait_for

OWN = ["fortheweebs", "health", "bugfixer", "integrations", "breakers", "ledger"]
TELL = f"""
import json, os, sys
own = {{*{OWN!r}, "prometheus_client", "django_prometheus"}}
loaded = sorted(own & {{name.split(".")[0] for name in sys.modules}})
print(json.dumps([dict(os.environ), sys.argv, loaded, os.getcwd(), __name__]))
print(sorted(os.listdir("/proc/self/fd")), file=sys.stderr)
import atexit
atexit.register(print, "at exit")
sys.exit(7)
"""


def test_a_child_has_its_own_environment_and_none_of_our_code():
    env = {"PATH": "/bin", "ROLE": "worker"}

    done = nursery().run(["-c", TELL, "more"], env)

    told, last = done.stdout.splitlines()
    found, words, loaded, folder, name = json.loads(told)
    assert {key: found[key] for key in env} == env
    assert not {"SECRET_KEY", "DATABASE_URL"} & set(found)
    assert (words, loaded, folder, name) == (["-c", "more"], [], str(ROOT), "__main__")
    assert (done.returncode, last) == (7, "at exit")
    # Its streams, and the folder that is listed: nothing of another child's.
    assert len(done.stderr.split()) == 4


def test_a_child_that_is_killed_says_by_what():
    with nursery().start(["-c", "input()"], os.environ) as process:
        before = process.poll()
        process.kill()

        assert process.wait(5) == -signal.SIGKILL

    assert before is None


def test_a_child_that_takes_too_long_is_not_waited_for():
    with nursery().start(["-c", "input()"], os.environ) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)

        process.kill()


def test_it_ends_with_whoever_asks():
    code = "from tests.nursery import nursery as n; print(n()._process.pid); input()"
    asker = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with asker:
        pid = int(asker.stdout.readline())
        asker.kill()

    wait_for(lambda: not _runs(pid), 5, "its end")


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and " Z " not in stat.read_text()
