"""The Now page's words, without a database."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fortheweebs import now
from ledger.kinds import ArtifactType

NOW = datetime(2026, 11, 24, 3, 41, tzinfo=UTC)


@dataclass
class Row:
    """An artifact as far as a line reads it."""

    type: str
    subject: str = "probe:ready"
    actor: str = ""
    node: str = "web-2"
    details: dict[str, Any] = field(default_factory=dict)
    at: datetime = NOW
    pk: int = 1
    sequence: int | None = 48190


@dataclass
class Check:
    name: str
    state: str
    error: str = ""


def test_the_verdict_says_what_how_long_and_since_when():
    verdict = now.verdict(
        "fail",
        NOW - timedelta(minutes=29),
        NOW,
        checks=[Check("db", "fail", "db did not answer in 2.0 s"), Check("q", "pass")],
        away=["web-2", "web-4"],
        instances=5,
    )

    assert verdict.title == "Failing 29 min, since 03:12 UTC"
    assert verdict.where == (
        "2 of 5 instances are not ready: web-2 and web-4.",
        "db fails: db did not answer in 2.0 s.",
    )


def test_a_quiet_day_needs_nobody():
    verdict = now.verdict("pass", NOW - timedelta(hours=29), NOW, instances=8)

    assert verdict.title == "All pass 1 d 5 h, since 22 Nov 22:41 UTC"
    assert verdict.where == ("Nothing needs you.", "No hold is in force.")


def test_no_snapshot_is_unknown_and_never_well():
    verdict = now.verdict("unknown", None, NOW)

    assert verdict.title == "Unknown"
    assert "Nothing was checked" in verdict.where[0]


def test_a_long_list_of_instances_is_cut():
    verdict = now.verdict(
        "fail", NOW, NOW, away=[f"web-{n}" for n in range(9)], instances=9
    )

    assert verdict.where[0].endswith("web-4 and 4 more.")


@pytest.mark.parametrize("kind", list(ArtifactType))
def test_every_type_of_artifact_is_said_in_words(kind):
    line = now.line(Row(type=kind))

    assert line.say
    assert "_" not in line.say
    assert line.shape


def test_a_line_names_who_by_role_and_number_and_why():
    line = now.line(
        Row("hold", "instance:web-4", actor="user:7", details={"reason": "let it"})
    )

    assert (line.subject, line.say) == ("web-4", "hold changed by user 7: let it")


def test_a_line_of_a_bug_leads_to_it():
    assert now.line(Row("bug_opened", "bug:318")).bug == 318
    assert now.line(Row("bug_opened", "bug:x")).bug is None


def test_a_tile_counts_the_instances_and_fails_with_the_first():
    tile = now.probe_tile("Ready", None, "ready", [True, False, True], NOW)

    assert (tile.state, tile.note) == ("fail", "2 of 3")


WHOLE = now.Verified(NOW - timedelta(minutes=41), True, "verified whole, 9 entries")
BROKEN = now.Verified(NOW - timedelta(minutes=41), False, "is broken: edited at #3")


def test_the_ledger_tile_reads_its_size_from_the_newest_sequence():
    tile = now.ledger_tile([None, 48211, 48210], WHOLE, NOW)

    assert (tile.state, tile.note) == ("ok", "48,212 entries, verified 03:00")


def test_a_broken_ledger_is_the_first_thing_said_on_a_day_when_all_passes():
    verdict = now.verdict("pass", NOW, NOW, instances=5, verified=BROKEN)
    tile = now.ledger_tile([9], BROKEN, NOW)

    assert (verdict.state, tile.state) == ("fail", "fail")
    assert verdict.title == "Ledger broken, found 03:00 UTC"
    assert verdict.where == ("The ledger is broken: edited at #3.",)


def test_a_broken_ledger_does_not_hide_what_else_fails():
    verdict = now.verdict("fail", NOW, NOW, verified=BROKEN)

    assert verdict.title.startswith("Failing")
    assert "The ledger is broken: edited at #3." in verdict.where


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            Row("ledger_verify", "ledger", details={"ok": True, "size": 48990}),
            "verified whole, 48,990 entries",
        ),
        (
            Row(
                "ledger_verify",
                "ledger",
                details={"ok": False, "kind": "edited", "first_bad": 3},
            ),
            "is broken: edited at #3",
        ),
        (
            Row("hold", details={"hold": "drain"}, actor="user:7"),
            "held in drain by user 7",
        ),
        (Row("hold", details={"hold": ""}), "released from its hold"),
        (
            Row("degrade", "check:disk", details={"to": "warn", "reason": "4 % free"}),
            "is degraded on web-2: 4 % free",
        ),
        (
            Row(
                "watchdog_outcome",
                "process:web-1/4711",
                actor="watchdog",
                details={"action": "SIGKILL", "reason": "frozen"},
            ),
            "got SIGKILL from the watchdog: frozen",
        ),
    ],
)
def test_what_an_artifact_tells_is_said(row, words):
    assert now.line(row).say == words


def test_a_verification_that_failed_looks_like_a_failure():
    line = now.line(Row("ledger_verify", "ledger", details={"ok": False}))

    assert (line.shape, line.kind) == ("x", "fail")


def test_a_scheduler_that_was_not_seen_is_unknown_and_a_late_one_fails():
    late = timedelta(seconds=40)

    assert now.beat_tile(None, NOW, late_after=late).state == "unknown"
    assert now.beat_tile(NOW - late * 2, NOW, late_after=late).state == "fail"
    assert now.beat_tile(NOW, NOW, late_after=late).state == "ok"
