"""The real configuration with a master that never lets its lock go once it is asked."""

import re
import threading
import time
from pathlib import Path

exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))

from django.conf import settings  # noqa: E402

from health import hooks  # noqa: E402


def hang_when_asked() -> None:
    while not (settings.RUN_DIR / "hang").exists():
        time.sleep(0.1)
    # Years inside one call that keeps the interpreter's lock.
    re.match(r"(a+)+$", "a" * 60 + "b")


def when_ready(server):
    hooks.when_ready(server)
    threading.Thread(target=hang_when_asked, daemon=True).start()
