"""The project's Celery, to which what nobody acknowledged comes back after 1 s."""

from contextlib import closing

import redis
from django.conf import settings

from fortheweebs.celery import app

app.conf.broker_transport_options.update(visibility_timeout=1)
app.conf.broker_transport_options.update(unacked_restore_interval=0.5)


@app.task(name="tests.mark")
def mark(key):
    with closing(redis.Redis.from_url(settings.REDIS_URL)) as client:
        client.incr(key)
