"""django-health-check's Database check and a bare view, in the benches' environment."""

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["health_check"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": os.environ["PGPORT"],
        }
    },
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
django.setup()

from health_check.views import HealthCheckView  # noqa: E402 - needs the settings


def bare(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "alive"})


urlpatterns = [
    path("bare", bare),
    path("db", HealthCheckView.as_view(checks=["health_check.checks.Database"])),
]
application = get_wsgi_application()
