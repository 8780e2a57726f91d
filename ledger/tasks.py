"""What beat asks for: sequencing as a second pair of hands, a daily verification."""

from uuid import UUID

import structlog
from celery import shared_task

from ledger import sequencer, spool, upkeep
from ledger.models import Artifact

# A million rows take seconds; the limit of other tasks would end a larger ledger's.
VERIFY_LIMIT = 3600

logger = structlog.get_logger(__name__)


@shared_task(ignore_result=True)
def sequence() -> None:
    """Ship what dead processes left, then do one pass."""
    spool.adopt()
    sequencer.sequence()


@shared_task(ignore_result=True, time_limit=VERIFY_LIMIT)
def verify(*, full: bool = False, actor: str = "", event_id: str = "") -> None:
    """Verify what is new; everything once a week, or when asked."""
    event = UUID(event_id) if event_id else None
    if event and Artifact.objects.by_event(event).exists():
        return  # delivered twice
    verdict = upkeep.verify_ledger(
        full=full or upkeep.is_full_due(), actor=actor, event_id=event
    )
    if verdict.ok:
        logger.info("ledger_whole", size=verdict.size, seconds=verdict.seconds)
    else:
        logger.error("ledger_broken", found=str(verdict.first), size=verdict.size)
