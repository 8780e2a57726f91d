"""Middleware of the console: the answer while the database is away."""

import ipaddress
import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import (
    HttpRequest,
    HttpResponse,
    JsonResponse,
    UnreadablePostError,
)
from django.urls import Resolver404, resolve
from django_structlog.middlewares import RequestMiddleware

from fortheweebs.api import drop_connections, error_body, stalled, wants_json
from fortheweebs.api import server_error as internal_error
from fortheweebs.status import status_page
from health.snapshots import read_snapshot

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]
RETRY_AFTER = "5"
SAY = "The database does not answer; try again."
# Answered without the database, so they go on while it is away.
WITHOUT_DATABASE = (
    "/api/health/live",
    "/api/health/ready",
    "/api/health/startup",
    "/status",
)


def client_address(request: HttpRequest) -> str:
    """Return the caller's address, through the stated number of proxies.

    Each proxy appends the address it saw, so with n of them the n-th from the right
    is the one that the outermost wrote; what stands left of it anybody may forge.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    proxies = settings.TRUSTED_PROXIES
    hops = [
        hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")
    ]
    if not proxies or len(hops) < proxies:
        return peer
    try:
        return str(ipaddress.ip_address(hops[-proxies].strip("[]")))
    except ValueError:
        return peer


class LogMiddleware(RequestMiddleware):
    """One line as a request begins and ends, under an id of our own making."""

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Log whom we trust it to be; the stock one believes X-Forwarded-For."""
        structlog.contextvars.bind_contextvars(ip=client_address(request))


def database_away(request: HttpRequest) -> HttpResponse:
    """Answer 503 in the manner of the route; touches no database and no session."""
    drop_connections()
    response = _away_json(request) if wants_json(request) else status_page(request)
    response.status_code = 503
    response["Retry-After"] = RETRY_AFTER
    response["Cache-Control"] = "no-store"
    return response


def _away_json(request: HttpRequest) -> HttpResponse:
    view = _view_class(request)
    if view is None or getattr(view, "documented", False):
        return JsonResponse({**getattr(view, "error_extra", {}), "error": SAY})
    return JsonResponse(
        error_body(503, SAY, []), content_type="application/problem+json"
    )


def _view_class(request: HttpRequest) -> Any:
    """Return the class that would have answered, or None."""
    try:
        view: Any = resolve(request.path_info).func
    except Resolver404:
        return None
    return getattr(view, "cls", None) or getattr(view, "view_class", None)


def is_away(error: BaseException | None) -> bool:
    """Tell an error of the connection from one of ours."""
    return isinstance(error, OperationalError | InterfaceError)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what failed outside a view; a lost connection is not our mistake."""
    if is_away(sys.exc_info()[1]):
        return database_away(request)
    return internal_error(request)


class DatabaseAwayMiddleware:
    """Answer 503 at once while the snapshot says that the database fails.

    Otherwise each request waits out the bound of its connection: a few open tabs
    could hold every thread.
    """

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the next layer."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on, unless the database is known to be away."""
        if not self._needs_database(request.path_info):
            return self.get_response(request)
        snapshot = read_snapshot()
        if snapshot is not None and snapshot.database_fails:
            return database_away(request)
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Turn a lost connection into 503; it went away after the last verdict."""
        if isinstance(exception, UnreadablePostError):
            return stalled(request)
        if not is_away(exception):
            return None
        logger.error("dependency_away", extra={"error": type(exception).__name__})
        return database_away(request)

    @staticmethod
    def _needs_database(path: str) -> bool:
        return path not in WITHOUT_DATABASE and not path.startswith(settings.STATIC_URL)
