"""The real Celery application with slow tasks and canaries, and a watchdog that knows."""

import os
import sys
import time
from pathlib import Path

from tests.health.quick_beat import app


# Acknowledged first: a task whose worker was killed would come back into other tests.
@app.task(name="tests.hang", time_limit=2, acks_late=False)
def hang():
    Path(os.environ["DATA_DIR"], "hanging").touch()
    time.sleep(600)


@app.task(name="tests.nap")
def nap():
    Path(os.environ["DATA_DIR"], "napping").touch()
    time.sleep(4)


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
