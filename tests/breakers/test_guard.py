"""The guard around calls: fallback, predicates, limits, isolation, decorator."""

import ast
import asyncio
import contextvars
import inspect
import json
import threading
import time
from contextlib import suppress

import pytest

from breakers import (
    BulkheadFullError,
    CallRefusedError,
    CallTimeoutError,
    CircuitOpenError,
    CircuitState,
    deadline,
    guard,
    remaining,
)
from tests.breakers.guards import (
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


async def aboom():
    raise ConnectionError("down")


async def afine():
    return "fine"


def arun(breaker, call, *args, **kwargs):
    return asyncio.run(breaker.aexecute(call, *args, **kwargs))


def run(breaker, call, *args, **kwargs):
    return breaker.execute(call, *args, **kwargs)


WAYS = [run, arun]


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


# -- Fallback ------------------------------------------------------------------------
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


# -- Limits --------------------------------------------------------------------------
def late():
    time.sleep(0.03)
    return "late"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"is_failure": lambda outcome: False}])
def test_a_late_return_is_a_timeout_and_still_returned(way, options):
    breaker = make_breaker(timeout=0.02, failure_rate_threshold=None, **options)

    answers = [way(breaker, late) for _ in range(3)]

    assert answers == ["late"] * 3
    assert breaker.state is CircuitState.OPEN
    assert breaker.circuit.reason == "3 timeouts in a row"
    assert breaker.counts()["timeout"] == 3


