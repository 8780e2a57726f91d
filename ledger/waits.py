"""Database waits that end: a psycopg connection with a limit on each wait.

A stopped PostgreSQL still blocked its caller after 20 s with connect_timeout,
statement_timeout and tcp_user_timeout all set; only a limit in the waiting thread
helps. `conn.cancel()` is forbidden: it holds the interpreter lock until the server
answers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg

_UNSET = -1.0
_override: ContextVar[float | None] = ContextVar("database_wait", default=_UNSET)


@contextmanager
def database_wait(seconds: float | None) -> Iterator[None]:
    """Set the limit of each database wait in this context; None waits for ever."""
    token = _override.set(seconds)
    try:
        yield
    finally:
        _override.reset(token)


def bounded_connection(default: float | None) -> type[psycopg.Connection[Any]]:
    """Return a connection class whose waits end after ``default`` seconds."""

    class BoundedConnection(psycopg.Connection[Any]):
        """Close and raise OperationalError when the server does not answer in time."""

        def wait(self, gen: Any, interval: float = 0.1, timeout: Any = None) -> Any:
            """Run one wait; psycopg's own timeouts (notifies, cancel) stay."""
            if timeout is not None:
                return super().wait(gen, interval, timeout)
            override = _override.get()
            limit = default if override == _UNSET else override
            try:
                return super().wait(gen, interval, limit)
            # A private name: psycopg is pinned and a test on a stopped server guards it.
            except psycopg.errors._WaitTimeout:
                # This thread is the only one in the connection; the pool replaces it.
                self.pgconn.finish()
                message = f"the database did not answer within {limit} s"
                raise psycopg.OperationalError(message) from None

    return BoundedConnection
