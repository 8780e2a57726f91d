"""Builders of ledgers, whole and tampered with, for the tests of this app."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from ledger import merkle, sequencer, services, triggers
from ledger.audit import look
from ledger.entry import leaf_hash
from ledger.models import Checkpoint, Leaf, Tile


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


def rewrite(sequence: int, old: str, new: str) -> None:
    """Edit a body and give it the hash it then has, as a careful forger does."""
    body = body_at(sequence).replace(old, new)
    execute(
        "UPDATE ledger_artifact SET body = %s, hash = %s WHERE id = %s",
        body,
        leaf_hash(body.encode()),
        artifact_at(sequence),
    )


def rebuild_tree() -> None:
    """Make tiles, checkpoints and anchor rows anew: the database agrees with itself."""
    sizes = list(Checkpoint.objects.order_by("id").values_list("size", flat=True))
    origin = sequencer.current_origin()
    for table in ("ledger_anchor", "ledger_checkpoint", "ledger_tile"):
        execute(f"DELETE FROM {table}")
    rows = Leaf.objects.order_by("sequence").values_list("artifact__hash", flat=True)
    hashes = [bytes(digest) for digest in rows]
    edge = merkle.Edge(0, [])
    for size in sizes:
        for tile in edge.add(hashes[edge.size : size]):
            Tile.objects.create(
                level=tile.level, index=tile.index, root=tile.root, data=tile.data
            )
        sequencer.make_checkpoint(origin, size, edge.root())


ANCHORS_AFTER = (
    "DELETE FROM ledger_anchor WHERE checkpoint_id IN"
    " (SELECT id FROM ledger_checkpoint WHERE size > %s)"
)


def forget_after(size: int) -> None:
    """Bring back the state of an older backup, guards and all."""
    with guards_down():
        past = Leaf.objects.filter(sequence__gte=size).values_list("artifact_id")
        ids = [pk for (pk,) in past]
        for sql, value in (
            ("DELETE FROM ledger_leaf WHERE sequence >= %s", size),
            (
                'DELETE FROM ledger_tile WHERE level = 0 AND ("index" + 1) * 256 > %s',
                size,
            ),
            ("DELETE FROM ledger_tile WHERE level > 0 AND %s >= 0", size),
            (ANCHORS_AFTER, size),
            ("DELETE FROM ledger_checkpoint WHERE size > %s", size),
        ):
            execute(sql, value)
        for pk in ids:
            execute("DELETE FROM ledger_artifact WHERE id = %s", pk)
