"""The Celery application and its schedule. The schedule is code: no form edits it."""

import os
from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")

app = Celery("fortheweebs")


def _options() -> dict[str, Any]:
    from django.conf import settings

    return {
        "broker_url": settings.CELERY_BROKER_URL,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            **settings.REDIS_TIMEOUTS,
            "visibility_timeout": 120,
            # The default sweep (10 x 10) brings a lost task back after 100 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
        # A hung broker blocked delay() for more than 40 s without these two.
        "task_publish_retry_policy": {"max_retries": 0},
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_ignore_result": True,
        "task_time_limit": 60,
        "timezone": "UTC",
        "worker_hijack_root_logger": False,
        "beat_max_loop_interval": 5,
        "beat_schedule": {**SCHEDULE, **_canaries(settings.QUEUES)},
        # Ticks its slot while it waits for the broker.
        "worker_consumer": "health.celeryparts:TickingConsumer",
        # Its own loop ticks its slot, so that a hung beat is seen.
        "beat_scheduler": "health.celeryparts:TickingScheduler",
        "beat_schedule_filename": str(settings.RUN_DIR / "beat-schedule"),
    }


def _canaries(queues: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the entry of each queue's canary, marked in Redis as it is sent."""
    # Not at the top: 0.04 s that every process would pay, also without a task to send.
    from celery.beat import BeatLazyFunc

    from health.canaries import note_sent
    from health.canary import PERIOD

    return {
        f"canary-{queue}": {
            "task": "health.tasks.canary",
            "schedule": PERIOD,
            "args": (queue, BeatLazyFunc(note_sent, queue)),
            # Without a worker they would pile up: 120 at most this way.
            "options": {"queue": queue, "expires": 3600},
        }
        for queue in queues
    }


SCHEDULE: dict[str, dict[str, Any]] = {
    # A second pair of hands beside the watchdog, which sequences every second.
    "sequence": {"task": "ledger.tasks.sequence", "schedule": 10.0},
    # By the clock, not each 86,400 s: those begin anew with every beat that does not find
    # its schedule's file, so that a daily rollout would put them off for ever.
    "verify-ledger": {"task": "ledger.tasks.verify", "schedule": crontab("17", "3")},
    "watchdog-check": {"task": "health.tasks.watchdog_check", "schedule": 30.0},
    "count-reports": {"task": "bugfixer.tasks.count_reports", "schedule": 5.0},
    "analyze-wanted": {"task": "bugfixer.tasks.analyze_wanted", "schedule": 30.0},
    "prune-reports": {
        "task": "bugfixer.tasks.prune_reports",
        "schedule": crontab("47", "3"),
    },
}
# Not config_from_object: that reads attributes of a function instead of calling it.
app.add_defaults(_options)
app.steps["worker"].add("health.celeryparts:SlotStep")
app.autodiscover_tasks(["ledger", "health", "bugfixer"])
