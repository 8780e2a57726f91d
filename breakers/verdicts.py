"""What came of a call, who hears of it, and what answers in its place. Pure.

The part of a guard that knows the circuit; how a call is made is in ``guard``.
"""

import inspect
import itertools
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from breakers.circuit import Circuit
from breakers.durations import Durations
from breakers.errors import CircuitOpenError
from breakers.kinds import KINDS, Kind, learn
from breakers.listeners import logger, notify
from breakers.options import check_name, make_options
from breakers.permits import PASS, Permit, Refusal, Tick
from breakers.pool import Pool
from breakers.pulse import pulse
from breakers.states import CircuitState, Override, Row, Transition
from breakers.throttling import read_retry_after, read_status


class Verdicts:
    """The circuit of one breaker, and the verdicts on its calls."""

    def __init__(
        self, name: str, *, redis_url: str | None = None, **options: Any
    ) -> None:
        self.name = check_name(name)
        self.options = make_options(options)
        self.redis_url = redis_url
        self._clock = time.monotonic
        self._tick: Tick | None = None  # CLOSED, nothing but counting to do
        self._timed: Tick | None = None  # CLOSED, and a limit to keep
        self._closed: Permit | None = None  # CLOSED, whatever there is to do
        self._until = -1.0  # refuse without asking the circuit
        self._plain = self._is_plain()
        self._free = self._plain and self.options.timeout is None
        self._durations = Durations()
        self._limit = self.options.timeout or math.inf
        self._reject = itertools.count().__next__
        self._fall = itertools.count().__next__
        self._rejects = self._falls = 0
        self._reading = threading.Lock()
        self._pool: Pool | None = None
        self._judges = self.options.is_failure is not None
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
        plain = tick if self._plain and not self._durations.asked else None
        timed = self.options.timeout is not None
        self._tick, self._timed = (None, plain) if timed else (plain, None)
        self._closed = tick
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

    def durations(self) -> list[float]:
        """Return the seconds that measured calls took, each once."""
        return self._durations.take()

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
        """Do what is due each second: note totals, measure a call, end an override."""
        self.circuit.sample()
        self._measure_next()
        notify(self.circuit.tend())

    def forked(self) -> None:
        """Begin anew in a child: the next call takes the gate and starts threads."""
        self._pool = None
        self._reading = threading.Lock()
        self._durations = Durations()
        self.circuit.forked()

    # -- The gate ------------------------------------------------------------------
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

    # -- Durations -----------------------------------------------------------------
    def _measure_next(self) -> None:
        """Take the fast way away until a call has claimed to be the measured one."""
        self._durations.asked = True
        self.circuit.show_gate()

    def _claims(self, permit: Permit) -> bool:
        """Tell whether a call is the measured one; the others have the fast way again.

        Of calls that take the gate anyway no more are measured than of those that do
        not: trials and slow services would weigh more than they are.
        """
        if permit is PASS or not self._durations.claim():
            return False
        self.circuit.show_gate()
        return True

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
        kind = KINDS.get(type(error)) or learn(type(error))
        if kind.local:
            self.circuit.give_back(permit)
            return self._fallback is not None
        if self._judges and not self._asks_failure(error):
            self.circuit.give_back(permit)
            return False
        # Most errors carry no status, and looking for one costs 1 us.
        if self._reads_status and not kind.speaks and not error.__dict__:
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
            blame(error, refusal)
            raise

    async def _arefused(self, refusal: CircuitOpenError) -> Any:
        """Answer a call that is not made by a fallback that may have to be awaited."""
        try:
            return await settle(self._refused(refusal))
        except Exception as error:
            blame(error, refusal)
            raise

    def _fall_back(self, error: BaseException) -> Any:
        """Answer a call that failed; called while its error is being handled."""
        self._fall()
        assert self._fallback is not None  # noqa: S101 - for the type checker
        return self._fallback(error) if self._fallback_asks else self._fallback()


async def settle(result: Any) -> Any:
    """Await what can be awaited."""
    return await result if hasattr(result, "__await__") else result


def blame(error: Exception, refusal: CircuitOpenError) -> None:
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
