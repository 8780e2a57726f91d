"""Tasks that leave a mark when they were done, or never come back the first time."""

import time
from contextlib import closing

import redis
from celery import shared_task
from django.apps import AppConfig
from django.conf import settings

DONE = "ftw:bench:done"


class FaultyConfig(AppConfig):
    """Bring the tasks below along, and no table."""

    name = "bench.faulty"
    label = "faulty"


def note(number: int) -> None:
    with closing(redis.Redis.from_url(settings.REDIS_URL)) as client:
        client.rpush(DONE, f"{number} {time.time()}")


@shared_task(name="bench.note")
def short(number: int) -> None:
    time.sleep(0.1)
    note(number)


@shared_task(name="bench.hang")
def hang(number: int) -> None:
    """Stand still when first delivered; be done at once when delivered again."""
    with closing(redis.Redis.from_url(settings.REDIS_URL)) as client:
        is_first = client.set(f"{DONE}:{number}", 1, nx=True)
    if is_first:
        time.sleep(3600)
    note(number)
