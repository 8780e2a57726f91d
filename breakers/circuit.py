"""The states, rules and trials of one breaker, complete alone. Pure: clock passed in.

A success while CLOSED never comes here: it is one step of the generation's counter, one
C call that is window, metrics and reset of the run at once. Failures read the counter
under the lock by stepping it, and subtract how often they did. A counter is replaced on
transitions only, so a late result steps an abandoned one and changes nothing.
"""

import itertools
import math
import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from breakers.options import Options
from breakers.permits import PASS, Permit, Refusal, Tick, Trial
from breakers.states import ENDED, CircuitState, Override, Row, Transition
from breakers.window import Window

# Open time doubles with each trial that fails, up to so many times the first.
MOST_GROWTH = 10.0
JITTER = 0.1


class Circuit:
    """One breaker's state. Every method is safe to call from any thread."""

    def __init__(
        self,
        name: str,
        options: Options,
        *,
        clock: Callable[[], float],
        show: Callable[[Tick | None, float], None] = lambda tick, until: None,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Begin CLOSED; ``show`` learns the gate's values whenever they change."""
        self.name, self.options = name, options
        self._clock, self._show, self._spread = clock, show, spread
        # Says whether this process may hold the fleet's trial of a version.
        self.may_try: Callable[[int], bool] = lambda version: True
        # Called when a trial ends without a verdict.
        self.let_go: Callable[[], None] = lambda: None
        self.armed = False
        self.state = CircuitState.CLOSED
        self.version = self.opens = self.trips = 0
        self.reason = self.last_error = ""
        self.opened_at = self.open_until = 0.0
        self.override = Override.NONE
        self.override_reason = self.override_by = ""
        self.override_until = math.inf
        self._n_failures = self._n_timeouts = self._n_throttled = self._n_ignored = 0
        self._past = 0
        self.successes = 0  # of trials in a row
        self._needed = options.success_threshold
        self.trial: Trial | None = None
        rate = options.failure_rate_threshold
        # Below both no rule can trip.
        self._run_limit = options.failure_threshold
        self._few = math.inf if rate is None else options.minimum_calls * rate
        self._lock = threading.Lock()
        self._begin(clock())

    # -- Generations ---------------------------------------------------------------
    def _begin(self, now: float) -> None:
        """Begin a generation: a fresh counter fences out whatever is still running."""
        if hasattr(self, "_tick"):
            self._past += self._read()
        self._tick: Tick = itertools.count().__next__
        self._reads = 0
        self._run, self._last, self._run_timeouts = 0, -1, 0
        self.first_error = ""
        self._window = Window(self.options, now)

    def _read(self) -> int:
        """Return the successes of this generation; reading steps the counter too."""
        value = self._tick() - self._reads
        self._reads += 1
        return value

    def forked(self) -> None:
        """Stand as in the parent, with a lock of its own and nobody on trial."""
        self._lock = threading.Lock()
        self.trial = None
        self.armed = False
        self.refresh()

    def arm(self) -> None:
        """Let calls take the fast way from now on."""
        with self._lock:
            self.armed = True
            self.refresh()

    def show_gate(self) -> None:
        """Show the gate its values again: it wants to do something else with them."""
        with self._lock:
            self.refresh()

    def refresh(self) -> None:
        """Show the gate what it needs; the caller holds the lock."""
        tick = None
        until = -1.0
        if not self.armed:
            pass  # who is refused must take the gate as well: the first call arms
        elif self.override is Override.FORCED_OPEN:
            until = self.override_until
        elif not self.override and self.state is CircuitState.OPEN:
            until = self.open_until
        elif not self.override and self.state is CircuitState.CLOSED:
            tick = self._tick
        self._show(tick, until)

    # -- What is seen --------------------------------------------------------------
    @property
    def shown(self) -> CircuitState:
        """Return the state, or the override while there is one."""
        if self.override and self._clock() < self.override_until:
            return CircuitState[self.override.name]
        return self.state

    def totals(self) -> dict[str, int]:
        """Return the calls since the process began, by outcome."""
        with self._lock:
            return {
                "success": self._past + self._read(),
                "failure": self._n_failures,
                "timeout": self._n_timeouts,
                "throttled": self._n_throttled,
                "ignored": self._n_ignored,
            }

    def recent(self) -> tuple[int, int]:
        """Return calls and failures inside the window."""
        with self._lock:
            calls, failures, _ = self._window.count(self._clock(), self._read())
            return calls, failures

    def row(self) -> Row:
        """Return what the fleet shares."""
        with self._lock:
            return self._row(self._clock())

    def _row(self, now: float) -> Row:
        closed = self.state is CircuitState.CLOSED
        end = self.override_until
        return Row(
            name=self.name,
            state=CircuitState.CLOSED if closed else CircuitState.OPEN,
            version=self.version,
            reason=self.reason,
            remaining=0.0 if closed else max(0.0, self.open_until - now),
            age=max(0.0, now - self.opened_at) if self.version else 0.0,
            opens=self.opens,
            trips=self.trips,
            last_error=self.last_error,
            override=self.override,
            override_reason=self.override_reason,
            override_by=self.override_by,
            override_remaining=None if end == math.inf else max(0.0, end - now),
        )

    # -- The gate ------------------------------------------------------------------
    def admit(self) -> tuple[Permit | Refusal, Transition | None]:
        """Return a permit or a refusal, and the change that came with it."""
        now = self._clock()
        with self._lock:
            ended = self._end_override(now)
            if self.override is Override.DISABLED:
                return PASS, ended
            if self.override is Override.METRICS_ONLY:
                return self._tick, ended
            if self.override is Override.FORCED_OPEN:
                left = self.override_until - now
                after = None if left == math.inf else left
                return Refusal(after, "forced open"), ended
            if self.state is CircuitState.CLOSED:
                return self._tick, ended
            permit, moved = self._admit_trial(now)
            return permit, moved or ended

    def _admit_trial(self, now: float) -> tuple[Permit | Refusal, Transition | None]:
        if now < self.open_until:
            return Refusal(self.open_until - now, "open"), None
        if self.trial is not None and now < self.trial.expires:
            return Refusal(self.trial.expires - now, "a trial is under way"), None
        if not self.may_try(self.version):
            return Refusal(0.1, "another process has the trial"), None
        moved = None
        if self.state is CircuitState.OPEN:
            moved = self._move(CircuitState.HALF_OPEN, "the open time is over", now)
        self.trial = Trial(now + self.options.trial_limit)
        return self.trial, moved

    # -- Verdicts ------------------------------------------------------------------
    def succeeded(self, permit: Permit, *, slow: bool = False) -> Transition | None:
        """Count a success."""
        if isinstance(permit, Trial):
            if slow:
                return self.failed(permit, "slow call")
            return self._trial_succeeded(permit)
        if permit is PASS:
            return None
        permit()  # type: ignore[operator]
        return self._slow_call(permit) if slow else None

    def failed(
        self, permit: Permit, label: str, *, timeout: bool = False
    ) -> Transition | None:
        """Count a failure; a label is a type and a status, never a message."""
        if permit is PASS:
            return None
        now = self._clock()
        with self._lock:
            if timeout:
                self._n_timeouts += 1
            else:
                self._n_failures += 1
            if permit is not self._tick or self.state is not CircuitState.CLOSED:
                if isinstance(permit, Trial):
                    return self._trial_failed(permit, label, now)
                return None
            # All in one, in locals: at 10 times raise and catch for the whole of a
            # failing call, calls and attributes are what it costs (10.5 : 8.6).
            reads = self._reads
            successes = self._tick() - reads
            self._reads = reads + 1
            if successes == self._last:
                run = self._run = self._run + 1
                self._run_timeouts += timeout
            else:
                run = self._run = 1
                self._run_timeouts = int(timeout)
                self._last, self.first_error = successes, label
            window = self._window
            failures = window.failures = window.failures + 1
            self.last_error = label
            samples = window.samples
            if len(samples) > 1 and now - samples[-2][0] < window.grain:
                samples[-1] = (now, successes, failures, window.slow)
            else:
                samples.append((now, successes, failures, window.slow))
            if run < self._run_limit and failures < self._few:
                return None
            reason = "" if self.override else self._reason_to_trip(now, successes)
            return self._trip(reason, now, successes) if reason else None

    def throttled(
        self, permit: Permit, label: str, seconds: float
    ) -> Transition | None:
        """Hold until the dependency wants to be asked again; that is no failure."""
        now = self._clock()
        with self._lock:
            if permit is PASS:
                return None
            self._n_throttled += 1
            if isinstance(permit, Trial):
                if permit is not self.trial:
                    return None
            elif permit is not self._tick or self.state is not CircuitState.CLOSED:
                return None
            if self.override:
                return None
            self.last_error = self.first_error = label
            hold = min(seconds, self.options.reset_timeout * MOST_GROWTH)
            return self._open(hold, "throttled", now, needed=1, label=label)

    def give_back(self, permit: Permit) -> None:
        """Take a permit back without a verdict: cancelled, or failed on our side."""
        if permit is PASS:
            return
        with self._lock:
            self._n_ignored += 1
        self.release(permit)

    def release(self, permit: Permit) -> None:
        """Take back a permit that was not used."""
        with self._lock:
            if permit is not self.trial:
                return
            self.trial = None
        self.let_go()

    # -- Trials --------------------------------------------------------------------
    def _trial_succeeded(self, permit: Trial) -> Transition | None:
        now = self._clock()
        with self._lock:
            self._past += 1
            if permit is not self.trial:
                return None
            self.trial = None
            self.successes += 1
            if self.successes < self._needed:
                return None
            open_for = now - self.opened_at
            self.opens, self.version = 0, self.version + 1
            reason = f"{self.successes} good trials"
            return self._close(reason, now, {"open_for_s": round(open_for, 3)})

    def _close(
        self, reason: str, now: float, evidence: Mapping[str, Any]
    ) -> Transition | None:
        self._begin(now)
        return self._move(CircuitState.CLOSED, reason, now, evidence)

    def _trial_failed(self, permit: Trial, label: str, now: float) -> Transition | None:
        if permit is not self.trial:
            return None
        self.opens += 1
        self.last_error = label
        return self._open(self._open_time(), f"trial failed: {label}", now, label=label)

    def _open_time(self) -> float:
        growth = min(2.0 ** min(self.opens, 10), MOST_GROWTH)
        spread = self._spread(1 - JITTER, 1 + JITTER)
        return self.options.reset_timeout * growth * spread

    # -- Rules ---------------------------------------------------------------------
    def _reason_to_trip(self, now: float, successes: int) -> str:
        if self._run >= self.options.failure_threshold:
            all_late = self._run_timeouts == self._run
            return f"{self._run} {'timeouts' if all_late else 'failures'} in a row"
        return self._window.failing(now, successes)

    def _slow_call(self, permit: Permit) -> Transition | None:
        now = self._clock()
        with self._lock:
            if permit is not self._tick or self.state is not CircuitState.CLOSED:
                return None
            window, successes = self._window, self._read()
            window.slow += 1
            window.note(now, successes)
            reason = "" if self.override else window.slowing(now, successes)
            if not reason:
                return None
            self.last_error = self.first_error = "slow calls"
            return self._trip(reason, now, successes)

    def sample(self) -> None:
        """Note the totals, once a second: without it old successes seem recent."""
        now = self._clock()
        with self._lock:
            if self.state is CircuitState.CLOSED:
                self._window.note(now, self._read())

    # -- Moves ---------------------------------------------------------------------
    def _trip(self, reason: str, now: float, successes: int) -> Transition | None:
        calls, failures, _ = self._window.count(now, successes)
        self.opens = 0
        self.trips += 1
        evidence = {"failures": failures, "calls": calls, "run": self._run}
        return self._open(
            self._open_time(), reason, now, label=self.first_error, evidence=evidence
        )

    def _open(
        self,
        seconds: float,
        reason: str,
        now: float,
        *,
        label: str,
        needed: int | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Transition | None:
        if needed is not None and self.state is CircuitState.CLOSED:
            self.trips += 1
        self.version += 1
        self._needed = needed or self.options.success_threshold
        if self.state is CircuitState.CLOSED:
            self.opened_at = now
        self.open_until = now + seconds
        known = {"first_error": label, "open_for_s": round(seconds, 3)}
        moved = self._move(
            CircuitState.OPEN, reason, now, {**(evidence or {}), **known}
        )
        self._begin(now)
        self.refresh()
        return moved

    def _move(
        self,
        new: CircuitState,
        reason: str,
        now: float,
        evidence: Mapping[str, Any] | None = None,
    ) -> Transition | None:
        before = self._visible(now)
        self.state = new
        self.trial, self.successes = None, 0
        if new is not CircuitState.HALF_OPEN:  # which still is what it opened for
            self.reason = reason
        self.refresh()
        return self._transition(before, reason, now, evidence=evidence)

    def _visible(self, now: float) -> CircuitState:
        held = self.override and now < self.override_until
        return CircuitState[self.override.name] if held else self.state

    def _transition(
        self,
        before: CircuitState,
        reason: str,
        now: float,
        *,
        adopted: bool = False,
        evidence: Mapping[str, Any] | None = None,
    ) -> Transition | None:
        after = self._visible(now)
        if before is after:
            return None
        at = datetime.now(UTC)
        return Transition(
            self.name, before, after, reason, at, self.version, adopted, evidence or {}
        )

    # -- Operators and the fleet ---------------------------------------------------
    def set_override(
        self, mode: Override, reason: str = "", by: str = "", seconds: float = math.inf
    ) -> Transition | None:
        """Put an override in force, or end it; the state below goes on."""
        now = self._clock()
        with self._lock:
            before = self._visible(now)
            self.version += 1
            self._hold(mode, reason, by, now + seconds)
            return self._transition(before, reason, now)

    def _hold(self, mode: Override, reason: str, by: str, until: float) -> None:
        self.override, self.override_reason, self.override_by = mode, reason, by
        self.override_until = until if mode else math.inf
        self.trial = None
        self.refresh()

    def _end_override(self, now: float) -> Transition | None:
        if not self.override or now < self.override_until:
            return None
        before = CircuitState[self.override.name]
        self._hold(Override.NONE, "", "", math.inf)
        return self._transition(before, ENDED, now)

    def tend(self) -> Transition | None:
        """End an override whose time is over, without a call that notices."""
        now = self._clock()
        with self._lock:
            return self._end_override(now)

    def reset(self, reason: str) -> Transition | None:
        """Close the circuit, whatever it learned."""
        now = self._clock()
        with self._lock:
            self.version += 1
            self.opens = 0
            return self._close(reason, now, {"by": "reset"})

    def adopt(self, row: Row) -> Transition | None:
        """Take over what the fleet agreed on, if it is newer than what we know.

        Of two changes of one version the open one counts, so that all agree without
        asking each other.
        """
        now = self._clock()
        with self._lock:
            mine = self._row(now)
            newer = row.version > self.version
            tie = row.version == self.version and row.state != mine.state
            if not newer and not (tie and row.state == CircuitState.OPEN):
                return None
            before = self._visible(now)
            self._take(row, now)
            return self._transition(before, row.reason, now, adopted=True)

    def _take(self, row: Row, now: float) -> None:
        opened = row.state == CircuitState.OPEN
        self.opened_at = now - row.age
        self.version, self.reason = row.version, row.reason
        self.opens, self.trips, self.last_error = row.opens, row.trips, row.last_error
        self._needed = (
            1 if row.reason == "throttled" else self.options.success_threshold
        )
        self.open_until = now + row.remaining
        self.state = CircuitState.OPEN if opened else CircuitState.CLOSED
        self.trial, self.successes = None, 0
        left = row.override_remaining
        until = math.inf if left is None else now + left
        self._begin(now)
        self._hold(Override(row.override), row.override_reason, row.override_by, until)
