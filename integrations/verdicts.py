"""What an outcome says about a service, and what its error is called here. Pure.

Knows no SDK by import: they are loaded with the first call.
"""

from typing import Any

from breakers.throttling import read_retry_after, read_status
from integrations.errors import (
    IntegrationError,
    ServiceError,
    ServiceFailedError,
    ServiceRefusedError,
    ServiceThrottledError,
    UnreadableAnswerError,
)

# Said of the moment, not of the request: 408 Request Timeout, 429 Too Many Requests.
_OF_THE_MOMENT = frozenset({408, 429})
# Whose errors are given our names; anybody else's is a mistake of the caller.
_CLIENTS = frozenset(
    {"openai", "stripe", "postgrest", "httpx", "httpx2", "pydantic", "pydantic_core"}
)


def is_failure(outcome: Any) -> bool:
    """Tell whether an outcome speaks against the service; our own mistake does not."""
    if not isinstance(outcome, Exception):
        return False
    if isinstance(outcome, IntegrationError) and not isinstance(outcome, ServiceError):
        return False
    return not _is_ours(read_status(outcome))


def _is_ours(status: int | None) -> bool:
    return status is not None and 400 <= status < 500 and status not in _OF_THE_MOMENT


def is_throttled(error: Exception) -> bool:
    """Tell whether the service asks to come back later."""
    return read_retry_after(error) is not None


def is_pool_exhausted(error: BaseException | None) -> bool:
    """Tell whether a call waited in vain for a connection of our own pool.

    An SDK wraps that in its time-out, and the breaker sees only the outermost error.
    """
    while error is not None:
        if any(base.__name__ == "PoolTimeout" for base in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def name_error(name: str, error: Exception) -> ServiceError | None:
    """Return our name for a client's error; None: it is not a client's."""
    if isinstance(error, IntegrationError) or not _is_a_clients(error):
        return None
    status, after = read_status(error), read_retry_after(error)
    what = type(error).__name__ + (f" {status}" if status else "")
    if after is not None:
        return ServiceThrottledError(name, what, status, after)
    if _is_ours(status):
        return ServiceRefusedError(name, what, status)
    if _is_unreadable(error, status):
        return UnreadableAnswerError(name, what, status)
    return ServiceFailedError(name, what, status)


def _is_a_clients(error: Exception) -> bool:
    # JSONDecodeError is a ValueError of the standard library.
    package = type(error).__module__.partition(".")[0]
    return package in _CLIENTS or type(error).__name__ == "JSONDecodeError"


def _is_unreadable(error: Exception, status: int | None) -> bool:
    kinds = ("JSONDecodeError", "ValidationError", "DecodingError")
    return (status is not None and status < 300) or type(error).__name__ in kinds
