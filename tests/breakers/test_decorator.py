"""Decorated functions, coroutines and streams."""

import ast
import asyncio
import inspect

import pytest

from breakers import (
    CircuitOpenError,
    guard,
)
from tests.breakers.guards import (
    boom,
    fine,
    make_breaker,
    trip,
)

pytestmark = pytest.mark.usefixtures("_alone")


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
