"""The things examined: each with a connection of its own and a bounded wait.

A required one that fails makes the instance not ready; a degradable one only warns.
Every check raises or returns a finding; what it raises is a fail.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import kombu
import psycopg
import redis
from django.conf import settings
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from redis.backoff import NoBackoff
from redis.retry import Retry

from breakers.services import list_breakers
from breakers.states import CircuitState
from health import canaries
from health.canary import Sight, canary_is_late, sender_is_silent
from health.places import run_dir
from health.snapshot import State
from ledger.state import state
from ledger.waits import bounded_connection

WAIT_SECONDS = 2.0
REDIS_WAIT_SECONDS = 1.0
DISK_WARN = 0.05
DISK_FAIL = 0.01
LEDGER_LAG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; an exception is a finding too."""

    state: State = State.PASS
    error: str = ""


class Dependency(Protocol):
    """One thing examined by one thread."""

    name: str
    required: bool
    period: float | None  # None: the sampler's

    def check(self) -> Finding:
        """Look once; raise when it does not answer."""

    def close(self) -> None:
        """Let go of what is kept open; the next check begins anew."""


class Database:
    """The default database answers, and which migrations it lacks."""

    name = "db"
    required = True
    period: float | None = None

    def __init__(self) -> None:
        """Connect at the first check."""
        self.missing_migrations: tuple[str, ...] | None = None
        self._known = frozenset[tuple[str, str]]()
        self._connection: Any = None

    def check(self) -> Finding:
        """Ask for one; until nothing is missing, ask for the migrations too."""
        if self._connection is None:
            self._connection = _connect()
        self._connection.execute("SELECT 1").fetchone()
        if self.missing_migrations != ():
            self.missing_migrations = self._missing()
        return Finding()

    def close(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _missing(self) -> tuple[str, ...]:
        if not self._known:
            loader = MigrationLoader(None, ignore_no_migrations=True)
            self._known = frozenset(loader.disk_migrations or {})
        try:
            rows = self._connection.execute("SELECT app, name FROM django_migrations")
            applied = {(str(app), str(name)) for app, name in rows.fetchall()}
        except (psycopg.errors.UndefinedTable, sqlite3.OperationalError) as error:
            if isinstance(error, sqlite3.OperationalError) and (
                "no such table" not in str(error)
            ):
                raise
            applied = set()
        return tuple(sorted(f"{app}.{name}" for app, name in self._known - applied))


def _connect() -> Any:
    """Open a connection of our own, outside the pool, that ends each wait."""
    wrapper = connections["default"]
    if wrapper.vendor == "postgresql":
        parameters = {**wrapper.get_connection_params(), "connect_timeout": 2}
        for name in ("cursor_factory", "context", "prepare_threshold"):
            parameters.pop(name, None)
        return bounded_connection(WAIT_SECONDS).connect(**parameters, autocommit=True)
    parameters = wrapper.get_connection_params()
    return sqlite3.connect(
        str(parameters["database"]),
        timeout=WAIT_SECONDS,
        uri=bool(parameters.get("uri", False)),
        isolation_level=None,
        check_same_thread=False,
    )


class Cache:
    """The Redis of the cache stores a value and gives it back."""

    name = "cache"
    required = True
    period: float | None = None

    def __init__(self) -> None:
        """Connect at the first check."""
        self._client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=REDIS_WAIT_SECONDS,
            socket_connect_timeout=REDIS_WAIT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def check(self) -> Finding:
        """Write and read one key: a full or read-only server answers a ping as well."""
        key, value = f"ftw:health:{settings.NODE_NAME}", os.urandom(8)
        self._client.set(key, value, ex=60)
        if self._client.get(key) != value:
            return Finding(State.FAIL, "what was stored did not come back")
        return Finding()

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()
        self._client.connection_pool.disconnect()


class Queue:
    """The broker answers through the very transport that tasks are sent by."""

    name = "queue"
    required = True
    period: float | None = None

    def __init__(self) -> None:
        """Connect at the first check."""
        self.depth: int | None = None
        self._connection: Any = None
        self._channel: Any = None

    def check(self) -> Finding:
        """Ask how many tasks wait."""
        if self._channel is None:
            self._connection = kombu.Connection(
                settings.CELERY_BROKER_URL,
                transport_options={
                    "socket_timeout": REDIS_WAIT_SECONDS,
                    "socket_connect_timeout": REDIS_WAIT_SECONDS,
                },
            )
            # Not `default_channel`: that retries for ever when the broker is away.
            self._connection.connect()
            self._channel = self._connection.channel()
        self.depth = int(self._channel.client.llen("celery"))
        return Finding()

    def close(self) -> None:
        """Drop the connection."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.close()


class Disk:
    """DATA_DIR has room and takes a write."""

    name = "disk"
    required = True
    period: float | None = 10.0

    def __init__(self, measure: Callable[[Path], float] | None = None) -> None:
        """Take another measure of the free share where a test needs one."""
        self._measure = measure or free_share

    def check(self) -> Finding:
        """Write, then measure: warn below 5 % free, fail below 1 %."""
        probe = run_dir() / f".write-{os.getpid()}"
        probe.write_bytes(b"x" * 64)
        probe.unlink()
        free = self._measure(Path(settings.DATA_DIR))
        if free < DISK_FAIL:
            return Finding(State.FAIL, f"{free:.1%} of the disk is free")
        if free < DISK_WARN:
            return Finding(State.WARN, f"{free:.1%} of the disk is free")
        return Finding()

    def close(self) -> None:
        """Keep nothing open."""


def free_share(path: Path) -> float:
    """Return the share of the file system that we may still fill."""
    stat = os.statvfs(path)
    return stat.f_bavail / stat.f_blocks if stat.f_blocks else 1.0


class Ledger:
    """The ledger keeps up and is whole; it degrades the instance, never stops it."""

    name = "ledger"
    required = False
    period: float | None = 5.0

    def check(self) -> Finding:
        """Fail on a broken ledger, warn when artifacts wait too long for a place."""
        found = state()
        verify = found.last_verify
        if verify is not None and not verify.ok:
            return Finding(State.FAIL, f"verification found it {verify.kind}")
        if not found.guards_present:
            return Finding(State.FAIL, "the guards against changes are missing")
        lag = found.oldest_pending_seconds
        if found.pending and lag > LEDGER_LAG_SECONDS:
            return Finding(State.WARN, f"artifacts have waited {lag:.0f} s for a place")
        return Finding()

    def close(self) -> None:
        """Give the connection back."""
        connections.close_all()


class Breakers:
    """The protected clients: an open circuit degrades the instance, never stops it."""

    name = "breakers"
    required = False
    period: float | None = None

    def check(self) -> Finding:
        """Warn while any breaker refuses calls; name those that are held too."""
        refusing = (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.FORCED_OPEN)
        odd = [one for one in list_breakers() if one.state is not CircuitState.CLOSED]
        named = ", ".join(f"{one.name} {one.state}" for one in odd)
        bad = any(one.state in refusing for one in odd)
        return Finding(State.WARN if bad else State.PASS, named)

    def close(self) -> None:
        """Give the connection back."""
        connections.close_all()


class Canary:
    """Workers take what is sent through each queue; it degrades, never stops."""

    name = "canary"
    required = False
    period: float | None = None

    def __init__(self) -> None:
        """Look from now on."""
        self.sights: tuple[Sight, ...] = ()
        self._client = canaries.connect()
        self._found = Finding()
        self._began = time.monotonic()

    def check(self) -> Finding:
        """Warn of a queue whose canaries nobody takes, or nobody sends.

        Without Redis nothing can be said: the checks of cache and queue say that.
        """
        try:
            self.sights = canaries.look(self._client, settings.QUEUES)
        except redis.RedisError:
            self.close()
            return self._found
        said = [text for sight in self.sights if (text := self._judge(sight))]
        self._found = Finding(State.WARN, "; ".join(said)) if said else Finding()
        return self._found

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def _judge(self, sight: Sight) -> str:
        if canary_is_late(sight):
            return f"queue {sight.queue}: no worker took anything for {sight.ran:.0f} s"
        if sender_is_silent(sight, watched=time.monotonic() - self._began):
            return f"queue {sight.queue}: beat sent nothing for {sight.sent:.0f} s"
        return ""


def default_dependencies() -> list[Dependency]:
    """Return what is examined, required ones first; further ones are added here."""
    return [Database(), Cache(), Queue(), Disk(), Ledger(), Breakers(), Canary()]
