"""Sites of their own: a database, a data folder, and real processes that use them."""

import os
import secrets
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg

from tests.nursery import Child, nursery

_SET_UP = "import django; django.setup()\n"


@dataclass(frozen=True, slots=True)
class Site:
    """One deployment: what its processes find in their environment."""

    env: dict[str, str]
    data: Path

    def start(self, code: str) -> Child:
        """Start a process that runs the code with Django set up."""
        return nursery().start(["-c", _SET_UP + textwrap.dedent(code)], self.env)

    def run(self, code: str) -> str:
        """Run the code to its end and return what it printed, without the log."""
        done = nursery().run(["-c", _SET_UP + textwrap.dedent(code)], self.env)
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [line for line in done.stdout.splitlines() if '"event": ' not in line]
        return "\n".join(lines).strip()

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a management command."""
        return nursery().run(["manage.py", *words], self.env)


def make_site(folder: Path, database_url: str, role: str = "worker") -> Site:
    """Make a site on a database that is migrated already.

    A worker's waits end: after 2 s, and after 1 s for a connection of the pool.
    """
    env = {
        **os.environ,
        "DATA_DIR": str(folder),
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "fortheweebs.settings",
        "ROLE": role,
    }
    return Site(env, folder)


def migrate(site: Site) -> None:
    """Make the tables of a site."""
    done = site.manage("migrate", "-v0")
    assert done.returncode == 0, done.stderr[-2000:]


@cache
def migrated() -> str:
    """Return the URL of a database that is migrated once, for copies."""
    folder = Path(os.environ["DATA_DIR"]) / "migrated"
    folder.mkdir()
    url = new_database(folder)
    migrate(make_site(folder, url, role="command"))
    return url


def new_database(folder: Path, template: str = "") -> str:
    """Make a database beside that of the suite, empty or a copy; return its URL."""
    url = os.environ["DATABASE_URL"]
    if url.startswith("sqlite"):
        path = folder / "site.sqlite3"
        if template:
            shutil.copy(template.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"
    name = f"site_{secrets.token_hex(4)}"
    base, _, query = url.partition("?")
    copied = (
        f" TEMPLATE {template.partition('?')[0].rsplit('/', 1)[1]}" if template else ""
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{copied}")
    return f"{base.rsplit('/', 1)[0]}/{name}?{query}"


def wait_until(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait on a condition with a deadline."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
