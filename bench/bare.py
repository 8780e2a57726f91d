"""The rival on our side: a bare Django view behind the stock middleware, ours beside.

Served by our own gunicorn configuration as `bench.bare:application`, with
DJANGO_SETTINGS_MODULE=bench.bare_settings: ours, except for the middleware.
"""

import time

from django.contrib.auth.models import Group
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path


def bare(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "alive"})


def read(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"groups": Group.objects.count()})


def sleep(request: HttpRequest) -> HttpResponse:
    time.sleep(float(request.GET["seconds"]))
    return JsonResponse({})


urlpatterns = [
    path("bare", bare),
    path("read", read),
    path("sleep", sleep),
    path("", include("fortheweebs.urls")),
]

django_application = get_wsgi_application()

from health.edge import ChunkedBody, Edge  # noqa: E402 - needs the settings

application = Edge(ChunkedBody(django_application))