@pytest.mark.parametrize("way", WAYS)
def test_without_a_timeout_nothing_is_late(way):
    breaker = make_breaker(timeout=None)

    assert way(breaker, late) == "late"
    assert breaker.counts()["timeout"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_call_knows_the_time_it_has(way):
    breaker = make_breaker(timeout=5.0)

    assert 4 < way(breaker, remaining) <= 5
    assert remaining() is None


@pytest.mark.parametrize("way", WAYS)
def test_nested_guards_share_the_shorter_time(way):
    outer, inner = make_breaker(timeout=2.0), make_breaker(timeout=60.0)
    short = make_breaker(timeout=1.0)

    def ask():
        return inner.execute(remaining), short.execute(remaining), remaining()

    within, shorter, after = way(outer, ask)

    assert 1.5 < within <= 2
    assert 0.5 < shorter <= 1
    assert 1.5 < after <= 2


def test_an_awaited_guard_shares_the_time_of_the_one_around_it():
    outer, inner = make_breaker(timeout=2.0), make_breaker(timeout=60.0)

    async def nested():
        return await asyncio.create_task(inner.aexecute(remaining))

    assert 1.5 < arun(outer, nested) <= 2


@pytest.mark.parametrize("way", WAYS)
def test_a_call_with_no_time_left_is_not_made_and_blames_nobody(way):
    breaker = make_breaker(timeout=5.0)
    called = []

    def call():
        with deadline(1e-9):
            while remaining() > 0:
                pass
            return way(breaker, lambda: called.append(1))

    with pytest.raises(CallRefusedError, match="no time is left"):
        call()

    assert called == []
    assert breaker.counts()["failure"] == breaker.counts()["timeout"] == 0


def test_remaining_is_at_most_what_is_asked_for():
    with deadline(10.0):
        assert remaining(3.0) == 3.0
        assert 9 < remaining(60.0) <= 10
    assert remaining(3.0) == 3.0
    assert remaining() is None


def test_an_awaited_call_is_cut_at_its_deadline():
    breaker = make_breaker(timeout=0.02)
    ended = []

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    with pytest.raises(CallTimeoutError) as cut:
        arun(breaker, hang)

    assert ended == [1]
    assert (cut.value.name, breaker.counts()["timeout"]) == (breaker.name, 1)
    assert cut.value.timeout == pytest.approx(0.02)
    assert isinstance(cut.value, TimeoutError)


def test_a_timeout_error_of_the_call_itself_stays_what_it_is():
    breaker = make_breaker(timeout=5.0)

    async def time_out():
        raise TimeoutError("by the client")

    with pytest.raises(TimeoutError, match="by the client") as raised:
        arun(breaker, time_out)

    assert not isinstance(raised.value, CallTimeoutError)
    assert breaker.counts()["timeout"] == 1


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_cancel_from_outside_keeps_its_meaning(timeout):
    breaker = make_breaker(timeout=timeout)

    async def story():
        task = asyncio.create_task(breaker.aexecute(asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel("by hand")
        with pytest.raises(asyncio.CancelledError, match="by hand"):
            await task
        return task.cancelled()

    assert asyncio.run(story())
    assert breaker.counts()["timeout"] == breaker.counts()["failure"] == 0


def test_a_timeout_around_the_guard_is_no_failure_of_the_dependency():
    breaker = make_breaker(timeout=5.0)

    async def story():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await breaker.aexecute(asyncio.Event().wait)

    asyncio.run(story())

    assert breaker.counts()["timeout"] == breaker.counts()["failure"] == 0


# -- isolation="thread" ----------------------------------------------------------------
def make_isolated(**options):
    return make_breaker(**{"isolation": "thread", "timeout": 0.05, **options})


def wait_free(breaker):
    wait_for(lambda: breaker._pool.taken == 0, 5, "the pool to be free")


@pytest.mark.parametrize("way", WAYS)
def test_a_hung_call_is_left_at_the_deadline(way):
    breaker = make_isolated()
    go = threading.Event()

    with pytest.raises(CallTimeoutError) as cut:
        way(breaker, go.wait)

    assert cut.value.name == breaker.name
    assert breaker.counts()["timeout"] == 1
    assert breaker._pool.taken == 1
    go.set()
    wait_free(breaker)


@pytest.mark.parametrize("way", WAYS)
def test_a_full_bulkhead_refuses_and_blames_nobody(way):
    breaker = make_isolated(max_concurrent=2, failure_threshold=9)
    go = threading.Event()
    for _ in range(2):
        with pytest.raises(CallTimeoutError):
            way(breaker, go.wait)

    with pytest.raises(BulkheadFullError, match="all 2 threads are taken"):
        way(breaker, fine)

    assert breaker.counts()["ignored"] == 1
    assert breaker.counts()["failure"] == 0
    go.set()
    wait_free(breaker)
    assert way(breaker, fine) == "fine"


def type_of(error):
    return type(error)


def test_a_full_bulkhead_falls_back():
    breaker = make_isolated(max_concurrent=1, fallback=type_of)
    go = threading.Event()

    answers = [breaker.execute(go.wait), breaker.execute(fine)]

    assert answers == [CallTimeoutError, BulkheadFullError]
    go.set()


@pytest.mark.parametrize("way", WAYS)
def test_threads_are_used_again_and_none_is_left_over(way):
    breaker = make_isolated(max_concurrent=3, failure_threshold=99)
    for _ in range(3):
        go = threading.Event()
        for _ in range(3):
            with pytest.raises(CallTimeoutError):
                way(breaker, go.wait)
        go.set()
        wait_free(breaker)

    names = [thread.name for thread in threading.enumerate()]

    assert names.count(f"breaker-{breaker.name}") == 3
    assert way(breaker, fine) == "fine"


def test_an_isolated_call_sees_the_callers_context():
    breaker = make_isolated(timeout=5.0)
    who = contextvars.ContextVar("who", default="nobody")
    who.set("user:7")

    name, left, thread = breaker.execute(
        lambda: (who.get(), remaining(), threading.current_thread().name)
    )

    assert name == "user:7"
    assert 4 < left <= 5
    assert thread == f"breaker-{breaker.name}"


@pytest.mark.parametrize("way", WAYS)
def test_an_isolated_calls_own_timeout_error_stays_what_it_is(way):
    breaker = make_isolated(timeout=5.0)

    def time_out():
        raise TimeoutError("by the client")

    with pytest.raises(TimeoutError, match="by the client") as raised:
        way(breaker, time_out)

    assert not isinstance(raised.value, CallTimeoutError)


def test_an_isolated_call_cancelled_by_its_task_frees_its_thread():
    breaker = make_isolated(timeout=None, max_concurrent=1)
    go = threading.Event()

    async def story():
        task = asyncio.create_task(breaker.aexecute(go.wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    go.set()
    wait_free(breaker)

    assert breaker.execute(fine) == "fine"


def test_a_thread_the_system_does_not_give_costs_no_place():
    breaker = make_isolated(max_concurrent=1, timeout=5.0, failure_threshold=9)
    before = threading.stack_size(1 << 46)  # no address space has room for that
    try:
        with pytest.raises(RuntimeError):
            breaker.execute(fine)
    finally:
        threading.stack_size(before)

    assert breaker._pool.taken == 0
    assert breaker.execute(fine) == "fine"


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


# -- Decorator -----------------------------------------------------------------------
def plain(first: int, *, second: str = "x") -> str:
    """Say what was given."""
    return f"{first}{second}"


async def coroutine(first: int, *, second: str = "x") -> str:
    """Say what was given."""
    return f"{first}{second}"


def generator(first: int, *, second: str = "x"):
    """Say what was given."""
    yield f"{first}{second}"


async def agenerator(first: int, *, second: str = "x"):
    """Say what was given."""
    yield f"{first}{second}"


KINDS = {
    plain: (lambda found: found, inspect.isfunction),
    coroutine: (asyncio.run, inspect.iscoroutinefunction),
    generator: (next, inspect.isgeneratorfunction),
    agenerator: (
        lambda found: asyncio.run(anext_of(found)),
        inspect.isasyncgenfunction,
    ),
}


async def anext_of(stream):
    return await anext(stream)


@pytest.mark.parametrize("fn", KINDS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_decorated_function_stays_what_it_is(fn, timeout):
    get, is_kind = KINDS[fn]
    guarded = make_breaker(timeout=timeout)(fn)

    assert get(guarded(1, second="y")) == "1y"
    assert is_kind(guarded)
    assert inspect.signature(guarded) == inspect.signature(fn)
    assert guarded.__wrapped__ is fn
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        assert getattr(guarded, name) == getattr(fn, name)


@pytest.mark.parametrize("fn", KINDS, ids=lambda fn: fn.__name__)
def test_a_decorated_function_is_refused_while_open(fn):
    get, _ = KINDS[fn]
    breaker = make_breaker()
    guarded = breaker(fn)
    trip(breaker)

    with pytest.raises(CircuitOpenError):
        get(guarded(1))


def test_a_decorated_method_gets_its_object():
    breaker = make_breaker()

    class Client:
        name = "client"

        @breaker
        def ask(self, word):
            return self.name + word

    assert Client().ask("!") == "client!"


def test_decorated_functions_of_one_breaker_share_its_state():
    breaker = make_breaker()
    fail, other = breaker(boom), breaker(fine)

    for _ in range(3):
        with pytest.raises(ConnectionError):
            fail()

    with pytest.raises(CircuitOpenError):
        other()


def test_a_decorated_generator_takes_what_is_sent_and_returns_its_value():
    @make_breaker()
    def echo():
        got = yield "ready"
        return got

    stream = echo()

    assert next(stream) == "ready"
    with pytest.raises(StopIteration) as ended:
        stream.send("sent")
    assert ended.value.value == "sent"


def test_a_closed_async_stream_has_ended_when_aclose_returns():
    ended = []

    @make_breaker()
    async def stream():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    async def story():
        found = stream()
        await anext(found)
        await found.aclose()
        return list(ended)

    assert asyncio.run(story()) == [1]


@pytest.mark.parametrize("fallback", ["items", "aitems", "listed"])
def test_a_refused_async_stream_is_read_from_the_fallback(fallback):
    def items():
        yield from "ab"

    async def aitems():
        for item in "ab":
            yield item

    async def listed():
        return ["a", "b"]

    breaker = make_breaker(fallback=locals()[fallback])
    breaker.override("forced_open")

    async def read():
        return [item async for item in breaker(agenerator)(1)]

    assert asyncio.run(read()) == ["a", "b"]


def test_a_refused_stream_is_read_from_the_fallback():
    breaker = make_breaker(fallback=lambda: iter("ab"))
    for _ in range(3):
        breaker.execute(boom)

    assert list(breaker(generator)(1)) == ["a", "b"]


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


def test_a_decorated_function_does_what_execute_does_word_for_word():
    tree = ast.parse(inspect.getsource(guard))
    functions = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    }
    _docstring, *execute = functions["execute"].body
    decorated = next(
        node
        for node in ast.walk(functions["_guard_sync"])
        if isinstance(node, ast.FunctionDef) and node.name == "guarded"
    )

    assert [*map(ast.dump, execute)] == [*map(ast.dump, decorated.body)]
