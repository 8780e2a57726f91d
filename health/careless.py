"""What keeps a careless client from stopping a gunicorn worker's main loop.

As shipped the loop itself lingers up to 2 s on a client that reads its answer and
does not close: four of them made p99 2,993 ms. Guarded by a test on the pinned
gunicorn, because two of its private names are replaced.
"""

import contextlib
import os
import queue
import selectors
import socket
import struct
import threading
import time
from typing import Any

from gunicorn.workers import gthread

RECEIVE_SECONDS = 2
SEND_SECONDS = 5
DEFER_ACCEPT_SECONDS = 5
SILENT_SECONDS = 1.0
LINGER_SECONDS = 2.0
MOST_LINGERING = 512
_TIMEVAL = struct.Struct("ll")


def limit_listener(sock: socket.socket) -> None:
    """Set the waits that accepted sockets inherit.

    Without them 24 half-sent headers silenced the port for good.
    """
    receive, send = _TIMEVAL.pack(RECEIVE_SECONDS, 0), _TIMEVAL.pack(SEND_SECONDS, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, receive)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, send)
    tcp = sock.family in {socket.AF_INET, socket.AF_INET6}
    if tcp and hasattr(socket, "TCP_DEFER_ACCEPT"):
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS
        )


def bound_gunicorn() -> None:
    """Send silent sockets back after 1 s instead of 5, and linger elsewhere."""
    gthread.DEFAULT_WORKER_DATA_TIMEOUT = SILENT_SECONDS
    gthread.TConn.close = close_without_lingering  # type: ignore[method-assign]


def close_without_lingering(connection: Any, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
    """Close at once if the client has closed, else let the linger thread wait."""
    sock = connection.sock
    try:
        if graceful:
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(0)
            if sock.recv(65536):
                linger(sock)
                return
    except BlockingIOError:
        linger(sock)
        return
    except OSError:
        pass
    with contextlib.suppress(OSError):
        sock.close()


class _Lingering:
    """One daemon thread a process that closes sockets at end of file or after 2 s."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.count = 0
        self._new: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="linger", daemon=True).start()

    def add(self, sock: socket.socket) -> None:
        if self.count >= MOST_LINGERING:
            sock.close()
            return
        self.count += 1
        self._new.put(sock)

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        until: dict[socket.socket, float] = {}
        while True:
            for sock in self._arrivals(wait=not until):
                until[sock] = time.monotonic() + LINGER_SECONDS
                with contextlib.suppress(OSError, ValueError):
                    selector.register(sock, selectors.EVENT_READ)
            ended = {key.fileobj for key, _ in selector.select(0.05)}
            now = time.monotonic()
            for sock in [s for s, end in until.items() if now >= end or s in ended]:
                if now >= until[sock] or _at_end(sock):
                    self._close(selector, sock)
                    del until[sock]

    def _arrivals(self, *, wait: bool) -> list[socket.socket]:
        arrived = [self._new.get()] if wait else []
        with contextlib.suppress(queue.Empty):
            while True:
                arrived.append(self._new.get_nowait())
        return arrived

    def _close(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            selector.unregister(sock)
        with contextlib.suppress(OSError):
            sock.close()
        self.count -= 1


def _at_end(sock: socket.socket) -> bool:
    try:
        return not sock.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


_lingering: _Lingering | None = None


def linger(sock: socket.socket) -> None:
    """Hand a socket to the linger thread, started at its first use after fork."""
    global _lingering  # noqa: PLW0603 - one a process; only its main loop calls this
    if _lingering is None or _lingering.pid != os.getpid():
        _lingering = _Lingering()
    _lingering.add(sock)
