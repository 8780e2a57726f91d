"""One place for each artifact, whoever writes and whoever dies."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from ledger import sequencer, services, tasks, tree
from ledger.errors import BusyError
from ledger.models import Anchor, Artifact, Checkpoint, Leaf, Tile
from tests.ledger.ledgers import (
    anchored_lines,
    execute,
    found,
    guards_down,
    make_ledger,
)

RESTART = {"type": "restart", "source": "watchdog"}


@pytest.mark.django_db
def test_places_are_dense_from_zero_in_the_order_of_ids():
    make_ledger(300)

    leaves = list(Leaf.objects.order_by("sequence").values_list())

    assert [sequence for sequence, _ in leaves] == list(range(300))
    assert [pk for _, pk in leaves] == sorted(pk for _, pk in leaves)


@pytest.mark.django_db
def test_a_late_commit_gets_the_next_place_and_a_straggler_gets_one_too(monkeypatch):
    monkeypatch.setattr(sequencer, "LOOK_BACK", 5)
    first = services.record(**RESTART)
    rows = [services.record(**RESTART) for _ in range(3)]
    late, straggler = rows[2].pk, rows[0].pk
    entries = {pk: Artifact.objects.get(pk=pk) for pk in (late, straggler)}
    with guards_down():
        execute("DELETE FROM ledger_artifact WHERE id IN (%s, %s)", late, straggler)
    sequencer.sequence(stragglers=False)
    Artifact.objects.bulk_create([entries[late]])
    in_time = sequencer.sequence(stragglers=False)
    services.record_many(RESTART for _ in range(20))
    sequencer.sequence(stragglers=False)
    Artifact.objects.bulk_create([entries[straggler]])

    by_look_back = sequencer.sequence(stragglers=False)
    by_full_pass = sequencer.sequence(stragglers=True)

    assert (in_time, by_look_back, by_full_pass) == (1, 0, 1)
    assert Leaf.objects.get(artifact=first).sequence == 0
    assert Leaf.objects.get(artifact=straggler).sequence == tree.size() - 1


@pytest.mark.django_db
def test_a_pass_takes_one_batch_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(sequencer, "BATCH", 100)
    services.record_many(RESTART for _ in range(250))

    assert [sequencer.sequence() for _ in range(4)] == [100, 100, 50, 0]
    assert found() == (None, "whole")


@pytest.mark.django_db
def test_full_tiles_are_stored_with_their_roots():
    make_ledger(700, steps=3)

    tiles = list(Tile.objects.order_by("index").values_list("level", "index"))

    assert tiles == [(0, 0), (0, 1)]
    assert tree.load_edge(700).root() == bytes(Checkpoint.objects.get(size=700).root)


# -- Checkpoints and anchors -------------------------------------------------------
@pytest.mark.django_db
def test_a_checkpoint_is_anchored_in_row_log_and_file(settings, caplog):
    make_ledger(3)

    checkpoint = Checkpoint.objects.get()
    anchor = Anchor.objects.get()
    (line,) = anchored_lines(settings.ANCHORS_FILE)

    assert checkpoint.note.splitlines()[:2] == ["fortheweebs/0", "3"]
    assert line["root"] == bytes(checkpoint.root).hex()
    assert (anchor.target, json.loads(anchor.receipt)) == ("log line", line)
    assert "ledger_checkpoint" in caplog.text
    assert line["root"] in caplog.text


@pytest.mark.django_db
def test_silence_is_anchored_once_an_hour(settings):
    make_ledger(3)
    now = Anchor.objects.get().at

    within = sequencer.anchor(now + timedelta(minutes=59))
    after = sequencer.anchor(now + timedelta(minutes=61))

    assert (within, after.checkpoint.size) == (None, 3)
    assert [row["size"] for row in anchored_lines(settings.ANCHORS_FILE)] == [3, 3]
    assert found() == (None, "whole")


@pytest.mark.django_db
def test_a_checkpoint_that_could_not_be_written_down_is_not_called_anchored(settings):
    settings.ANCHORS_FILE.mkdir()

    make_ledger(3)
    unwritten = Anchor.objects.count()
    settings.ANCHORS_FILE.rmdir()
    sequencer.sequence()

    assert (unwritten, Anchor.objects.count()) == (0, 1)


@pytest.mark.django_db
def test_an_empty_ledger_has_nothing_to_anchor():
    assert sequencer.sequence() == 0
    assert sequencer.anchor(datetime.now(UTC)) is None


@pytest.mark.django_db
def test_beat_adopts_and_sequences_in_one_go():
    services.record(**RESTART)

    tasks.sequence()

    assert tree.size() == 1


@pytest.mark.django_db
def test_a_sequencer_that_never_ends_is_not_taken_for_all_done():
    services.record(**RESTART)

    with sequencer._thread_lock, pytest.raises(BusyError):
        sequencer.sequence_all(patience=0.1)

    assert tree.size() == 0


# -- Many writers ------------------------------------------------------------------
def test_writers_that_roll_back_and_a_killed_sequencer_leave_no_gap(site):
    with (
        site.start(SEQUENCE_FOR_EVER) as doomed,
        site.start(WRITE % 150 + TELL) as writers,
        site.start(SEQUENCE_FOR_EVER) as other,
    ):
        assert doomed.stdout.readline() == "started\n"
        doomed.kill()
        out = writers.communicate(timeout=60)[0].splitlines()
        other.kill()
    written, told = map(json.loads, out)

    assert told == {
        "stored": written["kept"],
        "dense": True,
        "found": "None",
        "exit": 0,
    }
    assert written["rolled_back"] > 0


SEQUENCE_FOR_EVER = """
    import logging, time
    from django.db import Error
    from ledger import sequencer
    logging.disable()
    print("started", flush=True)
    while True:
        try:
            sequencer.sequence()
        except Error:
            pass
        time.sleep(0.02)
