"""The WSGI layer ahead of Django: probes, a limit on what is admitted, whole bodies.

Nothing here waits: the probes read files, and a request that finds every admitted
thread busy is told so at once, on one of the two threads kept free for that.
"""

import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from gunicorn.http.errors import ParseException
from rest_framework.request import Request
from rest_framework.views import APIView

from health.answers import (
    ANSWERS,
    JSON,
    PROBE_HEADERS,
    Answer,
    Asked,
    answer_status_json,
)
from health.pulse import Pulse, own_pulse
from health.snapshots import read_snapshot
from health.viewer import COOKIE, read_view

logger = logging.getLogger(__name__)
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
# The documented routes of bug reports say whether it worked beside the error.
BUG_FIXER, DOCUMENTED = "/api/bug-fixer/", {"success": False}
BUSY = "Every thread of this worker is busy; try again."


def send(
    answer: Answer, start_response: StartResponse, *, head: bool = False
) -> Iterable[bytes]:
    """Send one whole answer."""
    status = HTTPStatus(answer.status)
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        *answer.headers,
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return [b"" if head else answer.body]


def refuse(status: int, error: str, *headers: tuple[str, str], **extra: Any) -> Answer:
    """Return a refusal in the shape that every client of the API reads."""
    body = json.dumps({"error": error, **extra}).encode()
    return Answer(status, body, JSON, (*PROBE_HEADERS, *headers))


class Edge:
    """Answer the probes here; admit so many requests to everything else."""

    def __init__(self, app: Application, *, limit: int | None = None) -> None:
        """Keep the application and how many requests a worker admits."""
        self._app = app
        self._limit = settings.WEB_THREADS if limit is None else limit

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a probe, refuse, or pass on and mark as in flight."""
        if environ.get("PATH_INFO") in ANSWERS:
            return answer_probe(environ, start_response)
        pulse = own_pulse()
        if pulse is None:
            return self._app(environ, start_response)
        if len(pulse.starts) >= self._limit:
            return send(refuse(503, BUSY, ("Retry-After", "1")), start_response)
        key = pulse.begin()
        try:
            body = self._app(environ, start_response)
        except BaseException:
            pulse.end(key)
            raise
        return _Marked(body, pulse, key)


class _Marked:
    """A body whose mark goes at its end.

    Not when the application returns: rows are fetched and the connection is given
    back while the body is sent.
    """

    def __init__(self, body: Iterable[bytes], pulse: Pulse, key: int) -> None:
        self._body, self._pulse, self._key = body, pulse, key

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Close the body, then take the mark off."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._pulse.end(self._key)


def answer_probe(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one of the probes or /status, with no host check before it."""
    method = environ.get("REQUEST_METHOD", "GET")
    if method not in {"GET", "HEAD"}:
        answer = refuse(405, f"{method} is not allowed here.", ("Allow", "GET, HEAD"))
        return send(answer, start_response)
    asked = Asked(accept=environ.get("HTTP_ACCEPT", ""), staff=is_staff(environ))
    try:
        answer = ANSWERS[environ["PATH_INFO"]](asked)
    except Exception:
        logger.exception("probe_failed", extra={"path": environ["PATH_INFO"]})
        answer = _without_page(environ["PATH_INFO"], asked)
    return send(answer, start_response, head=method == "HEAD")


def _without_page(path: str, asked: Asked) -> Answer:
    """Say without a template what can be said; a page that fails hides no state."""
    if path == "/status":
        return answer_status_json(asked)
    return refuse(503, "The probe failed.", ("Retry-After", "5"))


def is_staff(environ: Environ) -> bool:
    """Tell whether the caller may see detail: by cookie, else by token."""
    if COOKIE in environ.get("HTTP_COOKIE", "") and _has_view_cookie(environ):
        return True
    if environ.get("HTTP_AUTHORIZATION"):
        return _has_staff_token(environ)
    return settings.LOCAL_OPERATOR and _is_staff_user(environ)


def _has_view_cookie(environ: Environ) -> bool:
    try:
        cookie = SimpleCookie(environ["HTTP_COOKIE"]).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and read_view(cookie.value) is not None


def _has_staff_token(environ: Environ) -> bool:
    """Look a token up, but only while the database is known to answer.

    The look-up may wait, so it counts as in flight and needs a place like any other.
    """
    snapshot, pulse = read_snapshot(), own_pulse()
    if snapshot is None or not snapshot.database_passes:
        return False
    if pulse is None:
        return _is_staff_user(environ)
    if len(pulse.starts) >= settings.WEB_THREADS:
        return False
    key = pulse.begin()
    try:
        return _is_staff_user(environ)
    finally:
        pulse.end(key)


def _is_staff_user(environ: Environ) -> bool:
    authenticators = [kind() for kind in APIView.authentication_classes]
    try:
        user = Request(WSGIRequest(environ), authenticators=authenticators).user
    except Exception:  # noqa: BLE001 - a probe never fails because of its caller's token
        return False
    return bool(user.is_active and getattr(user, "is_staff", False))


class ChunkedBody:
    """Give Django the whole body of a chunked request, up to a limit.

    Django limits the stream to Content-Length, or to nothing when there is none, so
    a chunked form or JSON arrived empty with status 200.
    """

    def __init__(self, app: Application, *, cap: int | None = None) -> None:
        """Keep the application and the limit."""
        self._app = app
        self._cap = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if cap is None else cap

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Read the chunks, then pass the request on with its length."""
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if not (chunked and environ.get("wsgi.input_terminated")):
            return self._app(environ, start_response)
        body, size = io.BytesIO(), 0
        source = environ["wsgi.input"]
        shape = DOCUMENTED if environ.get("PATH_INFO", "").startswith(BUG_FIXER) else {}
        try:
            while chunk := source.read(min(65536, self._cap + 1 - size)):
                size += len(chunk)
                if size > self._cap:
                    return send(too_large(self._cap, **shape), start_response)
                body.write(chunk)
        except (OSError, ParseException) as error:
            return send(not_whole(error, **shape), start_response)
        body.seek(0)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(size)
        del environ["HTTP_TRANSFER_ENCODING"]
        return self._app(environ, start_response)


def too_large(cap: int, **shape: Any) -> Answer:
    """Refuse a body over the limit, naming it; the rest of it is not read."""
    say = f"The body is larger than {cap:,} bytes."
    return refuse(413, say, ("Connection", "close"), **shape, limit=cap)


def not_whole(error: Exception, **shape: Any) -> Answer:
    """Refuse a chunked body that stalled or whose chunks are broken."""
    close = ("Connection", "close")
    if isinstance(error, BlockingIOError | TimeoutError):
        say = "The body did not arrive in time; send it again."
        return refuse(408, say, close, **shape)
    return refuse(400, "The chunks of the body are broken.", close, **shape)
