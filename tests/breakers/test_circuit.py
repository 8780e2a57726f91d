"""The first path through a breaker: it trips, tries and closes."""

import pytest

from breakers import CircuitBreaker, CircuitOpenError, CircuitState
from breakers.circuit import Circuit
from breakers.options import Options


def boom():
    raise ConnectionError("down")


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
