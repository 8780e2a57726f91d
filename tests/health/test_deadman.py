"""The ping outward: while all is well, and without harm when nobody answers."""

import time

import pytest

from breakers import CircuitState, all_breakers
from health.deadman import DeadMan
from health.dependencies import Finding
from health.duty import Duty
from health.snapshot import State
from integrations.errors import ServiceFailedError
from integrations.fakes import fake_service
from tests.health.test_duty import Term, run_dir, state_of  # noqa: F401 - a fixture
from tests.integrations.conftest import _own_breakers  # noqa: F401 - a fixture
from tests.server import wait_for


@pytest.fixture
def outside(settings):
    with fake_service("any") as fake:
        settings.DEADMAN_URL = f"{fake.url}/ping/abc"
        yield fake


def test_it_pings_again_and_again_while_all_is_well(outside):
    man = DeadMan(lambda: True, every=0.05)

    man.start()
    wait_for(lambda: len(outside.requests) >= 3, 5, "three pings")
    man.stop()

    seen = outside.requests[0]
    assert (seen.method, seen.path) == ("GET", "/ping/abc")


def test_it_is_silent_while_something_is_not_well(outside):
    said = [False]
    man = DeadMan(lambda: said[0], every=60)

    for _ in range(3):
        man.look()
    said[0] = True
    man.look()

    assert len(outside.requests) == 1


def test_it_pings_once_a_minute_however_often_it_looks(outside):
    man = DeadMan(lambda: True)

    for _ in range(5):
        man.look()

    assert len(outside.requests) == 1


def test_without_an_address_nobody_is_asked(settings):
    settings.DEADMAN_URL = ""

    DeadMan(lambda: True).look()

    assert all_breakers() == []


def test_a_dead_target_opens_a_breaker_and_ends_no_thread(outside):
    man = DeadMan(lambda: True, every=0.02)
    outside.will(*["drop"] * 60)

    man.start()
    wait_for(lambda: [b for b in all_breakers() if b.state is CircuitState.OPEN], 8)
    asked = len(outside.requests)
    alive = man._thread._thread.is_alive()
    man.stop()

    assert [breaker.name for breaker in all_breakers()] == ["deadman"]
    assert asked <= 6
    assert alive


def test_a_target_that_fails_is_asked_again_after_a_minute_only(outside):
    man = DeadMan(lambda: True)
    outside.will(*["500"] * 9)

    with pytest.raises(ServiceFailedError):
        man.look()
    asked = len(outside.requests)
    man.look()

    assert len(outside.requests) == asked == 3


def test_a_target_that_hangs_holds_the_thread_for_the_limit_and_nobody_else(outside):
    man = DeadMan(lambda: True, every=60, seconds=0.3)
    outside.will(*["slow:9"] * 3)

    began = time.monotonic()
    man.start()
    started = time.monotonic() - began
    man._thread.stop(wait=5)
    ended = not man._thread._thread.is_alive()

    assert started < 0.3
    assert ended


@pytest.mark.django_db(transaction=True)
def test_a_loop_is_well_once_it_wrote_and_until_a_step_of_it_fails(settings, tmp_path):
    term = Term()
    before = term.duty.is_well()
    term.step_until(lambda: state_of("db") is State.PASS)
    well = term.duty.is_well()
    (tmp_path / "file").write_text("in the way")
    settings.RUN_DIR = tmp_path / "file"
    term.duty._written_ns = 0
    term.duty._try_step()
    after = term.duty.is_well()
    term.duty.sampler.stop()

    assert (before, well, after) == (False, True, False)


@pytest.mark.django_db(transaction=True)
def test_a_late_canary_is_not_well_and_a_dead_database_is(settings):
    term = Term()
    canary = term.make("canary")
    canary.required = False
    term.passing["canary"] = True
    duty = Duty(
        roles=frozenset({"web"}),
        period=0.02,
        dependencies=[*term.duty.sampler.dependencies, canary],
    )
    term.duty, found = duty, [Finding()]
    term.look = lambda name: (
        found[0]
        if name == "canary"
        else Finding(State.PASS if term.passing[name] else State.FAIL)
    )
    duty.sampler.start()

    term.passing["db"] = False
    term.step_until(lambda: state_of("db") is State.FAIL)
    without_database = duty.is_well()
    found[0] = Finding(State.WARN, "queue celery: no worker took anything")
    term.step_until(lambda: state_of("canary") is State.WARN)
    with_deaf_workers = duty.is_well()
    duty.sampler.stop()

    assert (without_database, with_deaf_workers) == (True, False)


@pytest.mark.parametrize(
    ("roles", "pings"),
    [("web", True), ("web,worker,beat", True), ("worker", False), ("beat", False)],
)
def test_only_who_watches_the_web_server_pings(run_dir, roles, pings):  # noqa: F811
    duty = Duty(roles=frozenset(roles.split(",")), dependencies=[])

    assert (duty.deadman is not None) == pings
