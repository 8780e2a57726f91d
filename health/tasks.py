"""The second pair of eyes: beat asks the service and looks for silent instances."""

import logging
from collections.abc import Collection, Iterable
from datetime import datetime

from celery import shared_task
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from health.ask import ask
from health.canaries import note_run
from health.models import Instance
from ledger.services import ArtifactType, Source, emit

logger = logging.getLogger(__name__)
STRIKES = 3
ANSWER_SECONDS = 5.0
UNSEEN_SECONDS = 30.0
REMEMBER_SECONDS = 86400
VANISHED = "not seen for a day; its row was removed"
_DOWN = "health:down"


@shared_task(name="health.tasks.watchdog_check", ignore_result=True)
def watchdog_check() -> list[str]:
    """Look at the service and at every heartbeat; write what changed, kill nothing."""
    unwell = {} if service_answers() else {"probe:live": "the service does not answer"}
    now = timezone.now()
    gone = forget_vanished(now)
    for instance in Instance.objects.unseen(now, seconds=UNSEEN_SECONDS):
        unwell[instance.subject] = "its heartbeat is late"
    down = strike(unwell, gone)
    return sorted(down)


@shared_task(name="health.tasks.canary", ignore_result=True)
def canary(queue: str, sent: float) -> None:
    """Show that a worker takes what is sent through this queue."""
    note_run(queue, sent)


def service_answers() -> bool:
    """Ask the service for its liveness, as an outside client would."""
    url = f"{settings.SERVICE_URL}/api/health/live"
    reply = ask(url, seconds=ANSWER_SECONDS)
    return reply is not None and reply.status == 200


def forget_vanished(now: datetime) -> list[str]:
    """Delete the rows of pods that were replaced long ago; return their subjects."""
    rows = list(Instance.objects.vanished(now))
    # Asked again in the same statement: one of them may just have been seen.
    Instance.objects.vanished(now).filter(pk__in=[row.pk for row in rows]).delete()
    return [row.subject for row in rows]


def strike(unwell: dict[str, str], gone: Collection[str] = ()) -> set[str]:
    """Count each subject's strikes; write it down at the third, and when it is well.

    Without the cache nothing is counted: what could not be looked at is not down.
    """
    down: dict[str, int] = cache.get(_DOWN) or {}
    counts = {subject: down.get(subject, 0) + 1 for subject in unwell}
    for subject, count in counts.items():
        if count == STRIKES:
            _say(ArtifactType.DEGRADE, subject, unwell[subject])
    for subject in recovered(down, counts):
        _say(ArtifactType.RECOVER, subject, VANISHED if subject in gone else "")
    cache.set(_DOWN, counts, timeout=REMEMBER_SECONDS)
    return {subject for subject, count in counts.items() if count >= STRIKES}


def recovered(before: dict[str, int], now: dict[str, int]) -> Iterable[str]:
    """Return what was written down as bad and is so no more."""
    return sorted(
        subject
        for subject, count in before.items()
        if count >= STRIKES and subject not in now
    )


def _say(kind: ArtifactType, subject: str, reason: str) -> None:
    emit(type=kind, source=Source.WATCHDOG, subject=subject, reason=reason)
    logger.warning(kind.value, extra={"subject": subject, "reason": reason})
