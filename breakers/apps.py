"""The breakers app."""

import atexit
from typing import Any

from celery import signals
from django.apps import AppConfig

from breakers.errors import OptionError
from breakers.listeners import on_transition
from breakers.pulse import pulse


class BreakersConfig(AppConfig):
    """Give the settings to the breakers and plug in what hangs on them."""

    name = "breakers"

    def ready(self) -> None:
        """Configure and listen; threads start at the first use after a fork."""
        from breakers import audit, checks  # noqa: F401 - registered by import
        from breakers.metrics import measures
        from breakers.store import store

        _configure()
        on_transition(audit.tell)
        on_transition(store.heard)
        pulse.at_join(store.join)
        pulse.at_change(store.changed)
        pulse.at_fork(store.forked)
        on_transition(measures.note)
        pulse.at_join(measures.join)
        pulse.at_fork(measures.forked)
        pulse.each_second(measures.flush)
        atexit.register(_drain)
        signals.worker_process_shutdown.connect(_drain, weak=False)


def _configure() -> None:
    """Hand the options on; `manage.py check` names a wrong one, servers do not start."""
    from django.conf import settings

    from breakers import registry

    try:
        registry.configure(settings.BREAKERS, redis_url=settings.REDIS_URL)
    except OptionError as error:
        if settings.ROLE != "command":
            raise SystemExit(f"BREAKERS: {error}") from None


def _drain(**_: Any) -> None:
    """Count, then write what is left: Celery's children end without atexit."""
    from breakers.metrics import measures
    from breakers.store import store

    measures.flush()
    store.drain()
