"""Deployments of real processes on a database of their own, with or without Redis."""

import json
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from tests.breakers.members import Member, spawn
from tests.ledger.processes import Site, make_site
from tests.server import wait_for

NO_REDIS = "unix:///tmp/there-is-no-redis-here.sock"
ARTIFACTS = """
import json
from ledger import spool
from ledger.models import Artifact
spool.adopt()
rows = Artifact.objects.order_by("at")
told = [[row.type, row.details.get("new", row.details.get("after"))] for row in rows]
print(json.dumps(told))
"""
# How often a process without Redis looks at the table; two seconds in earnest.
QUICK = '{"POLL_ALONE": 0.4}'
OPTIONS = {"failure_threshold": 5, "reset_timeout": 30.0, "timeout": None}


class Deployment(ExitStack):
    """A database, and processes that use one breaker; all are ended with it."""

    def __init__(self, folder: Path, database_url: str, **environ: str) -> None:
        super().__init__()
        made = make_site(folder, database_url, role="worker")
        env = {"REDIS_URL": NO_REDIS, "SECONDS": QUICK, **environ}
        self.site = Site({**made.env, **env}, folder)
        self.processes: list[Member] = []

    def start(self, count: int = 1, *, agree: bool = True, **options: Any) -> Any:
        """Start processes and let each look at the table; one is returned alone."""
        started = [self._spawn({**OPTIONS, **options}) for _ in range(count)]
        for member in started:
            assert member.answer() == "ready"
            if agree:
                member.do("good")
                assert member.do("agreed")
        self.processes += started
        return started[0] if count == 1 else started

    def _spawn(self, options: dict[str, Any]) -> Member:
        words = ["tests.breakers.keeper", json.dumps(options)]
        return spawn(self, words, self.site.env)

    def end(self, member: Member) -> None:
        """Let a process end by itself, as a server does, in 10 s at most."""
        member.process.stdin.close()
        member.process.wait(10)

    def act(self, *words: str) -> str:
        """Run `manage.py breaker` as somebody at the machine; return what it says."""
        shell = Site({**self.site.env, "ROLE": "command"}, self.site.data)
        done = shell.manage("breaker", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def row(self) -> dict[str, Any]:
        """Return the row of the breaker, or nothing."""
        return self._one("SELECT * FROM breakers_breakerstate WHERE name = 'search'")

    def traffic(self) -> tuple[int, int]:
        """Return how many calls of the breaker are in the table, and failed ones."""
        told = self._one(
            "SELECT sum(calls) AS calls, sum(failed) AS failed"
            " FROM breakers_breakertraffic WHERE name = 'search'"
        )
        return told["calls"] or 0, told["failed"] or 0

    def _one(self, sql: str) -> dict[str, Any]:
        url = self.site.env["DATABASE_URL"]
        if url.startswith("sqlite"):
            connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
        else:
            connection = psycopg.connect(url)
        try:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description]
            found = cursor.fetchone()
        finally:
            connection.close()
        return dict(zip(names, found, strict=True)) if found else {}

    def wait_for_row(self, seconds: float = 5.0, **columns: Any) -> dict[str, Any]:
        """Wait until the row says so, and return it."""
        found: list[dict[str, Any]] = []

        def says() -> bool:
            found[:] = [self.row()]
            return columns.items() <= found[0].items()

        wait_for(says, seconds, f"a row with {columns}")
        return found[0]

    def artifacts(self) -> list[list[str]]:
        """Ship what waits in any spool; return type and new state of each artifact."""
        told = self.site.run(ARTIFACTS).splitlines()[-1]
        return json.loads(told)  # type: ignore[no-any-return]
