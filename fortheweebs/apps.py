"""App configurations of the project: itself and the console."""

from typing import Any

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class ConsoleConfig(AdminConfig):
    """Make our console the admin site."""

    default_site = "fortheweebs.admin.ConsoleSite"

    def ready(self) -> None:
        """Register every app's pages, then ours in the place of two stock ones."""
        super().ready()
        from fortheweebs.people import register_people

        register_people()


class FortheweebsConfig(AppConfig):
    """Roles and system checks of the whole."""

    name = "fortheweebs"
    default = True

    def ready(self) -> None:
        """Register system checks and metrics; listen for migrations and lock-outs."""
        from axes.signals import user_locked_out

        from bugfixer.metrics import bug_families
        from fortheweebs import checks, openapi  # noqa: F401 - registered by import
        from health.metrics import register_family

        register_family(bug_families)

        post_migrate.connect(_keep_roles, sender=self)
        user_locked_out.connect(_remember_lock, dispatch_uid="login_locked")


def _keep_roles(*, using: str, apps: Any, **options: Any) -> None:
    """Follow the code's roles after an upgrade, and after a flush."""
    from fortheweebs.groups import make_groups

    try:
        apps.get_model("auth", "Group")
        apps.get_model("contenttypes", "ContentType")
    except LookupError:  # migrated to before these apps
        return
    make_groups(apps, using)


def _remember_lock(*, request: Any, username: str, **options: Any) -> None:
    """Emit that a login was locked, once; name and address stay out of the ledger."""
    from django.conf import settings

    from fortheweebs.accounts import login_subject
    from ledger.services import ArtifactType, Source, emit

    # Every try during the lock sends this again; only the one that locked counts.
    failures = getattr(request, "axes_failures_since_start", None)
    if failures == settings.AXES_FAILURE_LIMIT:
        subject = login_subject(username)
        emit(type=ArtifactType.LOGIN_LOCKED, source=Source.OPERATOR, subject=subject)
