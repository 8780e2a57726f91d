"""Breakers in a child process, whatever its parent was doing."""

import pytest

from tests.breakers.guards import (
    run_python,
)

pytestmark = pytest.mark.usefixtures("_alone")

FORKED = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, on purpose
from breakers import CircuitBreaker, CircuitOpenError, get_breaker

def boom():
    raise ConnectionError("down")

def trip(breaker):
    while breaker.state == "CLOSED":
        try:
            breaker.execute(boom)
        except ConnectionError:
            pass

def in_child(work):
    # Run in a child that ends at once, or is ended after five seconds.
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        threading.Timer(5, os._exit, [9]).start()
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0, "the child hangs"
    return os.read(reader, 1000).decode()
"""


def test_a_child_forked_from_inside_a_guarded_call_works():
    script = """
breaker = CircuitBreaker("a", failure_threshold=3, timeout=None)
def inside():
    def child():
        trip(breaker)
        return breaker.execute(lambda: 1) if breaker.state == "CLOSED" else breaker.state
    return in_child(child)
print(breaker.execute(inside), breaker.state, breaker.execute(lambda: "fine"))
"""

    assert run_python(FORKED + script).split() == ["OPEN", "CLOSED", "fine"]


def test_a_child_does_not_wait_for_locks_its_parent_held():
    script = """
class Slow(int):
    # Compared while the registry's lock is held.
    def __le__(self, other):
        entered.set()
        go.wait(10)
        return int(self) <= other
entered, go = threading.Event(), threading.Event()
breaker = CircuitBreaker("a", failure_threshold=3)
trip(breaker)
build = lambda: get_breaker("slow", failure_threshold=Slow(4))
builder = threading.Thread(target=build)
builder.start()
assert entered.wait(5)
print(in_child(lambda: get_breaker("other").execute(lambda: "fine")))
go.set()
builder.join()
"""

    assert run_python(FORKED + script).split() == ["fine"]


def test_the_parents_trial_is_not_the_childs():
    script = """
import time
breaker = CircuitBreaker("a", failure_threshold=3, reset_timeout=0.02)
trip(breaker)
while time.monotonic() <= breaker.circuit.open_until:
    time.sleep(0.005)
def trial():
    def child():
        before = breaker.circuit.successes
        breaker.execute(lambda: 1)       # the child has a trial of its own
        return before, breaker.circuit.successes
    found = in_child(child)
    try:
        breaker.execute(lambda: 1)       # the parent's is still under way
    except CircuitOpenError as refused:
        return found, refused.reason
print(breaker.execute(trial), breaker.circuit.successes)
"""

    found = run_python(FORKED + script).strip()

    assert found == "('(0, 1)', 'a trial is under way') 1"


@pytest.mark.parametrize(
    "opened", ["trip(breaker)", "breaker.override('forced_open')"], ids=str
)
def test_a_child_of_an_open_parent_starts_its_own_pulse(opened):
    script = f"""
breaker = CircuitBreaker("a", failure_threshold=3)
{opened}
def child():
    names = lambda: [thread.name for thread in threading.enumerate()]
    before = "breakers-pulse" in names()
    try:
        breaker.execute(lambda: 1)
    except CircuitOpenError:
        return before, "breakers-pulse" in names()
print(in_child(child))
"""

    assert run_python(FORKED + script).strip() == "(False, True)"
