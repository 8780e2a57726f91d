"""No child is forked while a thread of main is in the database."""

import subprocess
import sys

import pytest

from tests.server import ROOT

FORK = """
import os, sys, threading, time
import django
django.setup()
from health import poolslots
poolslots.FORK_WAIT_SECONDS = 0.5 if sys.argv[1] == "for_ever" else 9.0
gate = poolslots.ForkGate()
gate.register()
inside, done = threading.Event(), []
def use():
    with gate.no_fork():
        inside.set()
        time.sleep(60 if sys.argv[1] == "for_ever" else 0.3)
        done.append(1)
threading.Thread(target=use, daemon=True).start()
inside.wait()
child = os.fork()
if not child:
    with gate.no_fork():
        os._exit(10 + len(done))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), flush=True)
if sys.argv[1] != "for_ever":
    with gate.no_fork():
        print("open", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("how_long", "said"), [("shortly", "11\nopen\n"), ("for_ever", "10\n")]
)
def test_a_fork_waits_for_a_thread_in_the_database_but_not_for_ever(
    how_long, said, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", FORK, how_long],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=9,
    )

    assert done.stdout == said, done.stderr
