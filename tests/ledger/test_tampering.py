"""Every way to change the ledger is found, and the first bad sequence is named.

Each case acts as the owner of the database does: guards down, change, guards up. The
ledger has 600 entries: two full tiles and 88 entries on the edge, in 12 checkpoints.
"""

import pytest
from django.db import DatabaseError, connection, transaction

from ledger import checks, merkle, sequencer, services, triggers
from ledger.entry import leaf_hash
from ledger.models import Artifact, Checkpoint, Leaf
from tests.ledger.ledgers import (
    artifact_at,
    body_at,
    execute,
    forget_after,
    found,
    guards_down,
    look,
    make_ledger,
    rebuild_tree,
    rewrite,
)

pytestmark = pytest.mark.django_db
SIZE = 600


@pytest.fixture(autouse=True)
def _ledger(db):
    make_ledger(SIZE, steps=12)
    assert found() == (None, "whole")


@pytest.mark.parametrize("sequence", [0, 300, 599])
def test_an_edited_body_is_found(sequence):
    with guards_down():
        body = body_at(sequence).replace("restart", "recover")
        execute(
            "UPDATE ledger_artifact SET body = %s WHERE id = %s",
            body,
            artifact_at(sequence),
        )

    assert found() == (sequence, "edited")


def test_an_edited_body_with_its_new_hash_is_found_by_the_tile():
    with guards_down():
        rewrite(300, '"number":300', '"number":301')

    assert found() == (300, "edited")


def test_an_edited_body_with_its_new_hash_on_the_edge_is_found_by_the_checkpoint():
    with guards_down():
        rewrite(580, '"number":580', '"number":581')

    first = look().first

    assert (first.sequence, first.kind) == (550, "checkpoint disagrees")
    assert "one of #550 to #599 was changed" in first.detail


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("type", "recover"),
        ("source", "operator"),
        ("subject", "process:web-2/1"),
        ("subject", 'quote"and\\slash'),
        ("node", "elsewhere"),
        ("at", "2026-01-01 00:00:00+00:00"),
        ("event_id", "6c656467657250008000000000000001"),
    ],
)
def test_an_edited_index_column_is_found(column, value):
    with guards_down():
        execute(
            f"UPDATE ledger_artifact SET {column} = %s WHERE id = %s",
            value,
            artifact_at(123),
        )

    assert found() == (123, "index column")


def test_columns_that_say_what_the_details_end_with_are_found():
    made_up = "6c656467-6572-4000-8000-000000000001"
    details = {"a": 1, "id": made_up, "node": "n"}
    artifact = services.record(type="restart", source="watchdog", **details)
    sequencer.sequence_all()
    alike = f'n"}},"id":"{artifact.event_id}","node":"test'

    with guards_down():
        execute(
            "UPDATE ledger_artifact SET event_id = %s, node = %s WHERE id = %s",
            made_up if connection.vendor == "postgresql" else made_up.replace("-", ""),
            alike,
            artifact.pk,
        )

    assert len(alike) <= 64
    assert found() == (600, "index column")


@pytest.mark.parametrize("sequence", [0, 300, 599])
def test_a_deleted_artifact_is_found(sequence):
    with guards_down():
        execute("DELETE FROM ledger_artifact WHERE id = %s", artifact_at(sequence))

    assert found() == (sequence, "missing")


@pytest.mark.parametrize("sequence", [0, 300])
def test_a_deleted_leaf_is_found(sequence):
    with guards_down():
        execute("DELETE FROM ledger_leaf WHERE sequence = %s", sequence)

    assert found() == (sequence, "missing")


def test_a_tail_that_was_cut_off_is_found():
    with guards_down():
        execute("DELETE FROM ledger_leaf WHERE sequence >= 570")

    assert found() == (570, "missing")


def test_a_deletion_that_closes_the_gap_is_found():
    with guards_down():
        execute("DELETE FROM ledger_leaf WHERE sequence = 300")
        shift(range(301, SIZE), by=-1)

    # 599 places are left for a checkpoint of 600.
    assert found() == (599, "missing")


