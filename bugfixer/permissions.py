"""Who may do what with bugs."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

ANALYZE = "bugfixer.analyze_bug"
RESOLVE = "bugfixer.resolve_bug"
PAYLOAD = "bugfixer.view_payload"


class NeedsPermission(BasePermission):
    """Let in the staff that holds the permission the view names in ``needs``."""

    message = "Your role does not include this."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse who is not staff or lacks the permission."""
        user = request.user
        if not (user.is_active and getattr(user, "is_staff", False)):
            return False
        return user.has_perm(view.needs)


def sees_payload(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Tell whether raw payloads and e-mail addresses may be shown to this user."""
    return bool(getattr(user, "has_perm", lambda _: False)(PAYLOAD))
