"""The guard around a call: sync, async, generators, limits, fallback. Pure.

While CLOSED without a limit a call costs one test, the call, and one step of a C-level
counter: no lock, no clock. The spelling of :meth:`CircuitBreaker.execute` is measured;
see ``bench/breakers.py``.
"""

import asyncio
import inspect
import itertools
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import aclosing
from functools import partial, wraps
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar

from breakers.circuit import (
    PASS,
    Circuit,
    CircuitState,
    Override,
    Permit,
    Refusal,
    Row,
    Tick,
    Transition,
)
from breakers.deadline import DEADLINE
from breakers.errors import CallRefusedError, CallTimeoutError, CircuitOpenError
from breakers.kinds import Kind, kind_of, says_nothing
from breakers.listeners import logger, notify
from breakers.options import check_name, make_options
from breakers.pool import Pool
from breakers.pulse import pulse
from breakers.throttling import read_retry_after, read_status

Function = TypeVar("Function", bound=Callable[..., Any])
# Bound once: of an imported name CPython 3.11 looks a method up as an attribute, which
# makes a call with a limit cost 5 bare calls more.
_get_deadline, _set_deadline, _reset_deadline = (
    DEADLINE.get,
    DEADLINE.set,
    DEADLINE.reset,
)
_LAZY = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


