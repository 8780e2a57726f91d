"""Verify the ledger and write down what was found; go on after a restore."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.db import transaction

from ledger import sequencer
from ledger.audit import look, look_for_divergence
from ledger.errors import BrokenError, NothingLostError
from ledger.kinds import ArtifactType, Source
from ledger.models import Artifact
from ledger.services import record
from ledger.state import LastVerify, last_verify
from ledger.verdict import Point, Verdict

FULL_EVERY = timedelta(days=7)


def verify_ledger(
    *,
    full: bool = False,
    since: int | None = None,
    against: Path | None = None,
    jobs: int = 1,
    actor: str = "",
    event_id: UUID | None = None,
) -> Verdict:
    """Look at what came since the last good verification, or at everything.

    What was found becomes an artifact, the newest `ledger_verify`.

    Raises:
        CannotLookError: a file that must be compared with cannot be read.
    """
    last = None if full or since is not None else last_verify()
    known = [_point(last)] if last and last.ok else []
    start = since or (known[0].size if known else 0)
    verdict = look(since=start, known=known, against=against, jobs=jobs)
    first = verdict.first
    record(
        type=ArtifactType.LEDGER_VERIFY,
        source=Source.LEDGER,
        subject="ledger",
        actor=actor,
        event_id=event_id,
        full=verdict.looked_from == 0,
        looked_from=verdict.looked_from,
        size=verdict.size,
        root=verdict.root.hex(),
        ok=verdict.ok,
        milliseconds=int(verdict.seconds * 1000),
        first_bad=first.sequence if first else None,
        kind=str(first.kind) if first else "",
        found=str(first)[:200] if first else "",
    )
    return verdict


def is_full_due(now: datetime | None = None) -> bool:
    """Tell whether everything should be looked at again, as once a week."""
    now = now or datetime.now(UTC)
    rows = Artifact.objects.filter(
        # One from the future is of a clock that jumped.
        type=ArtifactType.LEDGER_VERIFY,
        at__range=(now - FULL_EVERY, now),
    )
    return not any(row.details.get("full") for row in rows.order_by("-id")[:100])


def rebase(*, reason: str, against: Path | None = None, actor: str = "") -> Artifact:
    """Declare what a restore lost and go on under the next epoch.

    Raises:
        BrokenError: what is left is not whole by itself.
        NothingLostError: no anchor knows more than the tree.
    """
    verdict, parted = look_for_divergence(against)
    if not verdict.ok:
        raise BrokenError(f"what is left is not whole: {verdict.first}")
    if parted is None:
        raise NothingLostError("every anchor agrees with the tree; nothing was lost")
    name = parted.lost.name
    origin = f"{name}/{parted.epoch}"
    with transaction.atomic():
        artifact = record(
            type=ArtifactType.RESTORE,
            source=Source.LEDGER,
            subject="ledger",
            actor=actor,
            origin=origin,
            kept_size=parted.kept_size,
            lost_origin=parted.lost.origin,
            lost_size=parted.lost.size,
            lost_root=parted.lost.root.hex(),
            reason=reason,
        )
        sequencer.begin_epoch(origin)
    sequencer.anchor()
    return artifact


def _point(last: LastVerify) -> Point:
    origin = sequencer.current_origin()
    return Point(origin, last.size, bytes.fromhex(last.root), "last verification")
