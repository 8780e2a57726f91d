"""What operators do to an instance: hold it, release it, say what they deployed.

A drain takes it out of traffic, an observe keeps the watchdog's hands off.
"""

import re
from datetime import datetime
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from health.errors import DeployRefusedError, HoldRefusedError
from health.models import HoldKind, Instance
from ledger.acts import LONGEST_REASON, is_long, wrong_end, wrong_reason
from ledger.models import Artifact
from ledger.services import ArtifactType, Source, record

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")
_DEPLOYS = UUID("6865616c-0000-5000-8000-000000000001")


@transaction.atomic
def hold(
    *,
    instance: Instance,
    kind: str,
    reason: str,
    until: datetime | None,
    actor: str,
    endless: bool = False,
) -> Instance:
    """Hold an instance and record who did; both happen or neither does.

    Args:
        instance: which one.
        kind: ``drain`` or ``observe``.
        reason: why, for whoever finds it held.
        until: when it ends by itself; none only for who may hold without end.
        actor: who asked, as artifacts name them.
        endless: whether the actor may go without an end, or past eight hours.

    Raises:
        HoldRefusedError: names the field that may not be as asked.
    """
    _check_hold(kind=kind, reason=reason, until=until, endless=endless)
    held = Instance.objects.select_for_update().get(pk=instance.pk)
    before = held.hold
    held.hold, held.hold_reason = kind, reason.strip()
    held.hold_by, held.hold_until = actor, until
    held.save(update_fields=["hold", "hold_reason", "hold_by", "hold_until"])
    record(
        type=ArtifactType.HOLD,
        source=Source.OPERATOR,
        subject=held.subject,
        actor=actor,
        hold=kind,
        before=before,
        until=until.isoformat() if until else "",
        reason=held.hold_reason,
    )
    return held


@transaction.atomic
def release(*, instance: Instance, reason: str, actor: str) -> Instance:
    """End a hold now and record who did; a free instance stays as it is."""
    held = Instance.objects.select_for_update().get(pk=instance.pk)
    if not held.hold:
        return held
    before = held.hold
    held.hold, held.hold_reason, held.hold_by = HoldKind.NONE, "", ""
    held.hold_until = None
    held.save(update_fields=["hold", "hold_reason", "hold_by", "hold_until"])
    record(
        type=ArtifactType.HOLD,
        source=Source.OPERATOR,
        subject=held.subject,
        actor=actor,
        hold="",
        before=before,
        reason=reason.strip(),
    )
    return held


@transaction.atomic
def mark_deploy(*, version: str, reason: str = "", actor: str = "") -> Artifact:
    """Record that this node runs a version from now on, once, whoever asks how often.

    The same version after another one is a deploy of its own: a rollback is told too.

    Raises:
        DeployRefusedError: names the field that may not be as asked.
    """
    _check_deploy(version=version, reason=reason)
    marks = Artifact.objects.filter(
        type=ArtifactType.DEPLOY,
        node=settings.NODE_NAME,
        subject__startswith="version:",
    )
    last = marks.order_by("-id").first()
    if last is not None and last.subject == f"version:{version}":
        last.repeated = True
        return last
    before = last.subject.partition(":")[2] if last else ""
    after = last.event_id if last else ""
    return record(
        type=ArtifactType.DEPLOY,
        source=Source.OPERATOR,
        subject=f"version:{version}",
        actor=actor,
        # Two at once draw the same id: one row survives.
        event_id=uuid5(_DEPLOYS, f"{settings.NODE_NAME}/{version}/{after}"),
        before=before,
        reason=reason.strip(),
    )


def _check_deploy(*, version: str, reason: str) -> None:
    if not VERSION.fullmatch(version):
        raise DeployRefusedError(
            "version", "may hold 60 letters, digits, dot, dash, plus and underscore"
        )
    if len(reason.strip()) > LONGEST_REASON or not reason.strip().isprintable():
        raise DeployRefusedError(
            "reason", f"must be one line of at most {LONGEST_REASON} characters"
        )


def _check_hold(
    *, kind: str, reason: str, until: datetime | None, endless: bool
) -> None:
    if kind not in {HoldKind.DRAIN, HoldKind.OBSERVE}:
        raise HoldRefusedError("hold", "must be drain or observe")
    if wrong := wrong_reason(reason):
        raise HoldRefusedError("reason", wrong)
    now = timezone.now()
    if wrong := wrong_end(until, now):
        raise HoldRefusedError("until", wrong)
    if not endless and is_long(until, now):
        raise HoldRefusedError(
            "until", "must be at most 8 hours ahead without the right to hold longer"
        )
