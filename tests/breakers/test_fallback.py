"""What answers for calls that fail or are not made."""

import asyncio
import time

import pytest

from breakers import (
    CircuitOpenError,
    remaining,
)
from tests.breakers.guards import (
    WAYS,
    aboom,
    arun,
    boom,
    fine,
    make_breaker,
    run,
)

pytestmark = pytest.mark.usefixtures("_alone")


class Fallbacks:
    def __init__(self):
        self.given = []

    def with_error(self, error):
        self.given.append(error)
        return "instead"

    def without(self):
        self.given.append(None)
        return "instead"

    def optional(self, error=None):
        self.given.append(error)
        return "instead"

    def only_keywords(self, *, error=None):
        self.given.append(error)
        return "instead"

    async def awaited(self, error):
        await asyncio.sleep(0)
        self.given.append(error)
        return "instead"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "asks"),
    [
        ("with_error", True),
        ("without", False),
        ("optional", True),
        ("only_keywords", False),
    ],
)
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_fallback_answers_for_failures_and_refusals(way, name, asks, timeout):
    fallbacks = Fallbacks()
    breaker = make_breaker(fallback=getattr(fallbacks, name), timeout=timeout)

    answers = [way(breaker, boom) for _ in range(5)]

    assert answers == ["instead"] * 5
    kinds = [type(error) for error in fallbacks.given]
    none = type(None)
    assert kinds == (
        [ConnectionError] * 3 + [CircuitOpenError] * 2 if asks else [none] * 5
    )
    counts = breaker.counts()
    assert (counts["failure"], counts["rejected"], counts["fallback"]) == (3, 2, 5)


@pytest.mark.parametrize(("kind", "answer"), [(list, []), (dict, {}), (str, "")])
def test_a_builtin_as_fallback_is_called_without_the_error(kind, answer):
    breaker = make_breaker(fallback=kind)

    assert breaker.execute(boom) == answer


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_an_async_fallback_is_awaited(timeout):
    fallbacks = Fallbacks()
    breaker = make_breaker(fallback=fallbacks.awaited, timeout=timeout)

    answers = [arun(breaker, aboom) for _ in range(4)]

    assert answers == ["instead"] * 4
    assert [type(one) for one in fallbacks.given][2:] == [
        ConnectionError,
        CircuitOpenError,
    ]


class BrokenFallbackError(Exception):
    pass


def broken(error):
    raise BrokenFallbackError


def broken_without():
    raise BrokenFallbackError


async def abroken():
    raise BrokenFallbackError


def chain(error):
    """Return the types a traceback of an error shows."""
    shown = []
    while error is not None and len(shown) < 9:
        shown.append(type(error))
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
    return shown


@pytest.mark.parametrize(
    ("way", "fallback"),
    [
        (run, broken),
        (run, broken_without),
        (arun, broken),
        (arun, broken_without),
        (arun, abroken),
    ],
)
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_fallback_that_raises_shows_both_errors(way, fallback, timeout):
    breaker = make_breaker(fallback=fallback, failure_threshold=1, timeout=timeout)

    with pytest.raises(BrokenFallbackError) as failed:
        way(breaker, boom)
    with pytest.raises(BrokenFallbackError) as refused:
        way(breaker, fine)

    assert chain(failed.value) == [BrokenFallbackError, ConnectionError]
    assert chain(refused.value) == [BrokenFallbackError, CircuitOpenError]


@pytest.mark.parametrize("way", WAYS)
def test_a_fallback_that_raises_the_refusal_raises_just_that(way):
    def pass_on(error):
        raise error

    breaker = make_breaker(fallback=pass_on, failure_threshold=1, reset_timeout=0.02)
    with pytest.raises(ConnectionError):
        way(breaker, boom)

    with pytest.raises(CircuitOpenError) as refused:
        way(breaker, fine)

    assert chain(refused.value) == [CircuitOpenError]


def test_a_fallback_keeps_the_cause_it_names_itself():
    def explain():
        try:
            {}["cached"]
        except KeyError as missing:
            raise BrokenFallbackError from missing

    breaker = make_breaker(fallback=explain, failure_threshold=1)
    with pytest.raises(BrokenFallbackError):
        breaker.execute(boom)

    with pytest.raises(BrokenFallbackError) as refused:
        breaker.execute(fine)

    assert KeyError in chain(refused.value)


def test_a_fallback_has_the_callers_time_and_not_what_the_failed_call_left():
    left = []
    second = make_breaker(timeout=5.0)

    def instead():
        left.append(remaining())
        return second.execute(fine)

    def slow():
        time.sleep(0.03)
        raise TimeoutError

    breaker = make_breaker(timeout=0.02, fallback=instead)

    assert breaker.execute(slow) == "fine"
    assert left == [None]