def test_a_deletion_replaced_by_another_entry_is_found_where_it_was():
    services.record(type="restart", source="watchdog", subject="process:web-9/9")
    extra = Artifact.objects.order_by("-id").first().pk
    with guards_down():
        execute("DELETE FROM ledger_leaf WHERE sequence = 300")
        shift(range(301, SIZE), by=-1)
        execute("INSERT INTO ledger_leaf VALUES (%s, %s)", SIZE - 1, extra)

    assert found() == (300, "missing")


def test_an_inserted_entry_is_found_where_it_was_put():
    services.record(type="restart", source="watchdog", subject="process:web-9/9")
    extra = Artifact.objects.order_by("-id").first().pk
    with guards_down():
        execute("DELETE FROM ledger_leaf WHERE sequence = %s", SIZE - 1)
        shift(range(SIZE - 2, 99, -1), by=1)
        execute("INSERT INTO ledger_leaf VALUES (100, %s)", extra)

    assert found() == (100, "inserted")


@pytest.mark.parametrize("place", [-1, 600, 10**6])
def test_an_entry_outside_of_all_checkpoints_is_found(place):
    services.record(type="restart", source="watchdog")
    extra = Artifact.objects.order_by("-id").first().pk
    with guards_down():
        execute("INSERT INTO ledger_leaf VALUES (%s, %s)", place, extra)

    assert found() == (600, "inserted")


@pytest.mark.parametrize(("one", "other"), [(100, 101), (100, 200), (10, 400)])
def test_two_entries_that_changed_places_are_found(one, other):
    with guards_down():
        swap(one, other)

    kind = "reordered" if other < 256 else "edited"
    assert found() == (one, kind)


def test_a_row_replaced_by_sql_that_avoids_the_guards_stays():
    keys = artifact_at(300), 300
    with guards_down():
        pass
    if connection.vendor == "sqlite":
        columns = "id, event_id, at, type, source, node, subject, body, hash"
        for reuse in ("id", "event_id"):
            mine = {"id": "NULL", "event_id": "lower(hex(randomblob(16)))"}
            mine[reuse] = reuse
            execute(
                f"INSERT OR REPLACE INTO ledger_artifact ({columns}) SELECT"
                f" {mine['id']}, {mine['event_id']}, at, 'deploy', source, node,"
                " subject, body, hash FROM ledger_artifact WHERE id = %s",
                keys[0],
            )
        with pytest.raises(DatabaseError), transaction.atomic():
            execute("REPLACE INTO ledger_leaf VALUES (%s, %s)", 300, artifact_at(301))
    else:
        with pytest.raises(DatabaseError, match="insert only"), transaction.atomic():
            execute(
                "INSERT INTO ledger_leaf VALUES (300, 1) ON CONFLICT (sequence)"
                " DO UPDATE SET artifact_id = 1"
            )

    assert found() == (None, "whole")
    assert Artifact.objects.count() == SIZE


def test_guards_that_were_dropped_are_found_until_they_are_back():
    triggers.remove(connection)
    dropped = found()
    checked = checks.check_guards(databases=["default"])
    triggers.install(connection)

    assert dropped == (None, "guard missing")
    assert [message.id for message in checked] == ["ledger.E001"]
    assert checks.check_guards(databases=["default"]) == []
    assert found() == (None, "whole")


def test_a_guard_that_was_changed_is_found():
    if connection.vendor == "postgresql":
        execute(
            "CREATE OR REPLACE FUNCTION ledger_insert_only() RETURNS trigger"
            " LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$"
        )
    else:
        execute("DROP TRIGGER ledger_tile_keep_update")
        execute(
            "CREATE TRIGGER ledger_tile_keep_update BEFORE UPDATE ON ledger_tile"
            " BEGIN SELECT 1; END"
        )

    assert found() == (None, "guard missing")


@pytest.mark.parametrize("size", [50, 300, 600])
def test_a_checkpoint_with_another_root_is_found(size):
    root = merkle.leaf_hash(b"another")
    with guards_down():
        execute("UPDATE ledger_checkpoint SET root = %s WHERE size = %s", root, size)

    sequence, kind = found()

    assert kind == "checkpoint disagrees"
    assert sequence == size - 50


