"""The way of a circuit: it trips, tries and closes; how long it is open."""

import pytest

from breakers import CircuitBreaker, CircuitOpenError, CircuitState
from breakers.circuit import Circuit
from breakers.options import Options
from breakers.permits import Refusal, Trial
from tests.breakers.guards import Clock, boom, make_circuit


def test_five_failures_in_a_row_open_it_and_the_next_call_is_refused():
    breaker = CircuitBreaker("five")
    for _ in range(5):
        with pytest.raises(ConnectionError):
            breaker.execute(boom)

    with pytest.raises(CircuitOpenError) as refused:
        breaker.execute(lambda: 1)

    assert breaker.state is CircuitState.OPEN
    assert 53 < refused.value.retry_after < 67
    assert refused.value.name == "five"


def test_one_trial_at_a_time_and_three_good_ones_close_it():
    now = [0.0]
    circuit = Circuit("c", Options(), clock=lambda: now[0], spread=lambda low, high: 1)
    circuit.arm()
    permit, _ = circuit.admit()
    moves = [circuit.failed(permit, "E") for _ in range(5)]
    now[0] = 60.0

    seen = []
    for _ in range(3):
        trial, moved = circuit.admit()
        other, _ = circuit.admit()
        seen += [moved, other.reason, circuit.succeeded(trial)]

    assert [move.new for move in [*moves, *seen] if hasattr(move, "new")] == [
        "OPEN",
        "HALF_OPEN",
        "CLOSED",
    ]
    assert seen.count("a trial is under way") == 3


def test_one_that_was_throttled_says_so_while_it_is_on_trial():
    now = [0.0]
    circuit = Circuit("c", Options(), clock=lambda: now[0], spread=lambda low, high: 1)
    circuit.arm()
    permit, _ = circuit.admit()
    circuit.throttled(permit, "RateLimitError 429", 7.0)
    now[0] = 7.0

    trial, moved = circuit.admit()
    row = circuit.row()
    closed = circuit.succeeded(trial)

    assert (moved.new, row.reason) == ("HALF_OPEN", "throttled")
    assert closed.new == "CLOSED"


# -- Growth ------------------------------------------------------------------------
def test_open_time_doubles_with_each_failed_trial_up_to_ten_times():
    clock = Clock()
    circuit = make_circuit(clock, reset_timeout=60.0, failure_threshold=1)
    permit, _ = circuit.admit()
    circuit.failed(permit, "E")

    times = []
    for _ in range(7):
        times.append(circuit.open_until - clock.now)
        clock.now = circuit.open_until
        trial, _ = circuit.admit()
        circuit.failed(trial, "E")

    assert times == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


def test_jitter_spreads_the_open_time_over_a_tenth_each_way():
    clock = Clock()
    times = []
    for _ in range(400):
        circuit = Circuit("j", Options(failure_threshold=1), clock=clock)
        permit, _ = circuit.admit()
        circuit.failed(permit, "E")
        times.append(circuit.open_until - clock.now)

    assert 54.0 <= min(times) < 56.0
    assert 64.0 < max(times) <= 66.0


def test_a_trial_that_never_ends_is_given_up_after_its_limit():
    clock = Clock()
    circuit = make_circuit(clock, failure_threshold=1, timeout=2.0)
    permit, _ = circuit.admit()
    circuit.failed(permit, "E")
    clock.now = circuit.open_until
    lost, _ = circuit.admit()

    clock.go(2.9)
    early, _ = circuit.admit()
    clock.go(0.2)
    next_one, _ = circuit.admit()
    circuit.failed(lost, "E")

    assert isinstance(early, Refusal)
    assert isinstance(next_one, Trial)
    assert circuit.state == "HALF_OPEN"
    assert circuit.trial is next_one
