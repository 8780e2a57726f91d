"""Supabase's REST interface under the breaker ``supabase``.

With the official client `postgrest`; the package `supabase` is that and four others.
"""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from breakers import CircuitBreaker, get_breaker
from integrations.errors import (
    ServiceError,
    ServiceRefusedError,
    UnreadableAnswerError,
)
from integrations.keys import need
from integrations.retries import protected_call
from integrations.sessions import make_session
from integrations.verdicts import is_failure as is_http_failure

if TYPE_CHECKING:
    from postgrest import SyncPostgrestClient

Result = TypeVar("Result")
NAME = "supabase"
TIMEOUT = 5.0


def breaker() -> CircuitBreaker:
    """Return the breaker of every call to Supabase."""
    return get_breaker(NAME, timeout=TIMEOUT, is_failure=is_failure)


def is_failure(outcome: Any) -> bool:
    """Tell whether an outcome speaks against Supabase.

    PostgREST names refused queries with codes of its own and of PostgreSQL, without a
    status: 429 and 5xx never become one, see ``_refuse_early``.
    """
    if isinstance(outcome, Exception) and type(outcome).__name__ == "APIError":
        return _is_unreadable(outcome)
    return is_http_failure(outcome)


def _is_unreadable(error: Any) -> bool:
    # The status stands in for a code where there was no JSON.
    code = str(error.code)
    return len(code) == 3 and code.startswith("2")


def client() -> "SyncPostgrestClient":
    """Return the official client of this process: own retries off, deadline kept.

    Raises:
        NotConfiguredError: SUPABASE_URL or SUPABASE_SERVICE_KEY is not set.
    """
    url, key = need("SUPABASE_URL"), need("SUPABASE_SERVICE_KEY")
    return _client(url.rstrip("/"), key, os.getpid())


@lru_cache(maxsize=1)
def _client(url: str, key: str, pid: int) -> "SyncPostgrestClient":
    import httpcore
    import httpx
    import postgrest

    headers = {"apikey": key, "Authorization": f"Bearer {key}"}
    session = make_session(
        httpx, httpcore, headers=headers, on_response=[_refuse_early]
    )
    return postgrest.SyncPostgrestClient(
        f"{url}/rest/v1", headers=headers, http_client=session, retry_enabled=False
    )


def _refuse_early(answer: Any) -> None:
    """Raise what the client would turn into a code, or into rows that are a text."""
    if answer.status_code >= 500 or answer.status_code in {408, 429}:
        answer.raise_for_status()
    kind = answer.headers.get("Content-Type", "")
    wanted = answer.request.headers.get("Accept", "")
    if answer.is_success and "html" in kind and "html" not in wanted:
        raise UnreadableAnswerError(NAME, "answered something else", answer.status_code)


def call(
    fn: "Callable[[SyncPostgrestClient], Result]", *, idempotent: bool = False
) -> Result:
    """Call ``fn(client)`` under the breaker; say ``idempotent`` of what only reads.

    Raises:
        NotConfiguredError: SUPABASE_URL or SUPABASE_SERVICE_KEY is not set.
        CallRefusedError, CallTimeoutError, ServiceError: as in ``protected_call``.
    """
    import postgrest

    sdk = client()
    try:
        return protected_call(breaker(), partial(fn, sdk), idempotent=idempotent)
    except ServiceError as error:
        if not isinstance(error.__cause__, postgrest.APIError):
            raise
        raise _renamed(error.__cause__) from error.__cause__


def _renamed(error: Any) -> ServiceError:
    kind = UnreadableAnswerError if _is_unreadable(error) else ServiceRefusedError
    return kind(NAME, f"APIError {error.code}")


def ping() -> None:
    """Ask the interface for its headers; no table is read."""
    call(
        lambda sdk: sdk.session.head(f"{sdk.base_url}/").raise_for_status(),
        idempotent=True,
    )
