"""Ask gunicorn's control socket whether the master still answers.

Only silence counts, and only that of the master itself: a socket that is refused,
missing, somebody else's, or says nonsense is one that could not be asked.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from health.processes import Identity

logger = structlog.get_logger(__name__)
ASK_SECONDS = 2.0
ANSWER_SECONDS = 5.0
LONGEST_ANSWER = 1 << 20
_QUESTION = json.dumps({"id": 1, "command": "show workers"}).encode()


class Control:
    """The last word of one control socket."""

    def __init__(
        self,
        path: Path,
        master: Callable[[], Identity | None],
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Know nothing yet."""
        self._path, self._master, self._seconds = path, master, seconds
        self._asked_ns: int | None = None
        self.said = ""
        self._lock = threading.Lock()

    def silent(self, now_ns: int) -> float:
        """Return how long the master has owed an answer."""
        with self._lock:
            asked = self._asked_ns
        return 0.0 if asked is None else max(0.0, (now_ns - asked) / 1e9)

    def ask(self) -> None:
        """Ask once; this waits for up to the deadline of an answer."""
        master = self._master()
        if master is None:
            self._note("no web master is known", silent=False)
            return
        try:
            said, silent = self._exchange(master.pid), False
        except TimeoutError:
            said, silent = "the master does not answer", True
        except OSError:
            said, silent = "it cannot be asked", False
        except ValueError:
            said, silent = "nonsense", False
        self._note(said, silent=silent)

    def _exchange(self, master: int) -> str:
        deadline = time.monotonic() + self._seconds
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(self._seconds)
            sock.connect(str(self._path))
            if _peer(sock) != master:
                return "it belongs to another process"
            with self._lock:
                # Only now: who was never reached owes nothing.
                self._asked_ns = self._asked_ns or time.monotonic_ns()
            sock.sendall(struct.pack(">I", len(_QUESTION)) + _QUESTION)
            (size,) = struct.unpack(">I", _receive(sock, 4, deadline))
            if size > LONGEST_ANSWER:
                raise ValueError
            answer = json.loads(_receive(sock, size, deadline))
        return "" if isinstance(answer, dict) else "nonsense"

    def _note(self, said: str, *, silent: bool) -> None:
        """Write a line on change: what could not be asked is no failure."""
        with self._lock:
            if not silent:
                self._asked_ns = None
        if said != self.said:
            self.said = said
            if said:
                logger.warning("control_socket", said=said)
            else:
                logger.info("control_socket_answers")


def _peer(sock: socket.socket) -> int:
    """Return the process that listens at the other end."""
    size = struct.calcsize("3i")
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", data)[0])


def _receive(sock: socket.socket, size: int, deadline: float) -> bytes:
    """Read exactly so much before the deadline, however slowly it drips."""
    parts = []
    while size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        part = sock.recv(min(size, 65536))
        if not part:
            raise ConnectionResetError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
