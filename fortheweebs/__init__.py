"""The project: settings, URLs, API manners and the console."""

from fortheweebs.celery import app as celery_app

__all__ = ["celery_app"]
