"""The real configuration with a stand-in that waits 2 and 4 s instead of 6 and 9."""

from pathlib import Path

exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))

from health import hooks  # noqa: E402


def post_fork(server, worker):
    hooks.post_fork(server, worker, try_after=2, kill_after=4)
