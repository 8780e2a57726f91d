"""How often: a limit per address and scope that stays open when Redis is away."""

import math
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle


class ScopedThrottle(BaseThrottle):
    """A fixed-window limit per address for views with a ``throttle_scope``.

    Open when Redis is away: the stock one raises, which is a 500.
    """

    retry_after = 1.0

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request; tell whether it is within the scope's rate."""
        scope = getattr(view, "throttle_scope", None)
        rate = settings.THROTTLE_RATES.get(scope) if scope else None
        if rate is None:
            return True
        count, seconds = rate
        window, passed = divmod(time.time(), seconds)
        self.retry_after = seconds - passed
        key = f"throttle:{scope}:{self.get_ident(request)}:{int(window)}"
        try:
            cache.add(key, 0, timeout=seconds + 1)
            return cache.incr(key) <= count
        except (RedisError, OSError, ValueError):
            return True

    def wait(self) -> float:
        """Return the seconds until the window ends."""
        return math.ceil(self.retry_after)
