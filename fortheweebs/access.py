"""Who comes in: bearer tokens, staff sessions, the loopback operator; staff only."""

import ipaddress
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from knox.auth import TokenAuthentication
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from fortheweebs.roles import OPERATOR

FORWARDING = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_VIA",
)


class BearerAuthentication(TokenAuthentication):
    """``Authorization: Bearer <token>``: hashed, expiring, with its user's groups."""

    def authenticate_credentials(self, token: bytes) -> Any:
        """Refuse what no token is made of before a database is asked for it."""
        if not token.isalnum():  # of bytes: ASCII letters and digits
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)  # type: ignore[no-untyped-call]


class StaffSessionAuthentication(SessionAuthentication):
    """The console's session; a POST needs the CSRF token too."""


class LoopbackOperator(AnonymousUser):
    """A direct local caller under LOCAL_OPERATOR=1: an operator of the API only."""

    # Django types an anonymous user as never staff, never active.
    is_staff = True  # type: ignore[assignment]
    is_active = True  # type: ignore[assignment]
    actor = "loopback"

    @property
    def is_authenticated(self) -> bool:  # type: ignore[override]
        """Say yes: the peer address is the credential."""
        return True

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Allow what the group ``operator`` allows."""
        return perm in OPERATOR


def is_direct_loopback(request: HttpRequest) -> bool:
    """Tell a local caller from one that came through a proxy, a page or a form."""
    meta = request.META
    host = meta.get("HTTP_HOST", "").rsplit(":", 1)[0]
    has_body = bool(meta.get("CONTENT_LENGTH") or meta.get("HTTP_TRANSFER_ENCODING"))
    try:
        loopback = ipaddress.ip_address(meta.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return (
        loopback
        and host in {"localhost", "127.0.0.1"}
        and not any(name in meta for name in FORWARDING)
        and (not has_body or request.content_type == "application/json")
    )


class LoopbackAuthentication(BaseAuthentication):
    """Let a direct loopback caller in where LOCAL_OPERATOR is set."""

    def authenticate(self, request: Request) -> tuple[LoopbackOperator, None] | None:
        """Return the loopback operator, or nobody."""
        if settings.LOCAL_OPERATOR and is_direct_loopback(request._request):
            return LoopbackOperator(), None
        return None


class StaffOnly(BasePermission):
    """The default of every route: an active member of staff."""

    message = "Staff only."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse everybody who is not staff."""
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False))


def may_view(user: Any, app: str, model: str) -> bool:
    """Tell whether a role of the user reads a model; one query for all of them."""
    if user.is_superuser:
        return True
    return f"{app}.view_{model}" in user.get_group_permissions()


def list_url(user: Any, app: str, model: str) -> str:
    """Return where a list is; empty when there is none or the role reads none."""
    if not may_view(user, app, model):
        return ""
    try:
        return reverse(f"admin:{app}_{model}_changelist")
    except NoReverseMatch:
        return ""
