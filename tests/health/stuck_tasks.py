"""The real Celery application with a task that never ends, and a watchdog that knows."""

import sys
import time

from fortheweebs.celery import app


@app.task(name="tests.hang", time_limit=1)
def hang():
    time.sleep(600)


@app.task(name="tests.nap")
def nap():
    time.sleep(4)


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
