"""A circuit among threads that take turns as often as they can."""

import pytest

from breakers.permits import Trial
from tests.breakers.guards import Clock, in_threads, make_circuit

THREADS = 12


@pytest.mark.usefixtures("_switching")
def test_twelve_threads_lose_no_success_and_no_failure():
    circuit = make_circuit(
        Clock(), failure_threshold=10**6, failure_rate_threshold=None
    )

    def work():
        for turn in range(600):
            permit, _ = circuit.admit()
            if turn % 3:
                circuit.succeeded(permit)
            else:
                circuit.failed(permit, "E")
            if turn % 50 == 0:
                circuit.totals()

    in_threads(THREADS, work)

    totals = circuit.totals()
    assert (totals["success"], totals["failure"]) == (THREADS * 400, THREADS * 200)
    assert circuit.recent() == (THREADS * 600, THREADS * 200)


@pytest.mark.usefixtures("_switching")
def test_a_run_of_twelve_threads_trips_at_its_last_failure_and_no_earlier():
    total = THREADS * 200
    circuit = make_circuit(
        Clock(), failure_threshold=total, failure_rate_threshold=None
    )
    permit, _ = circuit.admit()
    moves = []

    def work(times=200):
        for _ in range(times):
            moved = circuit.failed(permit, "E")
            if moved is not None:
                moves.append(moved)

    for _ in range(total - 1):
        circuit.failed(permit, "E")
    circuit.succeeded(permit)
    in_threads(THREADS - 1, work)
    before = list(moves)
    work(199)
    almost = list(moves)
    circuit.failed(permit, "E")

    assert before == almost == []
    assert circuit.state == "OPEN"
    assert circuit.reason == f"{total} failures in a row"


@pytest.mark.usefixtures("_switching")
def test_threads_that_succeed_before_each_failure_never_make_a_longer_run():
    # Of 13 failures in a row two are of one thread, with its success between them.
    circuit = make_circuit(
        Clock(), failure_threshold=THREADS + 1, failure_rate_threshold=None
    )
    permit, _ = circuit.admit()

    def work():
        for _ in range(600):
            permit()
            circuit.failed(permit, "E")

    in_threads(THREADS, work)

    assert circuit.state == "CLOSED"
    assert circuit.totals()["success"] == circuit.totals()["failure"] == 7200


@pytest.mark.usefixtures("_switching")
def test_threads_at_an_expired_open_get_one_trial():
    clock = Clock()
    circuit = make_circuit(clock, failure_threshold=1)
    permit, _ = circuit.admit()
    for _ in range(20):
        circuit.failed(permit, "E")
        clock.now = circuit.open_until
        found = []

        in_threads(THREADS, lambda found=found: found.append(circuit.admit()[0]))

        trials = [one for one in found if isinstance(one, Trial)]
        assert len(trials) == 1
        permit = trials[0]
