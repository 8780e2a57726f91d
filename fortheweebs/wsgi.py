"""The WSGI application: the edge in front of Django."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")

django_application = get_wsgi_application()

from fortheweebs.checks import refuse_bad_settings  # noqa: E402 - needs the settings
from health.edge import ChunkedBody, Edge  # noqa: E402

refuse_bad_settings()
application = Edge(ChunkedBody(django_application))
