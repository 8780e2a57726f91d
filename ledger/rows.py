"""Insert artifacts the database may already have: the first row of an event stays."""

from collections.abc import Sequence
from typing import Any

from django.db import connections, router

from ledger.entry import Entry
from ledger.models import COLUMNS, Artifact

_TABLE = "ledger_artifact"
_NAMES = ", ".join(COLUMNS)
_TYPES = ("uuid", "timestamptz", "text", "text", "text", "text", "text", "bytea")
# One array a column: 1,000 rows in one statement that is always spelled the same.
_POSTGRES = (
    f"INSERT INTO {_TABLE} ({_NAMES}) SELECT * FROM unnest("  # noqa: S608 - constants
    + ", ".join(f"%s::{kind}[]" for kind in _TYPES)
    + ") ON CONFLICT (event_id) DO NOTHING"
)
# Not OR IGNORE, which would swallow a NULL or a wrong type as well.
_SQLITE = (
    f"INSERT INTO {_TABLE} ({_NAMES}) VALUES "  # noqa: S608 - constants
    f"({', '.join(['%s'] * len(COLUMNS))}) ON CONFLICT (event_id) DO NOTHING"
)


def insert_new(entries: Sequence[Entry]) -> int:
    """Insert the entries whose event is new, in order; return how many were."""
    if not entries:
        return 0
    connection = connections[router.db_for_write(Artifact)]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                _POSTGRES, list(map(list, zip(*map(_row, entries), strict=True)))
            )
        else:
            adapt = connection.ops.adapt_datetimefield_value
            rows = [
                (entry.event_id.hex, adapt(entry.at), *_row(entry)[2:])
                for entry in entries
            ]
            cursor.executemany(_SQLITE, rows)
        return int(cursor.rowcount)


def _row(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.event_id,
        entry.at,
        entry.type,
        entry.source,
        entry.node,
        entry.subject,
        entry.body,
        entry.hash,
    )