"""
WRITE = """
    import json, os, random
    from django.db import transaction
    from ledger.services import record
    each = %d
    def write(seed):
        chance = random.Random(seed)
        kept = undone = 0
        while kept < each:
            count = min(chance.randint(1, 40), each - kept)
            with transaction.atomic():
                for number in range(count):
                    record(type="restart", source="watchdog", seed=seed)
                undo = chance.random() < 0.25
                transaction.set_rollback(undo)
            kept += 0 if undo else count
            undone += count if undo else 0
        return kept, undone
    readers = []
    for seed in range(6):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, json.dumps(write(seed)).encode())
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    told = [json.loads(os.read(reader, 100)) for reader in readers]
    print(json.dumps({
        "kept": sum(kept for kept, _ in told),
        "rolled_back": sum(undone for _, undone in told),
    }))
"""
TELL = """
    import json, logging
    from ledger import sequencer
    from ledger.audit import look
    from ledger.models import Artifact, Leaf
    logging.disable()
    sequencer.sequence_all()
    places = list(Leaf.objects.order_by("sequence").values_list("sequence", flat=True))
    stored = Artifact.objects.filter(type="restart").count()
    verdict = look()
    print(json.dumps({
        "stored": stored,
        "dense": places == list(range(stored)),
        "found": str(verdict.first),
        "exit": 0 if verdict.ok else 1,
    }))
"""


@pytest.mark.django_db(transaction=True)
def test_only_one_process_sequences_at_a_time():
    services.record(**RESTART)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            # SQLite has one writer anyway: there the pass waits instead of leaving.
            postgres = connection.vendor == "postgresql"
            lock, unlock = (
                ("SELECT pg_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)")
                if postgres
                else ("SELECT %s", "SELECT %s")
            )
            cursor.execute(lock, [sequencer._LOCK])
            while_busy = sequencer.sequence()
            cursor.execute(unlock, [sequencer._LOCK])
    finally:
        other.close()

    assert (while_busy, sequencer.sequence()) == ((0, 1) if postgres else (1, 0))
