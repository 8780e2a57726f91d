"""The edge around a tiny application: one slow answer, one fast, one that counts."""

import time

from fortheweebs import wsgi
from health.edge import ChunkedBody, Edge


def application_inside(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(4)
    if path == "/echo":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = str(len(environ["wsgi.input"].read(length))).encode()
    else:
        body = path.strip("/").encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


application = Edge(ChunkedBody(application_inside))
assert wsgi.application
