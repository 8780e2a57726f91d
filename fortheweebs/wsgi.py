"""The WSGI application: the edge in front of Django."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")

django_application = get_wsgi_application()

from health.edge import ChunkedBody, Edge  # noqa: E402 - needs the settings

application = Edge(ChunkedBody(django_application))
