"""Sweeps of the bug fixer; each may run twice or late without harm."""

from celery import shared_task

from bugfixer import services

# A pass a minute at most: the time limit of a task is 60 s, a pass takes well under 1.
PASSES = 20


@shared_task
def count_reports() -> int:
    """Add new reports to their bugs, pass after pass until none is left."""
    total = 0
    for _ in range(PASSES):
        taken = services.count_reports()
        total += taken
        if taken < services.SWEEP_LIMIT:
            break
    return total


@shared_task
def analyze_wanted() -> int:
    """Analyse the bugs that are new or asked for."""
    return services.analyze_waiting()


@shared_task
def prune_reports() -> int:
    """Delete reports past RETENTION_DAYS, and people from those that stay."""
    total = 0
    for _ in range(PASSES):
        taken = services.prune_reports()
        total += taken
        if taken < services.PRUNE_LIMIT:
            break
    services.forget_old_reporters()
    return total
