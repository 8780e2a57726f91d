"""Verify and what it writes down; restores that are declared; the command."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from ledger import sequencer, services, state, upkeep
from ledger.errors import BrokenError, NothingLostError
from ledger.models import Artifact, Checkpoint
from ledger.verify import main as verify_export
from tests.ledger.ledgers import (
    anchored_lines,
    artifact_at,
    execute,
    forget_after,
    found,
    guards_down,
    make_ledger,
    rewrite,
)

pytestmark = pytest.mark.django_db


def run(*words: str) -> tuple[int, str]:
    out, err = StringIO(), StringIO()
    try:
        call_command("ledger", *words, stdout=out, stderr=err)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue() + err.getvalue()
    return 0, out.getvalue() + err.getvalue()


# -- Verify ------------------------------------------------------------------------
def test_what_was_found_becomes_an_artifact():
    make_ledger(300)

    verdict = upkeep.verify_ledger(actor="user:7")

    artifact = Artifact.objects.get(type="ledger_verify")
    assert (artifact.actor, artifact.fields["subject"]) == ("user:7", "ledger")
    told = artifact.details
    assert told["root"] == verdict.root.hex()
    assert (told["size"], told["ok"], told["full"]) == (300, True, True)
    assert (told["first_bad"], told["kind"]) == (None, "")
    last = state.last_verify()
    assert (last.size, last.ok, last.full) == (300, True, True)


def test_a_second_look_begins_where_the_last_good_one_ended():
    make_ledger(600)
    upkeep.verify_ledger()
    make_ledger(100)

    verdict = upkeep.verify_ledger()

    assert (verdict.ok, verdict.size, verdict.looked_from) == (True, 701, 512)


def test_a_second_look_notices_that_the_verified_past_was_rewritten(settings):
    make_ledger(600)
    upkeep.verify_ledger()
    sequencer.sequence_all()
    forget_after(560)
    settings.ANCHORS_FILE.unlink()
    services.record(type="ledger_verify", source="ledger", **_verified(600))
    make_ledger(100)

    first = upkeep.verify_ledger().first

    assert "last verification of size 600" in first.detail


def _verified(size: int) -> dict[str, object]:
    names = ("looked_from", "first_bad", "milliseconds")
    told = {"size": size, "root": "00" * 32, "ok": True, "full": True, "kind": ""}
    return told | dict.fromkeys(names, 0)


def test_after_a_bad_look_the_next_begins_at_the_start():
    make_ledger(600)
    with guards_down():
        rewrite(10, '"number":10', '"number":11')
    upkeep.verify_ledger()

    again = upkeep.verify_ledger()

    assert (again.looked_from, again.first.sequence) == (0, 10)


def test_everything_is_due_once_a_week():
    make_ledger(3)
    now = datetime.now(UTC)
    before = upkeep.is_full_due()
    upkeep.verify_ledger()

    assert (before, upkeep.is_full_due()) == (True, False)
    assert upkeep.is_full_due(now + timedelta(days=8))


# -- Restores ----------------------------------------------------------------------
def test_a_declared_restore_goes_on_under_the_next_epoch(settings):
    make_ledger(600, steps=12)
    lost = Checkpoint.objects.get(size=600)
    lost_root = bytes(lost.root).hex()
    forget_after(350)
    assert found() == (350, "rolled back")

    artifact = upkeep.rebase(reason="backup of Tuesday", actor="user:7")

    assert found() == (None, "whole")
    told = artifact.details
    assert (told["kept_size"], told["lost_size"]) == (350, 600)
    assert (told["lost_root"], told["lost_origin"]) == (lost_root, "fortheweebs/0")
    assert (artifact.actor, told["reason"]) == ("user:7", "backup of Tuesday")
    assert sequencer.current_origin() == told["origin"] == "fortheweebs/1"
    assert anchored_lines(settings.ANCHORS_FILE)[-1]["origin"] == "fortheweebs/1"
    make_ledger(300)
    assert found() == (None, "whole")


def test_a_restore_that_grew_past_the_loss_is_still_found_and_may_be_declared():
    make_ledger(600, steps=6)
    forget_after(300)
    make_ledger(500, steps=5)
    assert found() == (300, "checkpoint disagrees")

    told = upkeep.rebase(reason="late").details

    assert (told["kept_size"], told["lost_size"]) == (300, 600)
    assert found() == (None, "whole")


def test_a_second_restore_gets_an_epoch_of_its_own():
    make_ledger(400, steps=4)
    forget_after(300)
    upkeep.rebase(reason="first")
    make_ledger(200, steps=2)
    forget_after(200)
    assert found() == (200, "rolled back")

    told = upkeep.rebase(reason="second").details

    assert told["origin"] == "fortheweebs/2"
    assert found() == (None, "whole")


def test_a_declared_loss_covers_no_later_edit():
    make_ledger(400, steps=4)
    forget_after(300)
    upkeep.rebase(reason="first")
    with guards_down():
        rewrite(290, '"number":290', '"number":291')

    assert found()[0] in {290, 200}


def test_nothing_is_declared_where_nothing_was_lost():
    make_ledger(30)

    with pytest.raises(NothingLostError):
        upkeep.rebase(reason="just so")
    assert run("rebase", "--reason", "just so")[0] == 1


def test_a_broken_ledger_cannot_be_declared_restored():
    make_ledger(400, steps=4)
    forget_after(300)
    with guards_down():
        execute("DELETE FROM ledger_artifact WHERE id = %s", artifact_at(7))

    with pytest.raises(BrokenError, match="missing at #7"):
        upkeep.rebase(reason="hide it")


# -- The command -------------------------------------------------------------------
def test_verify_says_whole_and_what_is_anchored():
    make_ledger(300)

    status, text = run("verify")

    assert status == 0
    assert text.startswith("whole: 300 entries, root ")
    assert "anchored up to 300 entries, 0 s ago; 0 sequenced and 1 pending" in text


def test_verify_says_broken_with_the_sequence_and_the_kind():
    make_ledger(300)
    with guards_down():
        rewrite(10, '"number":10', '"number":11')

    status, text = run("verify", "--full")

    assert status == 1
    assert text.startswith("broken: edited at #10: ")


@pytest.mark.parametrize("content", [None, b"no anchor\n", b'{"size": 1}\n'])
def test_verify_says_when_it_could_not_look(tmp_path, content):
    make_ledger(3)
    path = tmp_path / "held.jsonl"
    if content:
        path.write_bytes(content)

    status, text = run("verify", "--against", str(path))

    assert (status, "could not look" in text) == (2, True)


def test_verify_against_a_checkpoint_kept_elsewhere(tmp_path, settings):
    make_ledger(300, steps=3)
    held = tmp_path / "checkpoint.txt"
    held.write_text(Checkpoint.objects.get(size=300).note)
    forget_after(200)
    settings.ANCHORS_FILE.unlink()

    assert run("verify", "--full")[0] == 0  # nobody here knows of more
    assert "rolled back" in run("verify", "--full", "--against", str(held))[1]


def test_an_export_is_verified_elsewhere(tmp_path):
    make_ledger(300)
    services.record(type="restart", source="watchdog")

    status, text = run("export", str(tmp_path / "e.jsonl.gz"))

    assert (status, "301 entries exported" in text) == (0, True)
    assert verify_export([str(tmp_path / "e.jsonl.gz")], say=lambda *a, **k: None) == 0


def test_harden_prints_sql_that_leaves_the_role_only_insert():
    status, text = run("harden", "--role", "web")

    if connection.vendor == "sqlite":
        assert status == 2
        return
    assert status == 0
    execute('CREATE ROLE "web" LOGIN')
    execute(text)
    execute('SET LOCAL ROLE "web"')
    try:
        make_ledger(3)
        with pytest.raises(Exception, match=r"must be owner|permission denied"):
            execute("ALTER TABLE ledger_artifact DISABLE TRIGGER ALL")
    finally:
        connection.needs_rollback = True


def test_several_processes_find_what_one_finds(site):
    out = site.run(
        """
        import logging
        from ledger import audit
        from tests.ledger.ledgers import guards_down, make_ledger, rewrite
        logging.disable()
        audit.SPAN = 256
        make_ledger(1000)
        whole = [audit.look(jobs=jobs) for jobs in (1, 2)]
        with guards_down():
            rewrite(700, '"number":700', '"number":701')
        broken = [audit.look(jobs=jobs) for jobs in (1, 2)]
        print(*(verdict.ok for verdict in whole), whole[0].root == whole[1].root)
        print(*(verdict.first for verdict in broken), sep="; ")
        """
    )

    assert out.splitlines()[0] == "True True True"
    assert out.count("edited at #700") == 2
