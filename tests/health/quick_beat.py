"""The project's Celery with a canary each second: `celery -A tests.health.quick_beat`."""

from fortheweebs.celery import app

app.conf.beat_schedule["canary-celery"]["schedule"] = 1.0
