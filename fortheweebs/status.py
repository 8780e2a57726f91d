"""What the console says without a database: the status page, the chip, lock-outs."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from fortheweebs import now
from fortheweebs.api import error_page
from fortheweebs.now import Chip
from health.answers import Asked, status_context
from health.viewer import COOKIE, MAX_AGE, read_view, sign_view


def is_viewer(request: HttpRequest) -> bool:
    """Tell whether the signed cookie names a member of staff; no database."""
    return read_view(request.COOKIES.get(COOKIE, "")) is not None


def set_view_cookie(
    response: HttpResponse, user: User | AbstractBaseUser | AnonymousUser
) -> None:
    """Hand out the cookie that reads detail while the database is away."""
    groups = list(user.groups.values_list("name", flat=True))  # type: ignore[union-attr]
    response.set_cookie(
        COOKIE,
        sign_view(user=int(user.pk or 0), groups=groups),
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def delete_view_cookie(response: HttpResponse) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, samesite="Lax")


def status_page(request: HttpRequest) -> HttpResponse:
    """Render what /status shows, from the snapshot alone."""
    context = status_context(Asked(staff=is_viewer(request)))
    return HttpResponse(render_to_string("status.html", context))


def chip() -> Chip:
    """Say the state of everything, as /status does."""
    context = status_context(Asked())
    return now.chip(context["state"], context["since"], context["now"])


def locked_out(
    request: HttpRequest, original: HttpResponse | None = None, *rest: Any
) -> HttpResponse:
    """Answer a login that is locked: 429, until when, and nothing about the name."""
    seconds = int(settings.AXES_COOLOFF_TIME * 3600)
    response = error_page(
        429,
        "Login locked",
        f"Too many wrong passwords for this name from your address."
        f" Wait {seconds // 60} min, then try again.",
    )
    response["Retry-After"] = str(seconds)
    return response
