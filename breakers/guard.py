"""The guard around a call: sync, async, generators, limits, fallback. Pure.

While CLOSED without a limit a call costs one test, the call, and one step of a C-level
counter: no lock, no clock. The spelling of :meth:`CircuitBreaker.execute` is measured;
see ``bench/breakers.py``.
"""

import asyncio
import inspect
import math
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import aclosing
from functools import partial, wraps
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar

from breakers.deadline import DEADLINE
from breakers.errors import CallRefusedError, CallTimeoutError, CircuitOpenError
from breakers.kinds import kind_of
from breakers.pool import Pool
from breakers.verdicts import Verdicts, blame, settle

Function = TypeVar("Function", bound=Callable[..., Any])
# Bound once: of an imported name CPython 3.11 looks a method up as an attribute, which
# makes a call with a limit cost 5 bare calls more.
_get_deadline, _set_deadline, _reset_deadline = (
    DEADLINE.get,
    DEADLINE.set,
    DEADLINE.reset,
)
_LAZY = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


class CircuitBreaker(Verdicts):
    """Guard calls of one dependency.

    Args:
        name: 1 to 40 of ``a-z 0-9 _ . -``; what shares a name shares a state in a fleet.
        redis_url: share the state with every process that names the breaker there.
        **options: the fields of :class:`breakers.options.Options`.

    Raises:
        OptionError: names the option that makes no sense.
    """

    # -- Calls ---------------------------------------------------------------------
    def execute(  # noqa: C901 - one function, because each call in it costs 3 bare ones
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call ``fn(*args, **kwargs)`` and return what it returns.

        A coroutine or generator it returns is guarded while it is awaited or read.

        Raises:
            CircuitOpenError: the circuit is open and there is no fallback.
            BulkheadFullError: every thread of ``isolation="thread"`` is taken.
            CallTimeoutError: the isolated call did not end in time.
        """
        tick = self._tick
        if tick is not None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                if self._failed(tick, error):
                    return self._fall_back(error)
                raise
            if type(result) in _LAZY:
                return self._follow(result)
            tick()
            return result
        tick = self._timed
        if tick is None:
            until = self._until
            if until <= (now := self._clock()):
                return self._gate(fn, args, kwargs)
            self._reject()
            answer = self._answer
            if answer is None:
                # In no variable: its traceback would make a cycle of each refusal.
                if self._fallback is None:
                    raise CircuitOpenError(self.name, until - now)
                return self._refused(CircuitOpenError(self.name, until - now))
            try:
                return answer()
            except Exception as error:
                blame(error, CircuitOpenError(self.name, until - now))
                raise
        # With a limit: hand the deadline down, and look at the clock after. Two looks
        # cost 3.7 bare calls, the contextvar 4.
        clock = self._clock
        end = clock() + self._limit
        if _get_deadline() < end:
            return self._gate(fn, args, kwargs)
        token = _set_deadline(end)
        try:
            try:
                result = fn(*args, **kwargs)
            finally:  # first of all: the fallback has the caller's time, not what is left
                _reset_deadline(token)
        except BaseException as error:
            if self._failed(tick, error):
                return self._fall_back(error)
            raise
        if type(result) in _LAZY:
            return self._follow(result)
        if clock() > end:
            self._tell(self.circuit.failed(tick, "late", timeout=True))
        else:
            tick()
        return result

    def _gate(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call in any state but plainly CLOSED."""
        permit = self._closed
        if permit is None:
            if not self.circuit.armed:
                self._arm()
                return self.execute(fn, *args, **kwargs)
            try:
                permit = self._admit()
            except CircuitOpenError as refusal:
                if self._fallback is None:
                    raise
                return self._refused(refusal)
        run = self._run
        if self._durations.asked and self._claims(permit):
            run = self._measured
        started = self._clock()
        try:
            result = run(fn, args, kwargs)
        except BaseException as error:
            if self._failed(permit, error):
                return self._fall_back(error)
            raise
        if type(result) in _LAZY:
            self.circuit.release(permit)
            return self._follow(result)
        self._succeeded(permit, result, self._clock() - started)
        return result

    def _run(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call under the limit there is."""
        if self._free:  # as on the fast way: a measured call is like any other
            return fn(*args, **kwargs)
        now = self._clock()
        end = min(_get_deadline(), now + self._limit)
        if end <= now:
            raise CallRefusedError(self.name, None, "no time is left")
        token = _set_deadline(end)
        try:
            if self.options.isolation is None:
                return fn(*args, **kwargs)
            return self._isolated(partial(fn, *args, **kwargs), end - now)
        finally:
            _reset_deadline(token)

    def _isolated(self, call: Callable[[], Any], seconds: float) -> Any:
        """Call on a thread of the pool and leave it there at the deadline."""
        if self._pool is None:
            self._pool = Pool(self.name, self.options.max_concurrent)
        future = self._pool.submit(call)
        try:
            return future.result(None if seconds == math.inf else seconds)
        except FutureTimeoutError:
            if future.done():  # the call's own TimeoutError, or it ended just now
                return future.result()
            raise CallTimeoutError(self.name, seconds) from None
        finally:
            del future  # its error's traceback holds this frame: a cycle

    # -- Measured calls ------------------------------------------------------------
    def _measured(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        started = self._clock()
        try:
            result = self._run(fn, args, kwargs)
        except Exception as error:
            self._note(started, error)
            raise
        self._note(started, result)
        return result

    async def _ameasured(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        started = self._clock()
        try:
            result = await self._arun(fn, args, kwargs)
        except Exception as error:
            self._note(started, error)
            raise
        self._note(started, result)
        return result

    def _note(self, started: float, outcome: object) -> None:
        """Note how long a call took; not if it never left, nor of a stream."""
        if type(outcome) is CoroutineType:
            self._measure_next()  # it begins when it is awaited
        elif type(outcome) not in _LAZY and not (
            isinstance(outcome, Exception) and kind_of(outcome).local
        ):
            self._durations.note(self._clock() - started)

    # -- Async ---------------------------------------------------------------------
    async def aexecute(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call ``fn(*args, **kwargs)``, await what it returns, return that.

        Raises:
            CircuitOpenError: the circuit is open and there is no fallback.
            CallTimeoutError: it did not end within ``timeout``.
        """
        tick = self._tick
        if tick is None:
            until = self._until
            if until > 0.0 and until > self._clock():
                self._reject()
                left = until - self._clock()
                if self._fallback is None:
                    raise CircuitOpenError(self.name, left)
                return await self._arefused(CircuitOpenError(self.name, left))
            return await self._agate(fn, args, kwargs)
        try:
            result = fn(*args, **kwargs)
            if type(result) is CoroutineType or hasattr(result, "__await__"):
                result = await result
        except BaseException as error:
            if self._failed(tick, error):
                return await settle(self._fall_back(error))
            raise
        if type(result) in _LAZY:
            return self._follow(result)
        tick()
        return result

    async def _agate(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        permit = self._closed
        if permit is None:
            try:
                permit = self._admit()
            except CircuitOpenError as refusal:
                if self._fallback is None:
                    raise
                return await self._arefused(refusal)
        run = self._arun
        if self._durations.asked and self._claims(permit):
            run = self._ameasured
        started = self._clock()
        try:
            result = await run(fn, args, kwargs)
        except BaseException as error:
            if self._failed(permit, error):
                return await settle(self._fall_back(error))
            raise
        if type(result) in _LAZY:
            self.circuit.release(permit)
            return self._follow(result)
        self._succeeded(permit, result, self._clock() - started)
        return result

    async def _arun(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._free:
            return await settle(fn(*args, **kwargs))
        now = self._clock()
        end = min(_get_deadline(), now + self._limit)
        if end <= now:
            raise CallRefusedError(self.name, None, "no time is left")
        token = _set_deadline(end)
        limit = asyncio.timeout(None if end == math.inf else end - now)
        try:
            async with limit:
                if self.options.isolation is not None:
                    return await settle(await self._aisolated(fn, args, kwargs))
                return await settle(fn(*args, **kwargs))
        except TimeoutError:
            if limit.expired():
                raise CallTimeoutError(self.name, end - now) from None
            raise
        finally:
            _reset_deadline(token)

    async def _aisolated(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._pool is None:
            self._pool = Pool(self.name, self.options.max_concurrent)
        call = partial(fn, *args, **kwargs)
        return await asyncio.wrap_future(self._pool.submit(call))

    # -- Coroutines and streams ----------------------------------------------------
    def _follow(self, result: Any) -> Any:
        """Guard what a call returned to be run later."""
        if type(result) is CoroutineType:
            return self._await(result)
        if type(result) is GeneratorType:
            return self._stream(result)
        return self._astream(result)

    async def _await(self, coroutine: Any) -> Any:
        try:
            return await self.aexecute(lambda: coroutine)
        finally:
            coroutine.close()

    def _stream(self, generator: Any) -> Generator[Any, Any, Any]:
        """Read a generator to its end; given up half-way it says nothing."""
        try:
            permit = self._admit()
        except CircuitOpenError as refusal:
            generator.close()
            if self._fallback is None:
                raise
            return (yield from self._refused(refusal))
        try:
            result = yield from generator
        except BaseException as error:
            self._failed(permit, error)
            raise
        self._tell(self.circuit.succeeded(permit))
        return result

    async def _astream(self, generator: Any) -> AsyncGenerator[Any, None]:
        try:
            permit = self._admit()
        except CircuitOpenError as refusal:
            await generator.aclose()
            if self._fallback is None:
                raise
            instead = await self._arefused(refusal)
            if not hasattr(instead, "__aiter__"):
                instead = _aiter(instead)
            async for item in instead:
                yield item
            return
        try:
            async for item in generator:
                yield item
        except BaseException as error:
            self._failed(permit, error)
            raise
        finally:
            await generator.aclose()
        self._tell(self.circuit.succeeded(permit))

    # -- Decorator -----------------------------------------------------------------
    def __call__(self, fn: Function) -> Function:
        """Decorate a function, coroutine function, generator or async generator."""
        if inspect.isasyncgenfunction(fn):
            guarded = self._guard_astream(fn)
        elif inspect.isgeneratorfunction(fn):
            guarded = self._guard_stream(fn)
        elif inspect.iscoroutinefunction(fn):
            guarded = self._guard_async(fn)
        else:
            guarded = self._guard_sync(fn)
        return wraps(fn)(guarded)  # type: ignore[return-value]

    def _guard_astream(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            # Closed with its caller, not a turn of the loop later by the collector.
            async with aclosing(self._astream(fn(*args, **kwargs))) as stream:
                async for item in stream:
                    yield item

        return guarded

    def _guard_stream(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from self._stream(fn(*args, **kwargs)))

        return guarded

    def _guard_async(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            return await self.aexecute(fn, *args, **kwargs)

        return guarded

    def _guard_sync(  # noqa: C901 - the function inside
        self, fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        # execute() once more, word for word: through it a refusal costs 31 bare calls
        # instead of 20, a fallback 14 instead of 8, a call with a limit 26 instead of 18.
        def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: C901
            tick = self._tick
            if tick is not None:
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    if self._failed(tick, error):
                        return self._fall_back(error)
                    raise
                if type(result) in _LAZY:
                    return self._follow(result)
                tick()
                return result
            tick = self._timed
            if tick is None:
                until = self._until
                if until <= (now := self._clock()):
                    return self._gate(fn, args, kwargs)
                self._reject()
                answer = self._answer
                if answer is None:
                    # In no variable: its traceback would make a cycle of each refusal.
                    if self._fallback is None:
                        raise CircuitOpenError(self.name, until - now)
                    return self._refused(CircuitOpenError(self.name, until - now))
                try:
                    return answer()
                except Exception as error:
                    blame(error, CircuitOpenError(self.name, until - now))
                    raise
            # With a limit: hand the deadline down, and look at the clock after. Two looks
            # cost 3.7 bare calls, the contextvar 4.
            clock = self._clock
            end = clock() + self._limit
            if _get_deadline() < end:
                return self._gate(fn, args, kwargs)
            token = _set_deadline(end)
            try:
                try:
                    result = fn(*args, **kwargs)
                finally:  # first of all: the fallback has the caller's time, not what is left
                    _reset_deadline(token)
            except BaseException as error:
                if self._failed(tick, error):
                    return self._fall_back(error)
                raise
            if type(result) in _LAZY:
                return self._follow(result)
            if clock() > end:
                self._tell(self.circuit.failed(tick, "late", timeout=True))
            else:
                tick()
            return result

        return guarded


async def _aiter(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item
