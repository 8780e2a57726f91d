"""When an answer means "later", and how much later. Pure, knows no client by name."""

import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from breakers.kinds import kind_of, says_nothing

TOO_MANY, UNAVAILABLE = 429, 503
# What a 429 without Retry-After is taken to mean, in seconds.
UNNAMED = 5.0


def read_status(error: BaseException) -> int | None:
    """Return the HTTP status an error carries, as requests, httpx or stripe spell it."""
    if says_nothing(error, kind_of(error)):
        return None
    answer = _look(error, "response")
    for holder, name in (
        (answer, "status_code"),
        (answer, "status"),
        (error, "status_code"),
        (error, "http_status"),
        (error, "code"),
    ):
        value = _look(holder, name)
        if isinstance(value, int) and 100 <= value <= 599:
            return value
    return None


def _look(holder: object, name: str) -> Any:
    """Return an attribute; a property that raises says nothing."""
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - the error being judged is the one to be seen
        return None


def read_retry_after(error: Exception) -> float | None:
    """Return the seconds an error asks to wait; None when it is no throttling.

    A 429, or a 503 with Retry-After (RFC 9110, 10.2.3: seconds or a date).
    """
    status = read_status(error)
    if status not in {TOO_MANY, UNAVAILABLE}:
        return None
    asked = _seconds(_header(error))
    if asked is None:
        return UNNAMED if status == TOO_MANY else None
    return asked


def _header(error: Exception) -> str | None:
    for holder in (_look(error, "response"), error):
        headers: Any = _look(holder, "headers")
        if isinstance(headers, Mapping) or hasattr(headers, "get"):
            value = headers.get("Retry-After") or headers.get("retry-after")
            if value:
                return str(value)
    return None


def _seconds(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return max(0.0, float(value)) if float(value) < 1e9 else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:  # "-0000", or no zone at all: HTTP knows only UTC
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
