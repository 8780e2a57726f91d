"""What stays in memory of calls that were refused or failed."""

import asyncio
import gc
import tracemalloc
import weakref
from contextlib import suppress

import pytest

from breakers import CircuitOpenError, CircuitState
from tests.breakers.guards import (
    boom,
    fine,
    make_breaker,
    trip,
)
from tests.server import wait_for

pytestmark = pytest.mark.usefixtures("_alone")


def refuse(breaker, times):
    for _ in range(times):
        with suppress(CircuitOpenError):
            breaker.execute(fine)


def refuse_async(breaker, times):
    async def story():
        for _ in range(times):
            with suppress(CircuitOpenError):
                await breaker.aexecute(fine)

    asyncio.run(story())


@pytest.mark.parametrize("refuse", [refuse, refuse_async])
@pytest.mark.parametrize("opened", ["tripped", "forced"])
@pytest.mark.parametrize("fallback", [None, fine, str])
def test_refusals_keep_nothing_not_even_for_the_collector(refuse, opened, fallback):
    breaker = make_breaker(fallback=fallback)
    if opened == "tripped":
        while breaker.state is CircuitState.CLOSED:
            with suppress(ConnectionError):
                breaker.execute(boom)
    else:
        breaker.override("forced_open")
    refuse(breaker, 100)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        refuse(breaker, 500)
        after = len(gc.get_objects())
    finally:
        gc.enable()

    assert after - before < 100


def test_fifty_thousand_refusals_keep_nothing():
    breaker = make_breaker()
    trip(breaker)
    refuse(breaker, 1_000)
    ours = [tracemalloc.Filter(inclusive=True, filename_pattern="*/breakers/*.py")]
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot().filter_traces(ours)
        refuse(breaker, 50_000)
        after = tracemalloc.take_snapshot().filter_traces(ours)
    finally:
        tracemalloc.stop()

    grown = sum(one.size_diff for one in after.compare_to(before, "filename"))
    assert grown < 2_000
    assert breaker.counts()["rejected"] == 51_000


class Luggage:
    """Something in the frame that failed."""


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": None},
        {"timeout": 5.0},
        {"isolation": "thread"},
        {"is_failure": lambda outcome: True},
    ],
    ids=["no limit", "limit", "isolated", "judged"],
)
def test_the_frame_that_failed_is_not_kept_alive(options):
    breaker = make_breaker(**options)
    kept = []

    def fail():
        luggage = Luggage()
        kept.append(weakref.ref(luggage))
        raise ConnectionError("down")

    gc.disable()  # a cycle that only the collector frees counts as kept
    try:
        for _ in range(2):
            with suppress(ConnectionError):
                breaker.execute(fail)
        # The thread that raised lets go of it a moment after the caller.
        wait_for(lambda: [ref() for ref in kept] == [None, None], 2, "the frames to go")
    finally:
        gc.enable()


def test_a_coroutine_that_failed_is_not_kept_alive():
    breaker = make_breaker()
    kept = []

    async def fail():
        luggage = Luggage()
        kept.append(weakref.ref(luggage))
        raise ConnectionError("down")

    async def story():
        with suppress(ConnectionError):
            await breaker.aexecute(fail)
        return kept[0]()

    gc.disable()
    try:
        assert asyncio.run(story()) is None
    finally:
        gc.enable()
