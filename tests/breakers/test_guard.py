"""The guard around calls: results, errors, what counts, overrides."""

import json
from contextlib import suppress

import pytest

from breakers import (
    CircuitOpenError,
    CircuitState,
)
from tests.breakers.guards import (
    WAYS,
    Hanging,
    boom,
    fine,
    in_threads,
    make_breaker,
    run_python,
    trip,
    wait_open_time,
)
from tests.server import wait_for

pytestmark = pytest.mark.usefixtures("_alone")


# -- Arguments and results -----------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("isolation", [None, "thread"])
def test_arguments_and_the_result_pass_through(way, timeout, isolation):
    breaker = make_breaker(timeout=timeout, isolation=isolation)

    def call(*args, **kwargs):
        return args, kwargs

    found = way(breaker, call, 1, 2, fn=3, self=4)

    assert found == ((1, 2), {"fn": 3, "self": 4})


@pytest.mark.parametrize("way", WAYS)
def test_counts_say_what_became_of_each_call(way):
    breaker = make_breaker(timeout=None)
    breaker.override("metrics_only")
    for call in (fine, boom, fine, boom, boom, boom):
        with suppress(ConnectionError):
            way(breaker, call)
    breaker.override("auto")
    trip(breaker)
    with pytest.raises(CircuitOpenError):
        way(breaker, fine)

    counts = breaker.counts()

    assert (counts["success"], counts["failure"]) == (2, 5)
    assert (counts["rejected"], counts["fallback"]) == (1, 0)


def test_reading_the_counts_from_many_threads_changes_none():
    breaker = make_breaker()
    trip(breaker)

    def work():
        for _ in range(200):
            breaker.counts()
            with suppress(CircuitOpenError):
                breaker.execute(fine)

    in_threads(8, work)

    assert breaker.counts()["rejected"] == 1600


# -- The original error --------------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"timeout": None}, {"isolation": "thread"}])
def test_without_a_fallback_the_original_error_is_raised(way, options):
    breaker = make_breaker(**options)
    error = ConnectionError("down")

    def call():
        raise error

    with pytest.raises(ConnectionError) as raised:
        way(breaker, call)

    assert raised.value is error
    assert error.__cause__ is None


@pytest.mark.parametrize("way", WAYS)
def test_the_error_that_trips_is_raised_itself(way):
    breaker = make_breaker(failure_threshold=1)

    with pytest.raises(ConnectionError):
        way(breaker, boom)

    assert breaker.state is CircuitState.OPEN


# -- What counts as a failure ---------------------------------------------------------
def not_a_key_error(outcome):
    return isinstance(outcome, Exception) and not isinstance(outcome, KeyError)


def missing():
    raise KeyError("no such thing")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fallback", [None, fine])
def test_an_ignored_error_is_raised_even_with_a_fallback(way, fallback):
    breaker = make_breaker(is_failure=not_a_key_error, fallback=fallback)

    for _ in range(5):
        with pytest.raises(KeyError):
            way(breaker, missing)

    assert breaker.state is CircuitState.CLOSED
    assert breaker.counts()["ignored"] == 5


@pytest.mark.parametrize("way", WAYS)
def test_other_errors_still_count_beside_ignored_ones(way):
    breaker = make_breaker(is_failure=not_a_key_error)

    for call in (boom, missing, boom, missing, boom):
        with suppress(ConnectionError, KeyError):
            way(breaker, call)

    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("way", WAYS)
def test_a_result_may_be_a_failure_and_is_still_returned(way):
    breaker = make_breaker(is_failure=lambda outcome: outcome == "fine")

    answers = [way(breaker, fine) for _ in range(3)]

    assert answers == ["fine"] * 3
    assert breaker.state is CircuitState.OPEN
    assert breaker.circuit.last_error == "result"


@pytest.mark.parametrize("way", WAYS)
def test_a_predicate_that_raises_is_logged_and_the_outcome_speaks(way, caplog):
    def broken_predicate(outcome):
        raise ZeroDivisionError

    breaker = make_breaker(is_failure=broken_predicate)

    assert way(breaker, fine) == "fine"
    for _ in range(3):
        with pytest.raises(ConnectionError):
            way(breaker, boom)

    assert breaker.state is CircuitState.OPEN
    assert breaker.counts()["success"] == 1
    assert f"is_failure of breaker {breaker.name} raised" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_further_in_says_nothing_about_the_outer_dependency(way):
    inner, outer = make_breaker(), make_breaker()
    trip(inner)

    for _ in range(5):
        with pytest.raises(CircuitOpenError) as refused:
            way(outer, lambda: inner.execute(fine))
        assert refused.value.name == inner.name

    assert outer.state is CircuitState.CLOSED
    assert outer.counts()["failure"] == 0


