"""A Celery application of its own, whose one task waits for its circuit."""

import os

import redis
from celery import Celery

from breakers import CallRefusedError, get_breaker
from integrations.postponing import PatientTask

app = Celery("patient", broker=os.environ["BROKER"])
app.conf.update(
    task_default_queue="patient", task_ignore_result=True, task_acks_late=True
)
store = redis.Redis.from_url(os.environ["REDIS_URL"])
breaker = get_breaker(
    "patient", failure_threshold=1, reset_timeout=0.5, success_threshold=1
)


def ask() -> None:
    if not store.exists("patient:up"):
        raise ConnectionError("down")


@app.task(base=PatientTask, bind=True, max_retries=0)
def deliver(self, name: str) -> None:
    try:
        breaker.execute(ask)
        outcome = "done"
    except CallRefusedError:
        outcome = "refused"
        raise
    except ConnectionError:
        outcome = "failed"
        raise
    finally:
        told = f"{name} {outcome} retries={self.request.retries} id={self.request.id}"
        store.rpush("patient:log", told)
