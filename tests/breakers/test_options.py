"""What a breaker may be told, and what is said of the rest."""

import logging
import math
import pickle
import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakers import (
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    OptionError,
    all_breakers,
    get_breaker,
)
from breakers.options import NAMES, Options, check_name, make_options
from tests.breakers.guards import fine, new_name

pytestmark = pytest.mark.usefixtures("_alone")

WHOLE = ["failure_threshold", "success_threshold", "minimum_calls", "max_concurrent"]
SECONDS = ["window", "reset_timeout"]
MAYBE_SECONDS = ["timeout", "slow_call_duration"]
RATES = ["failure_rate_threshold", "slow_call_rate_threshold"]
FUNCTIONS = ["fallback", "is_failure", "retry_after"]
NO_NUMBERS = [True, False, "5", b"5", [5], {}, ..., 5j]
BAD_SIZES = [0, -1, math.nan, math.inf, -math.inf, 10**400, 1e10, -0.0]
CASES = [
    *((name, value) for name in WHOLE for value in [*NO_NUMBERS, *BAD_SIZES, 2.0]),
    *((name, None) for name in [*WHOLE, *SECONDS, "retry_after"]),
    *(
        (name, value)
        for name in [*SECONDS, *MAYBE_SECONDS, *RATES]
        for value in [*NO_NUMBERS, *BAD_SIZES]
    ),
    *((name, 1.01) for name in RATES),
    *((name, value) for name in FUNCTIONS for value in [5, "len", True]),
    *(("isolation", value) for value in ["process", "", 1, True, [], {}]),
    *((name, 1) for name in ["fail_max", "Timeout", "", "redis", "name_"]),
]


def complaint(function, value):
    """Return the option that is complained of, None when the value is taken."""
    try:
        function(value)
    except OptionError as error:
        return error.option
    return None


@pytest.mark.parametrize(("name", "value"), CASES, ids=str)
def test_a_value_that_makes_no_sense_is_named(name, value):
    with pytest.raises(OptionError) as told:
        CircuitBreaker(new_name(), **{name: value})

    assert told.value.option == name
    assert str(told.value).startswith(name)
    assert len(str(told.value)) < 400


def test_an_option_error_is_a_value_error():
    with pytest.raises(ValueError, match="timeout must be a number above 0"):
        make_options({"timeout": -1})


def test_an_unknown_option_is_told_which_there_are():
    with pytest.raises(OptionError) as told:
        make_options({"fail_max": 5})

    assert ", ".join(sorted(NAMES)) in str(told.value)


@given(st.floats() | st.integers() | st.none() | st.booleans() | st.text())
def test_any_number_of_seconds_is_taken_or_named(value):
    given_both = {"timeout": value, "slow_call_duration": value}

    assert complaint(make_options, given_both) in {None, "timeout"}


# -- Names -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["a", "openai", "a.b-c_9", "0", "x" * 40, "stripe.com-v2"]
)
def test_a_name_may_be_of_plain_letters(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "-a",
        ".a",
        "_a",
        "A",
        "a b",
        "a\n",
        "a\x00",
        "a/b",
        "a:b",
        "ä",
        "а",  # noqa: RUF001 - the Cyrillic one
        "٣",
        "x" * 41,
        "a'b",
        "{a}",
        "a\u200b",
        None,
        5,
        b"a",
        ["a"],
    ],
    ids=repr,
)
def test_a_name_of_odd_characters_is_refused(name):
    with pytest.raises(OptionError) as told:
        CircuitBreaker(name)

    assert told.value.option == "name"


@given(st.text())
def test_any_name_is_taken_or_named(name):
    told = complaint(check_name, name)

    assert told in {None, "name"}
    if told is None:
        assert name.isascii()
        assert name == name.lower()
        assert 1 <= len(name) <= 40


# -- What is shown -----------------------------------------------------------------
class Cache:
    """A fallback with something in it that cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()

    def lookup(self):
        return "cached"

    def __call__(self):
        return "called"


@pytest.mark.parametrize(
    ("fallback", "shown"),
    [
        (None, None),
        (fine, "fine"),
        (Cache().lookup, "Cache.lookup"),
        (Cache(), "Cache"),
        (partial(fine), "partial"),
        (list, "list"),
    ],
    ids=["none", "function", "method", "object", "partial", "type"],
)
def test_options_are_shown_as_plain_values(fallback, shown):
    plain = Options(fallback=fallback).plain()

    assert plain["fallback"] == shown
    assert plain["timeout"] == 2.0
    assert plain.keys() == NAMES


@pytest.mark.parametrize(
    "error",
    [
        OptionError("timeout", "must be a number"),
        CircuitOpenError("openai", 3.5, "open"),
        CircuitOpenError("openai"),
        BulkheadFullError("openai", None, "full"),
        CallTimeoutError("openai", 2.0),
    ],
    ids=repr,
)
def test_an_error_survives_the_way_to_another_process(error):
    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("after", "told"), [(None, None), (math.inf, None), (2.5, 2.5), (-0.001, 0.0)]
)
def test_a_refusal_says_when_to_ask_again(after, told):
    assert CircuitOpenError("openai", after).retry_after == told


# -- The registry --------------------------------------------------------------------
def test_the_second_get_with_other_options_warns_and_keeps_the_first(caplog):
    name = new_name()
    first = get_breaker(name, timeout=1.0, failure_threshold=7)

    with caplog.at_level(logging.WARNING):
        second = get_breaker(name, timeout=9.0, failure_threshold=7, window=5.0)

    assert second is first
    assert first.options.timeout == 1.0
    assert f"breaker {name} keeps the options" in caplog.text
    assert "ignored: timeout, window" in caplog.text


@pytest.mark.parametrize("again", [{}, {"timeout": 1.0}, {"window": 60.0}])
def test_the_second_get_with_the_same_options_is_silent(caplog, again):
    name = new_name()
    first = get_breaker(name, timeout=1.0)

    second = get_breaker(name, **again)

    assert second is first
    assert first in all_breakers()
    assert caplog.text == ""


def test_the_second_get_with_nonsense_is_told_so():
    name = new_name()
    get_breaker(name)

    with pytest.raises(OptionError):
        get_breaker(name, timeout=-1)


def test_threads_that_get_one_name_at_once_get_one_breaker():
    name, found = new_name(), []
    gate = threading.Barrier(12)

    def get():
        gate.wait()
        found.append(get_breaker(name))

    threads = [threading.Thread(target=get) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 12
    assert len(set(map(id, found))) == 1
