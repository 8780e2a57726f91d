"""The watchdog's own log: one JSON object a line, each with its hash."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from health.answers import timestamp
from ledger import canonical


class WatchLog:
    """DATA_DIR/logs/watchdog.log; a line is one write, so that lines never mix."""

    def __init__(self, path: Path) -> None:
        """Make the folder; the file appears with its first line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()

    def write(self, kind: str, **details: Any) -> None:
        """Append one line: check, failure, kill or recover."""
        line = make_line(kind, timestamp(), details)
        with self._lock, self._path.open("a") as file:
            file.write(line + "\n")


def make_line(kind: str, at: str, details: dict[str, Any]) -> str:
    """Return a line whose hash is over its canonical form without the hash."""
    body = {"timestamp": at, "type": kind, "details": details}
    return json.dumps({**body, "hash": line_hash(body)}, separators=(",", ":"))


def line_hash(body: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical spelling."""
    return hashlib.sha256(canonical.encode(body).encode()).hexdigest()
