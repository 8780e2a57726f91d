"""The ledger app."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class LedgerConfig(AppConfig):
    """Set the app up: its system checks, its guards after each migrate."""

    name = "ledger"

    def ready(self) -> None:
        """Register the checks and put the guards back after migrations."""
        from ledger import checks  # noqa: F401 - registered by import

        post_migrate.connect(install_guards, sender=self)


def install_guards(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """Put the guards back: a SQLite table rebuilt by a migration has lost them."""
    from ledger import triggers
    from ledger.models import Artifact

    connection = connections[using]
    if Artifact._meta.db_table in connection.introspection.table_names():
        triggers.install(connection)
