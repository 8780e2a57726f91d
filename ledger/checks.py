"""System checks of the ledger."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import OperationalError, connections, router

from ledger import triggers
from ledger.models import Artifact


@register(Tags.database)
def check_guards(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Find guards that are gone, unless the tables are not there yet."""
    alias = router.db_for_write(Artifact)
    if alias not in (databases or ()):
        return []
    connection = connections[alias]
    try:
        if Artifact._meta.db_table not in connection.introspection.table_names():
            return []
        gone = triggers.missing(connection)
    except OperationalError as error:
        return [Error(f"the database does not answer: {error}", id="ledger.E002")]
    if not gone:
        return []
    return [
        Error(
            f"the ledger has lost {len(gone)} of its guards: {', '.join(gone)}",
            hint="Run `manage.py migrate --skip-checks`, which puts them back, then"
            " `manage.py ledger verify --full`: rows may have been changed meanwhile.",
            id="ledger.E001",
        )
    ]
