"""How errors look: the documented shape on documented routes, RFC 9457 on ours."""

import logging
import math
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
)
from django.db import DatabaseError, DataError, InterfaceError, connections
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    UnreadablePostError,
)
from django.shortcuts import render
from django.views.decorators.csrf import requires_csrf_token
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback
from structlog.contextvars import get_contextvars

logger = logging.getLogger(__name__)
STALLED = "The body did not arrive in time, or not whole; send it again."


def error_body(
    status: int, detail: str, errors: list[dict[str, str]]
) -> dict[str, Any]:
    """Return the RFC 9457 members plus ``error``, so that one client reads both."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": detail,
        "request_id": get_contextvars().get("request_id", ""),
        "errors": errors,
    }


def _flatten(detail: Any, field: str = "") -> list[dict[str, str]]:
    """Turn DRF's nested detail into [{field, message}]."""
    if isinstance(detail, dict):
        return [
            row
            for key, value in detail.items()
            for row in _flatten(
                value,
                field if key == "non_field_errors" else f"{field}.{key}".strip("."),
            )
        ]
    if isinstance(detail, list):
        return [row for value in detail for row in _flatten(value, field)]
    return [{"field": field, "message": str(detail)}]


def _sentence(rows: list[dict[str, str]]) -> str:
    return "; ".join(
        f"{row['field']}: {row['message']}" if row["field"] else row["message"]
        for row in rows
    )


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an error: the documented shape on documented routes, else RFC 9457."""
    view = context["view"]
    headers = {}
    if isinstance(exc, UnreadablePostError):
        exc = exceptions.APIException(STALLED)
        exc.status_code = 408
    elif isinstance(exc, DataError):
        logger.error("unstorable_value", exc_info=exc)
        exc = exceptions.ParseError(
            "A value cannot be stored; look for odd characters."
        )
    elif isinstance(exc, DatabaseError | InterfaceError | RedisError):
        logger.error("dependency_away", extra={"error": type(exc).__name__})
        drop_connections()
        exc = exceptions.APIException("The database does not answer; try again.")
        exc.status_code, headers["Retry-After"] = 503, "5"
    if isinstance(exc, Http404):
        exc = exceptions.NotFound(str(exc) or None)
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if not isinstance(exc, exceptions.APIException):
        return None
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    set_rollback()
    rows = _flatten(exc.detail)
    detail = _sentence(rows)
    if getattr(view, "documented", False):
        body = {**getattr(view, "error_extra", {}), "error": detail}
        return Response(body, status=exc.status_code, headers=headers)
    return Response(
        error_body(exc.status_code, detail, [row for row in rows if row["field"]]),
        status=exc.status_code,
        headers=headers,
        content_type="application/problem+json",
    )


def drop_connections() -> None:
    """Keep no connection that failed for the requests to come.

    One to SQLite that was opened while its folder was read-only would refuse to write
    until CONN_MAX_AGE is over.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def wants_json(request: HttpRequest) -> bool:
    """Tell an API path from a page."""
    return request.path.startswith("/api/")


def error_page(status: int, title: str, say: str) -> HttpResponse:
    """Render an error without database, user or session."""
    context = {"title": title, "say": say, "status": status}
    context["request_id"] = get_contextvars().get("request_id", "")
    return render(None, "error.html", context, status=status)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown path as the original did; pages get a page."""
    if wants_json(request):
        return JsonResponse({"error": "Not found"}, status=404)
    return error_page(404, "Nothing is here", f"No page at {request.path[:200]}.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request Django refused: foreign Host, too many fields."""
    status, say = _why_bad(exception)
    if wants_json(request):
        return JsonResponse({"error": say}, status=status)
    return error_page(status, "Bad request", say)


def _why_bad(exception: Exception) -> tuple[int, str]:
    if isinstance(exception, RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return 413, f"The body is larger than {limit:,} bytes."
    if isinstance(exception, TooManyFieldsSent):
        limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
        return 400, f"There are more than {limit:,} fields."
    return 400, "The request was refused: its host or its form is not allowed here."


def stalled(request: HttpRequest) -> HttpResponse:
    """Answer a form that stopped half-way."""
    if wants_json(request):
        return JsonResponse({"error": STALLED}, status=408)
    return error_page(408, "Not all of it arrived", STALLED)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a page the user may not see."""
    say = "Your role does not include this page."
    if wants_json(request):
        return JsonResponse({"error": say}, status=403)
    return error_page(403, "Not allowed", say)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its token; the stock page breaks our content policy."""
    say = "The form was too old or came from elsewhere. Load its page again."
    if wants_json(request):
        return JsonResponse({"error": say}, status=403)
    return error_page(403, "Nothing was done", say)


@requires_csrf_token
def server_error(request: HttpRequest) -> HttpResponse:
    """Answer our own mistake with a request id and nothing else."""
    say = "Something failed on our side; it was logged under the request id."
    if wants_json(request):
        return JsonResponse({"error": say}, status=500)
    return error_page(500, "Something failed", say)
