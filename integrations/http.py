"""A guarded request to any address."""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from breakers import CircuitBreaker, get_breaker
from breakers.registry import find_breaker
from integrations.errors import MisuseError, UnreadableAnswerError
from integrations.retries import protected_call
from integrations.sessions import make_session
from integrations.verdicts import is_failure

if TYPE_CHECKING:
    import httpx2

# RFC 9110, 9.2.1: methods that change nothing. PUT and DELETE may be repeated by the
# letter of 9.2.2, but not every service keeps to it.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MOST_BYTES = 1 << 20


def guarded_request(
    name: str,
    method: str,
    url: str,
    *,
    most_bytes: int = MOST_BYTES,
    idempotent: bool | None = None,
    **options: Any,
) -> "httpx2.Response":
    """Ask an address under the breaker of a name; return an answer below 400, read.

    Safe methods, and requests with an Idempotency-Key, are tried up to three times. The
    other options are those of ``httpx2.Client.request``: params, headers, json, content.

    Raises:
        CallRefusedError: the circuit is open; nothing was sent.
        CallTimeoutError: there was no whole answer in time.
        MisuseError: the address is no http(s) one.
        ServiceError: it failed, refused (4xx) or answered more than ``most_bytes``.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise MisuseError(f"{url:.40} is not an address; write http(s)://host/path")
    if idempotent is None:
        idempotent = method.upper() in SAFE or _has_key(options.get("headers"))
    # Outside the guard: the first one takes 0.3 s, which is no fault of the service.
    session()
    return protected_call(
        find_breaker(name) or make_breaker(name),
        lambda: _ask(name, method, url, most_bytes, options),
        idempotent=idempotent,
    )


def make_breaker(name: str, **options: Any) -> CircuitBreaker:
    """Return the breaker of requests under a name, made now with these options."""
    return get_breaker(name, **{"is_failure": is_failure, **options})


def session() -> "httpx2.Client":
    """Return this process's session for any address."""
    return _session(os.getpid())


@lru_cache(maxsize=1)
def _session(pid: int) -> "httpx2.Client":
    import httpcore2
    import httpx2

    made: httpx2.Client = make_session(httpx2, httpcore2)
    return made


def _has_key(headers: Mapping[str, str] | None) -> bool:
    return any(key.lower() == "idempotency-key" for key in headers or ())


def _ask(
    name: str, method: str, url: str, most_bytes: int, options: dict[str, Any]
) -> "httpx2.Response":
    with session().stream(method, url, **options) as answer:
        if answer.status_code >= 400:
            answer.raise_for_status()
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > most_bytes:
                what = f"answered more than {most_bytes} bytes"
                raise UnreadableAnswerError(name, what, answer.status_code)
    return _read(answer, bytes(body))


def _read(answer: "httpx2.Response", body: bytes) -> "httpx2.Response":
    """Return an answer that holds its body, without the coding it came in."""
    return type(answer)(
        answer.status_code,
        headers=[
            (key, value)
            for key, value in answer.headers.multi_items()
            if key not in {"content-encoding", "content-length", "transfer-encoding"}
        ],
        content=body,
        request=answer.request,
    )
