"""A refused call sends its task back to the queue, and no retry is spent."""

import os
import subprocess
import sys

import pytest
import redis
from celery import Celery
from celery.exceptions import Reject

from breakers import CircuitOpenError, get_breaker
from integrations.postponing import MOST, PatientTask, countdown
from tests.nursery import nursery
from tests.server import ROOT, wait_for

WORKER = ("-A", "tests.integrations.celery_app", "worker", "-P", "solo", "-l", "INFO")


@pytest.fixture
def worker(settings, tmp_path):
    """Start a real worker; return its task's sender and what its task wrote."""
    environ = {**os.environ, "BROKER": settings.CELERY_BROKER_URL}
    environ["REDIS_URL"] = settings.REDIS_URL
    command = [sys.executable, "-m", "celery", *WORKER]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT
        )
    client = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)
    try:
        wait_for(lambda: "ready." in (tmp_path / "out").read_text(), 15, "the worker")
        yield environ, client
    finally:
        process.terminate()
        process.wait(10)
        client.close()


def send(environ: dict[str, str], *names: str) -> None:
    lines = "\n".join(f"deliver.delay({name!r})" for name in names)
    code = f"from tests.integrations.celery_app import deliver\n{lines}"
    assert nursery().run(["-c", code], environ).returncode == 0


def test_a_task_waits_for_its_circuit_without_spending_a_retry(worker):
    environ, client = worker

    def log() -> list[str]:
        return client.lrange("patient:log", 0, -1)

    send(environ, "one", "two")
    wait_for(lambda: any("two refused" in line for line in log()), 5, "a refusal")
    client.set("patient:up", 1)
    wait_for(lambda: any("two done" in line for line in log()), 7, "its end")

    two = [line for line in log() if line.startswith("two")]
    assert log()[0].startswith("one failed")
    assert {line.split()[2] for line in two} == {"retries=0"}
    assert len({line.split()[3] for line in two}) == 1


def test_what_was_refused_together_does_not_come_back_together():
    refusal = CircuitOpenError("patient", 10.0)

    waits = {countdown(refusal) for _ in range(50)}

    assert len(waits) == 50
    assert 10.0 <= min(waits) < max(waits) <= 12.0


@pytest.mark.parametrize(("after", "low"), [(None, 1.0), (600.0, MOST)])
def test_the_wait_has_a_value_and_an_end(after, low):
    assert low <= countdown(CircuitOpenError("patient", after)) <= low * 1.1 + 1


@pytest.mark.parametrize("how", ["called", "applied"])
def test_where_there_is_no_queue_the_refusal_is_raised(how):
    breaker = get_breaker("direct")
    breaker.override("forced_open", reason="test")
    app = Celery("direct", set_as_current=False)

    @app.task(base=PatientTask)
    def ask() -> int:
        return breaker.execute(int)

    with pytest.raises(CircuitOpenError):
        ask() if how == "called" else ask.apply(throw=True)


def test_a_task_that_cannot_be_postponed_stays_with_the_broker():
    breaker = get_breaker("direct")
    breaker.override("forced_open", reason="test")
    app = Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.task_publish_retry_policy = {"max_retries": 0}

    @app.task(base=PatientTask)
    def ask() -> int:
        return breaker.execute(int)

    ask.push_request(id="1", args=(), kwargs={}, called_directly=False)
    with pytest.raises(Reject) as rejected:
        ask()
    ask.pop_request()

    assert rejected.value.requeue is True
