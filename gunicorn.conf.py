"""gunicorn's settings, from ours; the longer parts are in health.hooks."""

import os

os.environ.setdefault("ROLE", "web")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")

import django
from django.conf import settings

django.setup()

from health import hooks  # noqa: E402 - needs the applications
from health.careless import bound_gunicorn  # noqa: E402

bound_gunicorn()

wsgi_app = "fortheweebs.wsgi"
bind = f"{settings.HOST}:{settings.PORT}"
worker_class = "gthread"
workers = settings.WEB_WORKERS
# Two more than the edge admits: they answer probes and refusals while all are busy.
threads = settings.WEB_THREADS + 2
preload_app = True
keepalive = 5
timeout = 30
graceful_timeout = settings.GRACEFUL_TIMEOUT
# A path of our own: the default is shared by every copy that a user runs.
control_socket = str(settings.SOCKET_DIR / "gunicorn.ctl")
accesslog = None
logger_class = hooks.StructuredLogger

on_starting = hooks.on_starting
when_ready = hooks.when_ready
post_fork = hooks.post_fork
post_worker_init = hooks.post_worker_init
worker_exit = hooks.worker_exit
child_exit = hooks.child_exit
on_exit = hooks.on_exit
