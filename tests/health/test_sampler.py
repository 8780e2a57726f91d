import threading
import time

import pytest

from health.dependencies import Disk, Finding
from health.sampler import Sampler
from health.snapshot import CheckResult, State
from tests.server import wait_for

PERIOD = TIMEOUT = 0.1


class Scripted:
    """A dependency that does what the test says."""

    name = "db"
    required = True
    period: float | None = None

    def __init__(self, do=Finding):
        self.do = do
        self.closed = 0

    def check(self):
        return self.do()

    def close(self):
        self.closed += 1


def hang(gate):
    gate.wait()
    return Finding()


def start(*dependencies, before=()):
    sampler = Sampler(dependencies, period=PERIOD, timeout=TIMEOUT, before=before)
    sampler.start()
    return sampler


def collect(sampler):
    return sampler.collect(time.time(), time.monotonic_ns())


def state_of(sampler):
    checks = collect(sampler)
    return checks[0].state if checks else None


@pytest.fixture
def gate():
    """Something to hang on that opens when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def test_nothing_is_said_until_every_check_has_a_result(gate):
    hanging = Scripted(lambda: hang(gate))
    hanging.name = "cache"
    sampler = start(Scripted(), hanging)

    first = collect(sampler)
    checks = wait_for(lambda: collect(sampler), 2)
    sampler.stop()

    assert first is None
    assert [check.state for check in checks] == [State.PASS, State.FAIL]


def test_a_check_that_raises_fails_and_lets_its_connection_go():
    def refuse():
        raise ConnectionRefusedError("nobody listens")

    dependency = Scripted(refuse)
    sampler = start(dependency)

    checks = wait_for(lambda: collect(sampler), 2)
    sampler.stop()

    assert checks[0].state is State.FAIL
    assert checks[0].error == "ConnectionRefusedError: nobody listens"
    assert dependency.closed >= 1


def test_a_hanging_check_fails_at_its_deadline_and_only_its_own_thread_hangs(gate):
    answers = [Finding(), Finding()]
    hanging = Scripted(lambda: answers.pop() if answers else hang(gate))
    other = Scripted()
    other.name = "cache"
    sampler = start(hanging, other)
    wait_for(lambda: state_of(sampler) is State.PASS, 2)

    wait_for(lambda: state_of(sampler) is State.FAIL, 2)
    db, cache = collect(sampler)
    sampler.stop()

    assert db.error == "no answer within 0.1 s"
    assert cache.state is State.PASS
    # Its last completed run stays where it was: the age of the result grows.
    assert db.age(time.monotonic_ns()) > cache.age(time.monotonic_ns())


def test_a_check_comes_back_when_what_it_hung_on_answers(gate):
    sampler = start(Scripted(lambda: hang(gate)))
    wait_for(lambda: state_of(sampler) is State.FAIL, 2)

    gate.set()

    wait_for(lambda: state_of(sampler) is State.PASS, 2)
    sampler.stop()


def test_a_late_failure_is_not_counted_twice():
    calls = []

    def slow_then_well():
        calls.append(1)
        if len(calls) == 2:
            time.sleep(TIMEOUT * 1.3)
            raise TimeoutError
        return Finding()

    sampler = start(Scripted(slow_then_well))
    seen = set()

    def three_runs():
        seen.add(state_of(sampler))
        return len(calls) > 3

    wait_for(three_runs, 3)
    sampler.stop()

    assert State.FAIL not in seen


def test_the_next_holder_goes_on_damping():
    failed = CheckResult(
        "db", State.FAIL, required=True, since=1, at=1, at_ns=1, duration=0, fails=2
    )
    sampler = start(Scripted(), before=[failed])

    checks = wait_for(lambda: collect(sampler), 2)
    wait_for(lambda: state_of(sampler) is State.PASS, 2)
    sampler.stop()

    assert checks[0].state is State.FAIL
    assert checks[0].passes == 1


@pytest.mark.parametrize(
    ("free", "state"),
    [(0.5, State.PASS), (0.049, State.WARN), (0.009, State.FAIL)],
)
def test_the_disk_warns_below_5_percent_and_fails_below_1(free, state):
    assert Disk(measure=lambda path: free).check().state is state


def test_a_disk_that_takes_no_write_fails(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "file"
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OSError, match="file"):
        Disk().check()
