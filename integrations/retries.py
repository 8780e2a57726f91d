"""One guarded call, and the repetition of those that may be repeated.

The loop is around the breaker: each try is one guarded call and counts as one.
"""

import logging
import math
import random
from collections.abc import Callable
from typing import TypeVar

from breakers import (
    BreakerError,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    deadline,
    remaining,
)
from integrations.verdicts import is_pool_exhausted, is_throttled, name_error

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# Seconds before the second and third try, each up to half longer by chance.
WAITS = (0.1, 0.3)
# No try with less than this share of the limit left: it could only be cut off.
LEAST = 0.1


def protected_call(
    breaker: CircuitBreaker, fn: Callable[[], Result], *, idempotent: bool
) -> Result:
    """Call under a breaker, up to three times if it may be repeated.

    All tries together have the breaker's ``timeout``, as one would.

    Raises:
        CallRefusedError: the call was not made.
        CallTimeoutError: no time was left for it.
        ServiceError: the service failed, refused, or answered nonsense.
    """
    try:
        if not idempotent:
            return _guarded(breaker, fn)
        with deadline(breaker.options.timeout or math.inf):
            return _repeated(breaker, fn)
    except Exception as error:
        named = name_error(breaker.name, error)
        if named is None:
            raise
        raise named from error


def _guarded(breaker: CircuitBreaker, fn: Callable[[], Result]) -> Result:
    result: Result = breaker.execute(_judged, breaker, fn)
    return result


def _judged(breaker: CircuitBreaker, fn: Callable[[], Result]) -> Result:
    """Call, and say what only this side knows: whose fault a time-out is."""
    try:
        return fn()
    except BreakerError:
        raise
    except Exception as error:
        if is_pool_exhausted(error):
            reason = "every connection is taken"
            raise BulkheadFullError(breaker.name, None, reason) from error
        if remaining() == 0.0:
            limit = breaker.options.timeout or 0.0
            raise CallTimeoutError(breaker.name, limit) from error
        raise


def _repeated(breaker: CircuitBreaker, fn: Callable[[], Result]) -> Result:
    import stamina
    from stamina.instrumentation import set_on_retry_hooks

    # Its own hook logs the error in full, which may quote what was sent.
    set_on_retry_hooks(())
    waits = iter(WAITS)
    least = LEAST * (breaker.options.timeout or 0.0)

    def wait_for(error: Exception) -> float | bool:
        wait = next(waits, None)
        if wait is None or not may_repeat(breaker, error):
            return False
        wait *= random.uniform(1.0, 1.5)  # noqa: S311 - spreads, hides nothing
        left = remaining()
        if left is not None and left < wait + least:
            return False
        logger.info(
            "%s: %s, once more in %.1f s", breaker.name, type(error).__name__, wait
        )
        return wait

    for attempt in stamina.retry_context(wait_for, attempts=3, timeout=None):
        with attempt:
            return _guarded(breaker, fn)
    raise AssertionError("unreachable")


def may_repeat(breaker: CircuitBreaker, error: Exception) -> bool:
    """Tell whether the same call may end otherwise in a moment."""
    if isinstance(error, BreakerError) or is_throttled(error):
        return False
    judge = breaker.options.is_failure
    return judge is None or judge(error)