def test_a_checkpoint_with_another_note_is_found():
    with guards_down():
        execute("UPDATE ledger_checkpoint SET note = 'shop/0' WHERE size = 300")

    assert found() == (None, "checkpoint disagrees")


def test_a_changed_tile_is_found():
    with guards_down():
        execute('DELETE FROM ledger_tile WHERE "index" = 1')

    assert found() == (256, "tile disagrees")


@pytest.mark.parametrize("tile", [1, 3], ids=["checkpoints inside", "none inside"])
def test_a_changed_root_of_a_tile_is_found(tile):
    make_ledger(500)
    with guards_down():
        execute(
            'UPDATE ledger_tile SET root = %s WHERE "index" = %s',
            leaf_hash(b"another"),
            tile,
        )

    assert found() == (256 * tile, "tile disagrees")


# -- The two that only an anchor can show ------------------------------------------
def test_a_history_that_was_rewritten_as_a_whole_is_found_by_the_anchors():
    with guards_down():
        rewrite(330, '"number":330', '"number":331')
        rebuild_tree()

    first = look().first

    assert (first.sequence, first.kind) == (300, "checkpoint disagrees")
    assert "anchors.jsonl of size 350" in first.detail
    assert "one of #300 to #349" in first.detail


def test_an_old_copy_that_was_brought_back_is_found_by_the_anchors():
    forget_after(350)

    first = look().first

    assert (first.sequence, first.kind) == (350, "rolled back")
    assert "knows 400 entries, 350 are left" in first.detail


def test_without_an_anchor_those_two_are_not_found(settings, tmp_path):
    forget_after(350)
    kept = tmp_path / "kept.jsonl"
    settings.ANCHORS_FILE.rename(kept)

    assert found() == (None, "whole")
    assert str(look(against=kept).first.kind) == "rolled back"


def test_all_that_was_emptied_is_found_by_the_anchors():
    with guards_down():
        for table in ("anchor", "checkpoint", "tile", "leaf", "artifact"):
            execute(f"DELETE FROM ledger_{table}")

    assert found() == (0, "rolled back")


# -- Prevention --------------------------------------------------------------------
@pytest.mark.parametrize("table", ["artifact", "leaf", "tile", "checkpoint", "anchor"])
def test_the_database_refuses_to_change_a_row(table):
    key = "sequence" if table == "leaf" else "id"
    statements = [
        f"UPDATE ledger_{table} SET {key} = {key}",
        f"DELETE FROM ledger_{table}",
    ]
    if connection.vendor == "postgresql":
        statements.append(f"TRUNCATE ledger_{table} CASCADE")
        statements.append(
            "SET LOCAL session_replication_role = replica; " + statements[0]
        )

    for statement in statements:
        with pytest.raises(DatabaseError, match="insert only"), transaction.atomic():
            execute(statement)


def test_the_application_cannot_change_an_artifact():
    artifact = Artifact.objects.first()

    with pytest.raises(DatabaseError, match="insert only"), transaction.atomic():
        artifact.save()
    with pytest.raises(DatabaseError, match="insert only"), transaction.atomic():
        artifact.delete()


# -- Incremental -------------------------------------------------------------------
def test_a_look_at_what_is_new_finds_what_was_changed_there():
    make_ledger(100)
    with guards_down():
        rewrite(650, '"number":50', '"number":51')

    assert look(since=SIZE).first.kind == "checkpoint disagrees"
    assert look(since=SIZE).looked_from == 512
    assert Checkpoint.objects.count() == 13
    assert Leaf.objects.count() == sequencer.tree.size()


def shift(places, *, by):
    for place in places:
        execute(
            "UPDATE ledger_leaf SET sequence = %s WHERE sequence = %s",
            place + by,
            place,
        )


def swap(one, other):
    ids = artifact_at(one), artifact_at(other)
    execute("UPDATE ledger_leaf SET artifact_id = -1 WHERE sequence = %s", one)
    execute(
        "UPDATE ledger_leaf SET artifact_id = %s WHERE sequence = %s", ids[0], other
    )
    execute("UPDATE ledger_leaf SET artifact_id = %s WHERE sequence = %s", ids[1], one)
