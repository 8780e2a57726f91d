"""A circuit against a model of it, on a clock that goes when told."""

import math
import random
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from breakers.circuit import Circuit
from breakers.options import Options
from breakers.permits import PASS, Refusal, Trial
from breakers.states import Override, Row
from tests.breakers.guards import Clock

THRESHOLD, NEEDED, RESET, TIMEOUT = 2, 2, 10.0, 2.0
LIMIT = TIMEOUT + 1.0
OPTIONS = Options(
    failure_threshold=THRESHOLD,
    success_threshold=NEEDED,
    reset_timeout=RESET,
    timeout=TIMEOUT,
    failure_rate_threshold=None,
)


@dataclass(frozen=True, slots=True)
class Call:
    """A permit and the generation it belongs to, as the model sees it."""

    permit: Any
    generation: int


class CircuitMachine(RuleBasedStateMachine):
    """Do anything in any order; the circuit does what the model says, exactly."""

    calls = Bundle("calls")

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed):
        self.clock = Clock()
        self.circuit = Circuit(
            "machine", OPTIONS, clock=self.clock, spread=random.Random(seed).uniform
        )
        self.circuit.arm()
        self.state, self.version, self.generation = "CLOSED", 0, 0
        self.until, self.opens, self.trips, self.needed = 0.0, 0, 0, NEEDED
        self.run, self.fresh_success, self.good = 0, False, 0
        self.trial, self.trial_ends = None, 0.0
        self.override, self.override_until = Override.NONE, math.inf
        names = ("success", "failure", "timeout", "throttled", "ignored")
        self.counted = dict.fromkeys(names, 0)

    # -- What the model does -----------------------------------------------------
    def new_generation(self, state):
        self.state, self.generation = state, self.generation + 1
        self.run, self.fresh_success = 0, False
        self.trial, self.good = None, 0

    def opened(self, *, base=None, hold=None, needed=NEEDED):
        """Follow an opening: the time within the jitter, or the hold asked for."""
        seconds = self.circuit.open_until - self.clock.now
        if hold is None:
            # The clock's own rounding at 1000 s is a tenth of a picosecond.
            assert 0.9 * base - 1e-9 <= seconds <= 1.1 * base + 1e-9
        else:
            assert math.isclose(seconds, hold, abs_tol=1e-9)
        self.version += 1
        self.until, self.needed = self.circuit.open_until, needed
        self.new_generation("OPEN")

    def end_override(self):
        if self.override and self.clock.now >= self.override_until:
            self.hold(Override.NONE, math.inf)

    def hold(self, mode, until):
        self.override, self.override_until, self.trial = mode, until, None

    def counts_here(self, call):
        return call.generation == self.generation and self.state == "CLOSED"

    # -- What may happen ---------------------------------------------------------
    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, LIMIT, RESET, 25.0, 200.0]))
    def go(self, seconds):
        self.clock.go(seconds)

    @rule()
    def go_to_the_next_trial(self):
        self.clock.now = max(self.clock.now, self.circuit.open_until)

    @rule(outcomes=st.lists(st.sampled_from("SSFFTBKKVW"), min_size=1, max_size=9))
    def make_calls(self, outcomes):
        """Admit and judge at once, so that stories get deep enough to say something.

        S, F, T, B: a call succeeds, fails, is throttled, says nothing. K: it goes on,
        until V (fails), W (succeeds) or never.
        """
        kept = []
        for outcome in outcomes:
            if outcome in "VW":
                if kept:
                    self.judge(kept.pop(0), "F" if outcome == "V" else "S")
            elif (call := self.ask()) is None:
                self.go_to_the_next_trial()
            elif outcome == "K":
                kept.append(call)
            else:
                self.judge(call, outcome)
            self.it_stands_where_the_model_stands()
            self.every_outcome_is_counted_once()

    @rule(outcome=st.sampled_from("SFTB"))
    def lose_a_trial(self, outcome):
        """Let a trial go on after it was given up, while the next one is under way."""
        self.go_to_the_next_trial()
        lost = self.ask()
        self.clock.go(LIMIT)
        self.ask()
        if lost is not None:
            self.judge(lost, outcome)

    @rule(outcomes=st.lists(st.sampled_from("SF"), min_size=1, max_size=3))
    def outlive_a_generation(self, outcomes):
        """Let calls end in a later generation than they began in."""
        late = [self.ask() for _ in outcomes]
        self.reset()
        for call, outcome in zip(late, outcomes, strict=True):
            if call is not None:
                self.judge(call, outcome)

    def judge(self, call, outcome):
        if outcome == "S":
            self.judge_success(call)
        elif outcome == "F":
            self.judge_failure(call, late=False)
        elif outcome == "T":
            self.judge_throttling(call, 3.0)
        else:
            self.take_back(call)

    @rule(target=calls)
    def admit(self):
        call = self.ask()
        return multiple() if call is None else call

    def ask(self):
        found, _ = self.circuit.admit()
        self.end_override()
        expected = self.expected()

        if expected == "refused":
            assert isinstance(found, Refusal)
            assert found.retry_after is None or found.retry_after > 0
            return None
        if expected == "trial":
            assert isinstance(found, Trial)
            assert found is not self.trial
            if self.state == "OPEN":
                self.state, self.good = "HALF_OPEN", 0
            self.trial, self.trial_ends = found, self.clock.now + LIMIT
        else:
            assert not isinstance(found, Refusal | Trial)
            assert (found is PASS) == (self.override is Override.DISABLED)
        return Call(found, self.generation)

    def expected(self):
        if self.override:
            return "refused" if self.override is Override.FORCED_OPEN else "counted"
        if self.state == "CLOSED":
            return "counted"
        busy = self.trial is not None and self.clock.now < self.trial_ends
        return "refused" if busy or self.clock.now < self.until else "trial"

    @rule(call=consumes(calls))
    def succeed(self, call):
        self.judge_success(call)

    def judge_success(self, call):
        self.circuit.succeeded(call.permit)

        if isinstance(call.permit, Trial):
            self.counted["success"] += 1
            if call.permit is self.trial:
                self.trial = None
                self.good += 1
                if self.good == self.needed:
                    self.version += 1
                    self.opens = 0
                    self.new_generation("CLOSED")
        elif call.permit is not PASS and call.generation == self.generation:
            self.counted["success"] += 1
            self.fresh_success = True

    @rule(call=consumes(calls), late=st.booleans())
    def fail(self, call, late):
        self.judge_failure(call, late=late)

    def judge_failure(self, call, *, late):
        self.circuit.failed(call.permit, "E", timeout=late)

        if call.permit is PASS:
            return
        self.counted["timeout" if late else "failure"] += 1
        if isinstance(call.permit, Trial):
            if call.permit is self.trial:
                self.opens += 1
                self.opened(base=RESET * min(2**self.opens, 10))
        elif self.counts_here(call):
            self.run = 1 if self.fresh_success else self.run + 1
            self.fresh_success = False
            if self.run >= THRESHOLD and not self.override:
                self.opens, self.trips = 0, self.trips + 1
                self.opened(base=RESET)

    @rule(call=consumes(calls), seconds=st.sampled_from([0.0, 3.0, 99.0, 5000.0]))
    def throttle(self, call, seconds):
        self.judge_throttling(call, seconds)

    def judge_throttling(self, call, seconds):
        self.circuit.throttled(call.permit, "E 429", seconds)

        if call.permit is PASS:
            return
        self.counted["throttled"] += 1
        mine = call.permit is self.trial
        trial = isinstance(call.permit, Trial)
        if not self.override and (mine if trial else self.counts_here(call)):
            self.trips += self.state == "CLOSED"
            self.opened(hold=min(seconds, 10 * RESET), needed=1)

    @rule(call=consumes(calls))
    def give_back(self, call):
        self.take_back(call)

    def take_back(self, call):
        self.circuit.give_back(call.permit)

        if call.permit is not PASS:
            self.counted["ignored"] += 1
        if call.permit is self.trial:
            self.trial = None

    @rule(call=consumes(calls))
    def release(self, call):
        self.circuit.release(call.permit)

        if call.permit is self.trial:
            self.trial = None

    @rule()
    def sample(self):
        self.circuit.sample()

    # -- Operators and the fleet -------------------------------------------------
    @rule(
        mode=st.sampled_from(list(Override)),
        seconds=st.sampled_from([5.0, 60.0, math.inf]),
    )
    def hold_by_hand(self, mode, seconds):
        self.circuit.set_override(mode, "why", "user:7", seconds)

        self.version += 1
        self.hold(mode, self.clock.now + seconds if mode else math.inf)

    @rule()
    def tend(self):
        before = self.override
        moved = self.circuit.tend()
        self.end_override()

        ended = before is not self.override
        assert (moved is not None) == (ended and before.name != self.state)

    @rule()
    def reset(self):
        self.circuit.reset("by hand")

        self.version += 1
        self.opens = 0
        self.new_generation("CLOSED")

    @rule(
        step=st.integers(-2, 2),
        state=st.sampled_from(["OPEN", "CLOSED"]),
        remaining=st.sampled_from([0.0, 7.0]),
        mode=st.sampled_from(list(Override)),
        throttled=st.booleans(),
    )
    def adopt(self, step, state, remaining, mode, throttled):
        version = max(0, self.version + step)
        row = Row(
            "machine",
            state=state,
            version=version,
            reason="throttled" if throttled else "elsewhere",
            remaining=remaining,
            opens=2,
            trips=8,
            override=mode,
            override_remaining=30.0,
        )
        self.circuit.adopt(row)

        wins = version == self.version and (state, self.state) == ("OPEN", "CLOSED")
        if version > self.version or wins:
            self.version, self.opens, self.trips = version, 2, 8
            self.until = self.clock.now + remaining
            self.needed = 1 if throttled else NEEDED
            self.new_generation(state)
            until = self.clock.now + 30.0 if mode else math.inf
            self.hold(mode, until)

    # -- What holds at any moment ------------------------------------------------
    @invariant()
    def it_stands_where_the_model_stands(self):
        held = self.override and self.clock.now < self.override_until
        assert self.circuit.state == self.state
        assert self.circuit.shown == (self.override.name if held else self.state)
        assert self.circuit.trial is self.trial
        assert self.circuit.successes == self.good

    @invariant()
    def every_outcome_is_counted_once(self):
        assert self.circuit.totals() == self.counted

    @invariant()
    def the_row_says_the_same(self):
        row = self.circuit.row()
        assert (row.version, row.opens, row.trips) == (
            self.version,
            self.opens,
            self.trips,
        )
        assert row.override == self.override
        assert (row.state == "CLOSED") == (self.state == "CLOSED")
        if self.state != "CLOSED":
            assert row.remaining == max(0.0, self.until - self.clock.now)


TestCircuitMachine = CircuitMachine.TestCase
TestCircuitMachine.settings = settings(max_examples=150, stateful_step_count=40)
