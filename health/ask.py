"""Ask another process over HTTP, once, within a limit."""

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    content_type: str
    body: bytes


def ask(url: str, *, seconds: float) -> Reply | None:
    """GET a URL of http or https; whatever goes wrong is no reply."""
    parts = urlsplit(url)
    kinds = {
        "http": http.client.HTTPConnection,
        "https": http.client.HTTPSConnection,
    }
    kind = kinds.get(parts.scheme)
    if kind is None or parts.hostname is None:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = kind(parts.hostname, parts.port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        content_type = answer.getheader("Content-Type") or ""
        return Reply(answer.status, content_type, answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
