"""Builders of ledgers, whole and tampered with, for the tests of this app."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from ledger import sequencer, services, triggers
from ledger.audit import look


def make_ledger(count: int, *, steps: int = 1) -> None:
    """Record artifacts and give them their places, in that many checkpoints."""
    share = count // steps
    for step in range(steps):
        last = count if step == steps - 1 else (step + 1) * share
        services.record_many(
            {
                "type": "restart",
                "source": "watchdog",
                "subject": f"process:web-1/{number}",
                "number": number,
            }
            for number in range(step * share, last)
        )
        sequencer.sequence_all()


@contextmanager
def guards_down() -> Iterator[None]:
    """Act as the owner of the database, who can switch the guards off and on."""
    triggers.remove(connection)
    yield
    triggers.install(connection)


def execute(sql: str, *parameters: object) -> None:
    """Run one statement as it is."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def artifact_at(sequence: int) -> int:
    """Return the id of the artifact in a place."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT artifact_id FROM ledger_leaf WHERE sequence = %s", [sequence]
        )
        return int(cursor.fetchone()[0])


def body_at(sequence: int) -> str:
    """Return the body in a place."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT body FROM ledger_artifact WHERE id = %s", [artifact_at(sequence)]
        )
        return str(cursor.fetchone()[0])


def found() -> tuple[int | None, str]:
    """Return the first bad sequence and the kind that a full look finds."""
    first = look().first
    return (first.sequence, str(first.kind)) if first else (None, "whole")


def anchored_lines(path: Path) -> list[dict[str, object]]:
    """Return the lines of an anchors file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