class CircuitBreaker:
    """Guard calls of one dependency.

    Args:
        name: 1 to 40 of ``a-z 0-9 _ . -``; what shares a name shares a state in a fleet.
        redis_url: share the state with every process that names the breaker there.
        **options: the fields of :class:`breakers.options.Options`.

    Raises:
        OptionError: names the option that makes no sense.
    """

    def __init__(
        self, name: str, *, redis_url: str | None = None, **options: Any
    ) -> None:
        self.name = check_name(name)
        self.options = make_options(options)
        self.redis_url = redis_url
        self._clock = time.monotonic
        self._tick: Tick | None = None  # CLOSED, nothing but counting to do
        self._timed: Tick | None = None  # CLOSED, and a limit to keep
        self._until = -1.0  # refuse without asking the circuit
        self._plain = self._is_plain()
        self._limit = self.options.timeout or math.inf
        self._reject = itertools.count().__next__
        self._fall = itertools.count().__next__
        self._rejects = self._falls = 0
        self._reading = threading.Lock()
        self._pool: Pool | None = None
        self._reads_status = self.options.retry_after is read_retry_after
        self._fallback = self.options.fallback
        self._fallback_asks = _takes_one(self._fallback)
        self._answer = None if self._fallback_asks else self._fallback
        self.circuit = Circuit(
            name, self.options, clock=self._clock, show=self._take_gate
        )
        self.circuit.refresh()
        pulse.watch(self)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name} {self.state}>"

    def _is_plain(self) -> bool:
        options = self.options
        return (
            options.is_failure is None
            and options.slow_call_duration is None
            and options.isolation is None
        )

    def _take_gate(self, tick: Tick | None, until: float) -> None:
        plain = tick if self._plain else None
        timed = self.options.timeout is not None
        self._tick, self._timed = (None, plain) if timed else (plain, None)
        self._until = until

    # -- What is seen and said -----------------------------------------------------
    @property
    def state(self) -> CircuitState:
        """Return the state, or the override while there is one."""
        return self.circuit.shown

    def counts(self) -> dict[str, int]:
        """Return calls since the process began, by outcome."""
        with self._reading:
            rejected = self._reject() - self._rejects
            self._rejects += 1
            fallen = self._fall() - self._falls
            self._falls += 1
        if self._fallback is not None:
            fallen += rejected
        return {**self.circuit.totals(), "rejected": rejected, "fallback": fallen}

    def override(
        self,
        mode: str,
        *,
        reason: str = "",
        by: str = "",
        seconds: float | None = None,
    ) -> None:
        """Hold the breaker ``forced_open``, ``disabled`` or ``metrics_only``.

        ``auto`` or an empty mode ends it. It ends by itself after ``seconds``.

        Raises:
            ValueError: there is no such mode, or the end lies in the past.
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"seconds must be above 0, not {seconds!r:.40}")
        chosen = Override("" if mode == "auto" else mode)
        end = math.inf if seconds is None else seconds
        notify(self.circuit.set_override(chosen, reason, by, end))
        pulse.changed(self)

    def reset(self, reason: str = "reset") -> None:
        """Close the circuit, whatever it learned."""
        notify(self.circuit.reset(reason))
        pulse.changed(self)

    def adopt(self, row: Row) -> None:
        """Take over what the fleet agreed on, if it is newer."""
        notify(self.circuit.adopt(row))

    def tend(self) -> None:
        """Do what is due each second: note totals, end an override."""
        self.circuit.sample()
        notify(self.circuit.tend())

    def forked(self) -> None:
        """Begin anew in a child: the next call takes the gate and starts threads."""
        self._pool = None
        self._reading = threading.Lock()
        self.circuit.forked()

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
                _blame(error, CircuitOpenError(self.name, until - now))
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
        if not self.circuit.armed:
            self._arm()
            return self.execute(fn, *args, **kwargs)
        try:
            permit = self._admit()
        except CircuitOpenError as refusal:
            if self._fallback is None:
                raise
            return self._refused(refusal)
        started = self._clock()
        try:
            result = self._run(fn, args, kwargs)
        except BaseException as error:
            if self._failed(permit, error):
                return self._fall_back(error)
            raise
        if type(result) in _LAZY:
            self.circuit.release(permit)
            return self._follow(result)
        self._succeeded(permit, result, self._clock() - started)
        return result

    def _arm(self) -> None:
        pulse.join(self)
        self.circuit.arm()

    def _tell(self, transition: Transition | None) -> None:
        """Tell listeners first, then the fleet: an audit must come before its effect."""
        if transition is None:
            return
        notify(transition)
        if not transition.adopted:
            pulse.changed(self)

    def _admit(self) -> Permit:
        """Return a permit.

        Raises:
            CircuitOpenError: there is none to be had.
        """
        if not self.circuit.armed:
            self._arm()
        permit, moved = self.circuit.admit()
        self._tell(moved)
        if isinstance(permit, Refusal):
            self._reject()
            raise CircuitOpenError(self.name, permit.retry_after, permit.reason)
        return permit

    def _run(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call under the limit there is."""
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

    # -- Verdicts ------------------------------------------------------------------
    def _succeeded(self, permit: Permit, result: object, seconds: float) -> None:
        options = self.options
        if seconds > self._limit:
            moved = self.circuit.failed(permit, "late", timeout=True)
        elif options.is_failure is not None and self._asks_failure(result):
            moved = self.circuit.failed(permit, "result")
        else:
            slow = options.slow_call_duration
            moved = self.circuit.succeeded(
                permit, slow=slow is not None and seconds > slow
            )
        self._tell(moved)

    def _failed(self, permit: Permit, error: BaseException) -> bool:
        """Judge an error; tell whether the fallback may answer for it."""
        if permit is PASS:
            return False
        if not isinstance(error, Exception):
            self.circuit.give_back(permit)  # cancelled, or the process ends
            return False
        kind = kind_of(error)
        if kind.local:
            self.circuit.give_back(permit)
            return self._fallback is not None
        if self.options.is_failure is not None and not self._asks_failure(error):
            self.circuit.give_back(permit)
            return False
        if self._reads_status and says_nothing(error, kind):
            moved = self.circuit.failed(permit, kind.name, timeout=kind.late)
        else:
            moved = self._judge_status(permit, error, kind)
        if moved is not None:
            self._tell(moved)
        return self._fallback is not None

    def _judge_status(
        self, permit: Permit, error: Exception, kind: Kind
    ) -> Transition | None:
        """Judge an error that may say "later"; named without its message."""
        status = read_status(error)
        label = f"{kind.name} {status}" if status else kind.name
        seconds = self._throttled_for(error)
        if seconds is not None:
            return self.circuit.throttled(permit, label, seconds)
        return self.circuit.failed(permit, label, timeout=kind.late)

    def _asks_failure(self, outcome: object) -> bool:
        """Ask the predicate; one that raises is logged and believes the outcome."""
        assert self.options.is_failure is not None  # noqa: S101 - for the type checker
        try:
            return bool(self.options.is_failure(outcome))
        except Exception:  # noqa: BLE001 - it is logged; the call goes on
            logger.exception("is_failure of breaker %s raised", self.name)
            return isinstance(outcome, Exception)

    def _throttled_for(self, error: Exception) -> float | None:
        try:
            seconds = self.options.retry_after(error)
            return None if seconds is None else max(0.0, float(seconds))
        except Exception:  # noqa: BLE001 - it is logged; the call goes on
            logger.exception("retry_after of breaker %s raised", self.name)
            return None

    # -- Fallback ------------------------------------------------------------------
    def _refused(self, refusal: CircuitOpenError) -> Any:
        """Answer a call that is not made; an error of the fallback shows both."""
        fallback = self._fallback
        assert fallback is not None  # noqa: S101 - for the type checker
        try:
            return fallback(refusal) if self._fallback_asks else fallback()
        except Exception as error:
            _blame(error, refusal)
            raise

    async def _arefused(self, refusal: CircuitOpenError) -> Any:
        """Answer a call that is not made by a fallback that may have to be awaited."""
        try:
            return await _settle(self._refused(refusal))
        except Exception as error:
            _blame(error, refusal)
            raise

    def _fall_back(self, error: BaseException) -> Any:
        """Answer a call that failed; called while its error is being handled."""
        self._fall()
        assert self._fallback is not None  # noqa: S101 - for the type checker
        return self._fallback(error) if self._fallback_asks else self._fallback()

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
                return await _settle(self._fall_back(error))
            raise
        if type(result) in _LAZY:
            return self._follow(result)
        tick()
        return result

    async def _agate(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            permit = self._admit()
        except CircuitOpenError as refusal:
            if self._fallback is None:
                raise
            return await self._arefused(refusal)
        started = self._clock()
        try:
            result = await self._arun(fn, args, kwargs)
        except BaseException as error:
            if self._failed(permit, error):
                return await _settle(self._fall_back(error))
            raise
        if type(result) in _LAZY:
            self.circuit.release(permit)
            return self._follow(result)
        self._succeeded(permit, result, self._clock() - started)
        return result

    async def _arun(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        now = self._clock()
        end = min(_get_deadline(), now + self._limit)
        if end <= now:
            raise CallRefusedError(self.name, None, "no time is left")
        token = _set_deadline(end)
        limit = asyncio.timeout(None if end == math.inf else end - now)
        try:
            async with limit:
                if self.options.isolation is not None:
                    return await _settle(await self._aisolated(fn, args, kwargs))
                return await _settle(fn(*args, **kwargs))
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

    def _guard_sync(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        # The fast way once more: through execute() it costs another 3 bare calls.
        def guarded(*args: Any, **kwargs: Any) -> Any:
            tick = self._tick
            if tick is None:
                return self.execute(fn, *args, **kwargs)
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

        return guarded


async def _settle(result: Any) -> Any:
    """Await what can be awaited."""
    return await result if hasattr(result, "__await__") else result


async def _aiter(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


def _blame(error: Exception, refusal: CircuitOpenError) -> None:
    """Show the refusal with an error of the fallback, unless that says its own cause."""
    if error is not refusal and error.__cause__ is None:
        error.__cause__ = refusal


def _takes_one(function: Callable[..., Any] | None) -> bool:
    """Tell whether a fallback accepts the error."""
    # list(error) and dict(error) are not what anybody means by fallback=list.
    if function is None or getattr(function, "__module__", "") == "builtins":
        return False
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        return False
    return True
