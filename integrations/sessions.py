"""HTTP sessions that keep the caller's deadline.

httpx limits each read, not the call: an answer that trickles in lasts for ever. So each
wait on the network is cut to what is left of the deadline at that moment. The look-up of
a host name cannot be cut; a resolver limits it itself (`options timeout` of resolv.conf).
"""

from types import ModuleType
from typing import Any

from breakers import remaining

# The most a wait may last where no breaker and no deadline says less.
UNLIMITED = 30.0
# A write goes out in parts, so that a reader who hardly reads is noticed.
PART = 1 << 16

_sessions: list[Any] = []


def make_session(library: ModuleType, core: ModuleType, **options: Any) -> Any:
    """Return a client of httpx or httpx2 with its core that keeps the deadline.

    Redirects are not followed; the proxies of the environment are used.
    """
    hooks = {"request": [_limit_waits], "response": options.pop("on_response", [])}
    session = library.Client(
        timeout=UNLIMITED, follow_redirects=False, event_hooks=hooks, **options
    )
    for transport in (session._transport, *session._mounts.values()):
        if transport is not None:
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend, core)
    _sessions.append(session)
    return session


def close_sessions() -> None:
    """Close every connection; the clients that held them are of no use any more."""
    while _sessions:
        _sessions.pop().close()


def _limit_waits(request: Any) -> None:
    """Cut the waits that the session does itself, as the one for a connection."""
    waits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: remaining(UNLIMITED if wait is None else wait)
        for kind, wait in waits.items()
    }


class _Stream:
    """A connection whose waits end with the deadline."""

    def __init__(self, inner: Any, core: ModuleType) -> None:
        self._inner, self._core = inner, core

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _left(timeout, self._core.ReadTimeout)
        return bytes(self._inner.read(max_bytes, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PART):
            left = _left(timeout, self._core.WriteTimeout)
            self._inner.write(buffer[start : start + PART], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "_Stream":
        left = _left(timeout, self._core.ConnectTimeout)
        inner = self._inner.start_tls(ssl_context, server_hostname, left)
        return _Stream(inner, self._core)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend:
    """Opens connections within the deadline."""

    def __init__(self, inner: Any, core: ModuleType) -> None:
        self._inner, self._core = inner, core

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **options: Any
    ) -> _Stream:
        left = _left(timeout, self._core.ConnectTimeout)
        inner = self._inner.connect_tcp(host, port, timeout=left, **options)
        return _Stream(inner, self._core)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def _left(most: float | None, late: type[Exception]) -> float:
    """Return the seconds a wait may last.

    Raises:
        Exception: none is left; the kind the caller would raise itself.
    """
    left = remaining(UNLIMITED if most is None else most)
    if left is None or left <= 0.0:
        raise late("no time is left")
    return left
