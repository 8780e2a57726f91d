"""The WSGI application: the edge in front of Django."""

import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")

django_application = get_wsgi_application()

from fortheweebs.checks import refuse_bad_settings  # noqa: E402 - needs the settings
from health.edge import ChunkedBody, Edge  # noqa: E402


def utf8_only(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Pass a request on without the charset it names: all that we read is UTF-8.

    Django reads the query string in that charset while it makes the request, before
    anything can answer an error: `charset=hex` was a stranger's bare 500.
    """
    if ";" in environ.get("CONTENT_TYPE", ""):
        environ["CONTENT_TYPE"] = plain_type(environ["CONTENT_TYPE"])
    return django_application(environ, start_response)


def plain_type(content_type: str) -> str:
    """Return a content type with no parameter but the boundary of a form."""
    try:
        kind, parameters = parse_header_parameters(content_type)
    except (ValueError, LookupError):
        return content_type.partition(";")[0].strip().lower()
    boundary = str(parameters.get("boundary", "")).replace('"', "")
    return f'{kind}; boundary="{boundary}"' if boundary else str(kind)


refuse_bad_settings()
application = Edge(ChunkedBody(utf8_only))
