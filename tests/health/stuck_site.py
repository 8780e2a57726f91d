"""Applications that misbehave: threads that never come back, memory that grows."""

import threading
import time

from fortheweebs import wsgi
from health.edge import Edge

hoard: list[bytes] = []
never = threading.Event()


def misbehave(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stuck":
        never.wait(600)
    if path == "/leak":
        hoard.append(b"x" * (300 << 20))
    if path == "/slow":
        time.sleep(2)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def broken(environ, start_response):
    """Answer everything with 500, the probes among it."""
    start_response("500 Internal Server Error", [("Content-Length", "0")])
    return [b""]


application = Edge(misbehave)
assert wsgi.application
