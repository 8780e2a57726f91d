"""Where the canaries leave their marks: a hash for each queue, in Redis.

Not a file, which would show a watchdog the workers of its own machine only, and not the
database, which may hang while every worker listens. Nothing is lost with Redis: it is
the broker, so that no canary flies without it. All times are those of its server, since
beat, worker and watchdog may be on machines whose clocks differ.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from health.canary import Sight, begins_to_wait

PREFIX = "ftw:canary:"


def connect() -> "redis.Redis":
    """Return a client whose every wait is bounded."""
    return redis.Redis.from_url(
        settings.REDIS_URL, retry=Retry(NoBackoff(), 0), **settings.REDIS_TIMEOUTS
    )


def note_sent(queue: str) -> float:
    """Mark that a canary is being sent; return when, by the server's clock."""
    with closing(connect()) as client:
        now = _seconds(client.time())
        marks = client.hgetall(PREFIX + queue)
        sent, waiting = _age(marks, "sent", now), _age(marks, "waiting", now)
        new: dict[Any, Any] = {"sent": now}
        if begins_to_wait(sent=sent, waiting=waiting):
            new["waiting"] = now
        client.hset(PREFIX + queue, mapping=new)
        return now


def note_run(queue: str, sent: float) -> None:
    """Mark that a worker took a canary: none waits any more."""
    with closing(connect()) as client:
        now = _seconds(client.time())
        pipe = client.pipeline(transaction=True)
        pipe.hset(PREFIX + queue, mapping={"ran": now, "delay": max(0.0, now - sent)})
        pipe.hdel(PREFIX + queue, "waiting")
        pipe.execute()


def look(client: "redis.Redis", queues: Sequence[str]) -> tuple[Sight, ...]:
    """Return every queue as it is now, in one round trip."""
    pipe = client.pipeline(transaction=False)
    pipe.time()
    for queue in queues:
        pipe.hgetall(PREFIX + queue)
        pipe.llen(queue)
    at, *found = pipe.execute()
    now, now_ns = _seconds(at), time.monotonic_ns()
    return tuple(
        Sight(
            queue=queue,
            at_ns=now_ns,
            depth=int(depth),
            sent=_age(marks, "sent", now),
            waiting=_age(marks, "waiting", now),
            ran=_age(marks, "ran", now),
            delay=float(marks[b"delay"]) if b"delay" in marks else None,
        )
        for queue, marks, depth in zip(queues, found[::2], found[1::2], strict=True)
    )


def _seconds(parts: Any) -> float:
    whole, micros = parts
    return float(whole) + float(micros) / 1e6


def _age(marks: Any, name: str, now: float) -> float | None:
    mark = marks.get(name.encode())
    return None if mark is None else max(0.0, now - float(mark))
