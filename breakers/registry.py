"""One breaker a name in this process. Pure."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from breakers import fleet
from breakers.guard import CircuitBreaker
from breakers.options import make_options
from breakers.pulse import pulse

logger = logging.getLogger(__name__)
_lock = threading.Lock()
_breakers: dict[str, CircuitBreaker] = {}
_configured: dict[str, dict[str, Any]] = {}


def configure(
    options: Mapping[str, Mapping[str, Any]], *, redis_url: str | None = None
) -> None:
    """Say the options of breakers by name; they win over what the code gives.

    Raises:
        OptionError: names an option that makes no sense.
    """
    for name, given in options.items():
        make_options(given)
        _configured[name] = dict(given)
    fleet.use(redis_url)


def get_breaker(name: str, **options: Any) -> CircuitBreaker:
    """Return the breaker of a name, made at the first call with these options.

    Options given later that differ are not taken: a warning says so.

    Raises:
        OptionError: names the name or option that makes no sense.
    """
    breaker = _breakers.get(name)
    if breaker is None:
        with _lock:
            breaker = _breakers.get(name)
            if breaker is None:
                merged = {**options, **_configured.get(name, {})}
                breaker = CircuitBreaker(name, **merged)
                _breakers[name] = breaker
                return breaker
    if options:
        _warn_of_others(breaker, options)
    return breaker


def all_breakers() -> list[CircuitBreaker]:
    """Return the breakers of this process by name."""
    return [_breakers[name] for name in sorted(_breakers)]


def find_breaker(name: str) -> CircuitBreaker | None:
    """Return the breaker of a name if there is one in this process."""
    return _breakers.get(name)


def _forked() -> None:
    """Give a child a lock of its own: the parent may hold its lock for ever there."""
    global _lock  # noqa: PLW0603 - a lock cannot be opened by who does not hold it
    _lock = threading.Lock()


pulse.at_fork(_forked)


def _warn_of_others(breaker: CircuitBreaker, options: Mapping[str, Any]) -> None:
    told = {**options, **_configured.get(breaker.name, {})}
    wanted = make_options(told)
    other = [
        key for key in told if getattr(wanted, key) != getattr(breaker.options, key)
    ]
    if other:
        logger.warning(
            "breaker %s keeps the options it was made with; ignored: %s",
            breaker.name,
            ", ".join(sorted(other)),
        )
