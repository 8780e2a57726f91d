"""Notes of units that ended become artifacts, once each."""

import time

import pytest

from health.endings import Ending, Endings
from ledger import spool
from ledger.models import Artifact


def told() -> list[dict]:
    spool.ship()
    return [one.details for one in Artifact.objects.order_by("pk")]


@pytest.mark.django_db
def test_a_note_becomes_an_artifact_and_goes(tmp_path):
    (tmp_path / "fortheweebs.ended").write_text("signal killed KILL\n")

    Endings(tmp_path).tell()

    (details,) = told()
    assert details["result"] == "signal"
    assert details["exit_status"] == "KILL"
    assert details["unit"] == "fortheweebs"
    assert Artifact.objects.get().subject == "instance:test-web"
    assert list(tmp_path.glob("*.end*")) == []


@pytest.mark.django_db
def test_a_unit_that_goes_on_failing_is_told_once(tmp_path):
    endings = Endings(tmp_path)

    for _ in range(5):
        (tmp_path / "fortheweebs-beat.ended").write_text("exit-code exited 1\n" * 3)
        endings.tell()

    assert [one["unit"] for one in told()] == ["fortheweebs-beat"]


@pytest.mark.django_db
def test_another_way_to_end_is_told_with_what_was_passed_over(tmp_path):
    note = tmp_path / "fortheweebs-worker.ended"
    note.write_text("exit-code exited 1\n" * 4 + "oom-kill killed KILL\n")

    Endings(tmp_path).tell()

    assert [(one["result"], one["passed_over"]) for one in told()] == [
        ("exit-code", 0),
        ("oom-kill", 3),
    ]


@pytest.mark.parametrize(
    ("how", "after", "untold"),
    [("a", 5.0, 1), ("a", 61.0, 0), ("b", 5.0, 0)],
)
def test_the_same_end_soon_after_is_passed_over(how, after, untold):
    before = Ending("a", at=100.0)

    assert before.next(how, 100.0 + after).passed_over == untold


@pytest.mark.django_db
@pytest.mark.parametrize("text", [b"", b"\xff\xfe\n", b"one\n", b"x" * 100_000])
def test_no_note_stops_whoever_reads_it(tmp_path, text):
    (tmp_path / "fortheweebs.ended").write_bytes(text)

    Endings(tmp_path).tell()

    assert len(told()) == bool(text.strip())


@pytest.mark.django_db
def test_a_folder_that_cannot_be_read_is_no_error(tmp_path):
    began = time.monotonic()

    Endings(tmp_path / "missing").tell()

    assert told() == []
    assert time.monotonic() - began < 10
