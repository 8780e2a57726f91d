"""What an operator's act must say, whatever it is done to. Pure.

It is recorded as an artifact that holds a reason, and its effect ends by itself unless
whoever acts may do without.
"""

from datetime import datetime, timedelta

SHORTEST_REASON = 5
LONGEST_REASON = 200
LONGEST_EFFECT = timedelta(hours=8)


def wrong_reason(reason: str) -> str:
    """Return what is wrong with a reason, or nothing."""
    text = reason.strip()
    if not SHORTEST_REASON <= len(text) <= LONGEST_REASON:
        return f"must have {SHORTEST_REASON} to {LONGEST_REASON} characters"
    return "" if text.isprintable() else "must be one line without control characters"


def wrong_end(until: datetime | None, now: datetime) -> str:
    """Return what is wrong with an end for anybody, or nothing."""
    over = until is not None and until <= now
    return "must be in the future" if over else ""


def is_long(until: datetime | None, now: datetime) -> bool:
    """Tell whether an effect would last longer than not everybody may say."""
    return until is None or until - now > LONGEST_EFFECT
