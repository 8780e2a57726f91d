"""What one may say about a breaker, checked when it is built. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from breakers.errors import OptionError
from breakers.throttling import read_retry_after

# Part of subjects, labels and keys: nothing that would have to be quoted there.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}").fullmatch
_WHOLE = ("failure_threshold", "success_threshold", "minimum_calls", "max_concurrent")
_SECONDS = ("window", "reset_timeout")
_MAYBE_SECONDS = ("timeout", "slow_call_duration")
_MAYBE_RATES = ("failure_rate_threshold", "slow_call_rate_threshold")
_MOST = 1e9
_FUNCTIONS = ("fallback", "is_failure", "retry_after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one breaker; times are seconds, rates are shares of one.

    Raises:
        OptionError: names the option and what it must be.
    """

    failure_threshold: int = 5
    failure_rate_threshold: float | None = 0.5
    window: float = 60.0
    minimum_calls: int = 20
    slow_call_duration: float | None = None
    slow_call_rate_threshold: float | None = 0.5
    reset_timeout: float = 60.0
    timeout: float | None = 2.0
    success_threshold: int = 3
    fallback: Callable[..., Any] | None = None
    is_failure: Callable[[Any], bool] | None = None
    retry_after: Callable[[Exception], float | None] = read_retry_after
    isolation: str | None = None
    max_concurrent: int = 8

    def __post_init__(self) -> None:
        for name in _WHOLE:
            _check_whole(name, getattr(self, name))
        for name in _SECONDS:
            _check_number(name, getattr(self, name))
        for name in _MAYBE_SECONDS:
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name))
        for name in _MAYBE_RATES:
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), most=1.0)
        for name in _FUNCTIONS:
            value = getattr(self, name)
            if not callable(value) and (value is not None or name == "retry_after"):
                raise OptionError(name, f"must be callable, not {value!r:.40}")
        if self.isolation is not None and self.isolation != "thread":
            raise OptionError(
                "isolation", f"must be 'thread' or None, not {self.isolation!r:.40}"
            )

    @property
    def trial_limit(self) -> float:
        """Return the seconds after which a trial that said nothing is given up."""
        return (self.reset_timeout if self.timeout is None else self.timeout) + 1.0

    def plain(self) -> dict[str, Any]:
        """Return the options as values that can be shown; functions by their name."""
        return {
            name: _name_of(value) if callable(value) else value
            for name in sorted(NAMES)
            for value in [getattr(self, name)]
        }


NAMES = frozenset(field.name for field in fields(Options))


def make_options(given: Mapping[str, Any]) -> Options:
    """Build options from keywords.

    Raises:
        OptionError: names an option that does not exist or makes no sense.
    """
    for name in given:
        if name not in NAMES:
            known = ", ".join(sorted(NAMES))
            raise OptionError(name, f"is no option; there are {known}")
    return Options(**given)


def check_name(name: str) -> str:
    """Return the name of a breaker.

    Raises:
        OptionError: it is not 1 to 40 of a-z, 0-9, '_', '.' and '-'.
    """
    if not isinstance(name, str) or not _NAME(name):
        raise OptionError(
            "name",
            f"must be 1 to 40 of a-z 0-9 _ . - and begin with one of the first"
            f" two kinds, not {name!r:.60}",
        )
    return name


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _check_whole(name: str, value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= _MOST:  # type: ignore[operator]
        raise OptionError(
            name, f"must be a whole number from 1 to {_MOST:g}, not {value!r:.40}"
        )


def _check_number(name: str, value: object, *, most: float = _MOST) -> None:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 < value <= most
    ):
        raise OptionError(
            name, f"must be a number above 0 and up to {most:g}, not {value!r:.40}"
        )
