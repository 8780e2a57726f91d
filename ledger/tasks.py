"""What beat asks for: sequencing as a second pair of hands, a daily verification."""

import structlog
from celery import shared_task

from ledger import sequencer, spool, upkeep

# A million rows take seconds; the limit of other tasks would end a larger ledger's.
VERIFY_LIMIT = 3600

logger = structlog.get_logger(__name__)


@shared_task(ignore_result=True)
def sequence() -> None:
    """Ship what dead processes left, then do one pass."""
    spool.adopt()
    sequencer.sequence()


@shared_task(ignore_result=True, time_limit=VERIFY_LIMIT)
def verify(*, full: bool = False, actor: str = "") -> None:
    """Verify what is new; everything once a week, or when asked."""
    verdict = upkeep.verify_ledger(full=full or upkeep.is_full_due(), actor=actor)
    if verdict.ok:
        logger.info("ledger_whole", size=verdict.size, seconds=verdict.seconds)
    else:
        logger.error("ledger_broken", found=str(verdict.first), size=verdict.size)
