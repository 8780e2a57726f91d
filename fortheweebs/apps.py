"""App configurations of the project: itself and the console."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    """Make our console the admin site."""

    default_site = "fortheweebs.admin.ConsoleSite"


class FortheweebsConfig(AppConfig):
    """Roles and system checks of the whole."""

    name = "fortheweebs"
    default = True

    def ready(self) -> None:
        """Register the system checks."""
        from fortheweebs import checks  # noqa: F401 - registered by import