class PoolTimeout(TimeoutError):  # noqa: N818 - as httpx calls it
    """Our pool of connections is empty; the dependency was not asked."""


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_that_failed_on_our_side_gives_its_permit_back(way):
    breaker = make_breaker(reset_timeout=0.02)
    trip(breaker)
    wait_open_time(breaker)

    def starved():
        raise PoolTimeout

    with pytest.raises(PoolTimeout):
        way(breaker, starved)

    assert breaker.state is CircuitState.HALF_OPEN
    assert way(breaker, fine) == "fine"


# -- Overrides -----------------------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
def test_forced_open_refuses_a_healthy_dependency(way):
    breaker = make_breaker()
    breaker.override("forced_open", reason="upgrade", by="user:7", seconds=30)

    with pytest.raises(CircuitOpenError) as refused:
        way(breaker, fine)

    assert breaker.state is CircuitState.FORCED_OPEN
    assert 29 < refused.value.retry_after <= 30
    breaker.override("auto")
    assert way(breaker, fine) == "fine"


@pytest.mark.parametrize("way", WAYS)
def test_disabled_passes_and_counts_nothing(way):
    breaker = make_breaker()
    breaker.override("disabled")

    for _ in range(9):
        with pytest.raises(ConnectionError):
            way(breaker, boom)

    assert breaker.state is CircuitState.DISABLED
    assert set(breaker.counts().values()) == {0}


@pytest.mark.parametrize("way", WAYS)
def test_metrics_only_counts_and_never_refuses(way):
    breaker = make_breaker()
    breaker.override("metrics_only")

    for _ in range(9):
        with pytest.raises(ConnectionError):
            way(breaker, boom)

    assert breaker.state is CircuitState.METRICS_ONLY
    assert breaker.counts()["failure"] == 9


def test_an_override_ends_by_itself():
    breaker = make_breaker()
    breaker.override("forced_open", seconds=0.02)

    wait_for(lambda: breaker.state is CircuitState.CLOSED, 5, "the end")

    assert breaker.execute(fine) == "fine"


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [("open", 1), ("FORCED_OPEN", 1), ("disabled", 0), ("disabled", float("nan"))],
)
def test_an_override_that_makes_no_sense_is_refused(mode, seconds):
    with pytest.raises(ValueError, match=r"open|seconds|FORCED"):
        make_breaker().override(mode, seconds=seconds)


def test_reset_closes_an_open_circuit():
    breaker = make_breaker()
    trip(breaker)

    breaker.reset("by hand")

    assert breaker.state is CircuitState.CLOSED
    assert breaker.execute(fine) == "fine"


# -- Alone ---------------------------------------------------------------------------
def test_it_works_with_no_django_in_the_process():
    script = """
import json, sys
import breakers
breaker = breakers.get_breaker("alone", failure_threshold=3)
def boom():
    raise ConnectionError("down")
for _ in range(3):
    try:
        breaker.execute(boom)
    except ConnectionError:
        pass
try:
    breaker.execute(boom)
except breakers.CircuitOpenError as error:
    refused = error.name
loaded = [name for name in ("django", "rest_framework", "celery", "redis")
          if name in sys.modules]
print(json.dumps([str(breaker.state), refused, loaded]))
"""

    assert json.loads(run_python(script)) == ["OPEN", "alone", []]


def test_importing_starts_no_thread():
    script = """
import threading
import breakers
breaker = breakers.get_breaker("quiet")
print(threading.active_count())
breaker.execute(lambda: 1)
print(threading.active_count())
"""

    assert run_python(script).split() == ["1", "2"]


def test_a_hung_isolated_call_does_not_keep_the_process():
    script = """
import threading
import breakers
breaker = breakers.CircuitBreaker("hung", isolation="thread", timeout=0.05)
try:
    breaker.execute(threading.Event().wait)
except breakers.CallTimeoutError:
    print("left")
"""

    assert run_python(script).split() == ["left"]


def test_a_hanging_call_in_a_closed_circuit_does_not_stop_a_reset():
    breaker = make_breaker()
    hanging = Hanging(breaker)

    breaker.reset()
    hanging.end()

    assert hanging.outcome == ["fine"]
    assert breaker.execute(fine) == "fine"
