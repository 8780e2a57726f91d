"""The health app."""

from celery import signals
from django.apps import AppConfig

from health import poolslots


class HealthConfig(AppConfig):
    """Give Celery's pool children their slots."""

    name = "health"

    def ready(self) -> None:
        """Connect the worker's signals."""
        signals.worker_init.connect(poolslots.begin_worker, weak=False)
        signals.worker_process_init.connect(poolslots.begin_child, weak=False)
        signals.worker_process_shutdown.connect(poolslots.end_child, weak=False)
        signals.task_prerun.connect(poolslots.begin_task, weak=False)
        signals.task_postrun.connect(poolslots.end_task, weak=False)
