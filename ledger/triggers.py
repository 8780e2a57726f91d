"""Guards in the database: a row of the ledger is inserted once and stays as it is.

PostgreSQL: refused before UPDATE, DELETE and TRUNCATE, for replicas too (ENABLE
ALWAYS). SQLite: before UPDATE and DELETE, and an INSERT whose keys exist is ignored or
refused, since INSERT OR REPLACE deletes rows past the other two. Django rebuilds a
SQLite table on AlterField and drops its triggers silently, so post_migrate puts them
back, and a system check and verify look for them.
"""

from collections.abc import Iterator
from typing import Any

from ledger.models import table_names

Connection = Any

_FUNCTION = "ledger_insert_only"
_BODY = "BEGIN RAISE EXCEPTION '% is insert only', TG_TABLE_NAME; END"
# The keys of each table; the artifacts keep the first row of an event in silence,
# because an error would hold up the whole batch of a shipper for ever.
_KEYS: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    "ledger_artifact": ("IGNORE", [("id",), ("event_id",)]),
    "ledger_leaf": ("ABORT", [("sequence",), ("artifact_id",)]),
    "ledger_tile": ("ABORT", [("id",), ("level", "index")]),
    "ledger_checkpoint": ("ABORT", [("id",), ("origin", "size")]),
    "ledger_anchor": ("ABORT", [("id",)]),
}


def install(connection: Connection) -> None:
    """Put every guard in place, also where an older one stands."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"CREATE OR REPLACE FUNCTION {_FUNCTION}() RETURNS trigger"
                f" LANGUAGE plpgsql AS $${_BODY}$$"
            )
        for statement in _removals(connection.vendor):
            cursor.execute(statement)
        for statement in _creations(connection.vendor):
            cursor.execute(statement)


def remove(connection: Connection) -> None:
    """Take the guards down; for tests that flush the tables, and nothing else."""
    with connection.cursor() as cursor:
        for statement in _removals(connection.vendor):
            cursor.execute(statement)


def missing(connection: Connection) -> list[str]:
    """Return the names of guards that are absent, switched off or changed."""
    names, query, parameters = present_query(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        present = {str(name) for (name,) in cursor.fetchall()}
    return [name for name in names if name not in present]


def present_query(vendor: str) -> tuple[list[str], str, list[Any]]:
    """Return the guards' names, and a query (with parameters) of those in place."""
    if vendor == "postgresql":
        query = (
            "SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
            " WHERE t.tgenabled = 'A' AND NOT t.tgisinternal"
            " AND pg_table_is_visible(t.tgrelid) AND p.proname = %s AND p.prosrc = %s"
        )
        return [name for name, _ in _postgres()], query, [_FUNCTION, _BODY]
    guards = dict(_sqlite())
    marks = ", ".join(["%s"] * len(guards))
    query = f"SELECT name FROM sqlite_master WHERE sql IN ({marks})"  # noqa: S608
    return list(guards), query, list(guards.values())


def _removals(vendor: str) -> Iterator[str]:
    for name, sql in _postgres() if vendor == "postgresql" else _sqlite():
        table = sql.split(" ON ", 1)[1].split()[0]
        on = f" ON {table}" if vendor == "postgresql" else ""
        yield f"DROP TRIGGER IF EXISTS {name}{on}"


def _creations(vendor: str) -> Iterator[str]:
    if vendor != "postgresql":
        yield from (sql for _, sql in _sqlite())
        return
    for name, sql in _postgres():
        table = sql.split(" ON ", 1)[1].split()[0]
        yield sql
        yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"


def _postgres() -> Iterator[tuple[str, str]]:
    for table in table_names():
        for suffix, event, each in (
            ("row", "UPDATE OR DELETE", "ROW"),
            ("truncate", "TRUNCATE", "STATEMENT"),
        ):
            name = f"{table}_keep_{suffix}"
            head = f"CREATE TRIGGER {name} BEFORE {event} ON {table}"
            yield name, f"{head} FOR EACH {each} EXECUTE FUNCTION {_FUNCTION}()"


def _sqlite() -> Iterator[tuple[str, str]]:
    for table in table_names():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is insert only'); END"
        for event in ("UPDATE", "DELETE"):
            name = f"{table}_keep_{event.lower()}"
            yield name, f"CREATE TRIGGER {name} BEFORE {event} ON {table} {refuse}"
        manner, keys = _KEYS[table]
        known = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} WHERE "  # noqa: S608 - constants
            + " AND ".join(f'"{column}" = NEW."{column}"' for column in key)
            + ")"
            for key in keys
        )
        name = f"{table}_keep_first"
        act = "BEGIN SELECT RAISE(IGNORE); END" if manner == "IGNORE" else refuse
        yield (
            name,
            f"CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN {known} {act}",
        )


def harden_sql(connection: Connection, role: str) -> Iterator[str]:
    """Return the SQL after which the application's role owns nothing of the ledger."""
    quote = connection.ops.quote_name
    yield "-- Run as the owner of the database, not as the application."
    yield f"CREATE ROLE {quote('ledger_owner')} NOLOGIN;"
    for table in table_names():
        yield f"ALTER TABLE {quote(table)} OWNER TO {quote('ledger_owner')};"
        yield f"REVOKE ALL ON {quote(table)} FROM PUBLIC, {quote(role)};"
        yield f"GRANT SELECT, INSERT ON {quote(table)} TO {quote(role)};"
    for table in table_names():
        if table != "ledger_leaf":
            name = quote(f"{table}_id_seq")
            yield f"GRANT USAGE ON SEQUENCE {name} TO {quote(role)};"
    yield f"ALTER FUNCTION {_FUNCTION}() OWNER TO {quote('ledger_owner')};"
