"""Our routes, one that keeps requests in the database, and two that break a worker."""

import os
import threading

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

hoard: list[bytes] = []
never = threading.Event()


def read(request: HttpRequest) -> HttpResponse:
    """Read the database; slowly, so that requests are in flight at every moment."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), pg_sleep(0.1) FROM ledger_checkpoint")
    return JsonResponse({})


def is_meant(request: HttpRequest) -> bool:
    return os.getpid() == int(request.GET["pid"])


def stuck(request: HttpRequest) -> HttpResponse:
    """Never answer, if this is the worker that is meant."""
    if is_meant(request):
        never.wait()
    return JsonResponse({})


def leak(request: HttpRequest) -> HttpResponse:
    """Take 300 MB and keep it, if this is the worker that is meant."""
    if is_meant(request) and not hoard:
        hoard.append(b"x" * (300 << 20))
    return JsonResponse({"leaks": bool(hoard)})


urlpatterns = [
    path("read", read),
    path("stuck", stuck),
    path("leak", leak),
    path("", include("fortheweebs.urls")),
]
