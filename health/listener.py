"""The probe port: probes and metrics outside the worker pool, no login, no detail."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings

from health.answers import (
    ANSWERS,
    JSON,
    PROBE_HEADERS,
    Answer,
    Asked,
    answer_status_json,
)
from health.places import run_dir
from health.slots import FRESH_SECONDS, read_slots
from health.snapshot import Liveness

logger = logging.getLogger(__name__)
CLIENT_SECONDS = 2.0
MOST_CLIENTS = 64
BIND_RETRY_SECONDS = 0.2


def fleet_liveness(roles: frozenset[str]) -> Liveness:
    """Judge the workers from outside: at least one must tick."""
    now_ns = time.monotonic_ns()
    ages = [
        slot.age(now_ns) for slot in read_slots(run_dir()) if slot.role.word in roles
    ]
    return judge_fleet(ages)


def judge_fleet(ages: list[float]) -> Liveness:
    """Fail when no worker ticks, naming the youngest heartbeat."""
    if any(age <= FRESH_SECONDS for age in ages):
        return Liveness()
    if not ages:
        return Liveness("no_workers")
    return Liveness("workers_frozen", {"heartbeatAge": round(min(ages), 1)})


class Listener:
    """An HTTP server in threads of its own; it binds again until the port is free."""

    def __init__(
        self, *, roles: frozenset[str], metrics: Callable[[], bytes] | None = None
    ) -> None:
        """Keep whose heartbeats make `live`, and what /metrics shows."""
        self._roles = roles
        self._metrics = metrics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Bind and answer from a daemon thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, so that the next holder may have it."""
        self._stop.set()
        self._thread.join(CLIENT_SECONDS)

    def _run(self) -> None:
        server = self._bind()
        if server is None:
            return
        with server:
            # Not serve_forever: shutting it down before it has begun waits for ever.
            while not self._stop.is_set():
                server.handle_request()

    def _bind(self) -> "_Server | None":
        said = False
        while not self._stop.is_set():
            try:
                return _Server((settings.PROBE_HOST, settings.PROBE_PORT), self._answer)
            except OSError as error:
                if not said:
                    logger.warning("probe_port_taken", extra={"error": str(error)})
                    said = True
                self._stop.wait(BIND_RETRY_SECONDS)
        return None

    def _answer(self, path: str, accept: str) -> Answer:
        if path == "/metrics" and self._metrics is not None:
            text = "text/plain; version=0.0.4; charset=utf-8"
            return Answer(200, self._metrics(), text, PROBE_HEADERS)
        asked = Asked(accept=accept, liveness=lambda: fleet_liveness(self._roles))
        if path == "/status":
            return answer_status_json(asked)
        if path in ANSWERS:
            return ANSWERS[path](asked)
        body = json.dumps({"error": "Not found"}).encode()
        return Answer(404, body, JSON, PROBE_HEADERS)


class _Server(ThreadingHTTPServer):
    """A thread a client, but no more than so many clients."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    timeout = 0.1  # how soon a stop is seen

    def __init__(
        self, address: tuple[str, int], answer: Callable[[str, str], Answer]
    ) -> None:
        self.answer = answer
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("probe_client_gone")


class _Handler(BaseHTTPRequestHandler):
    """One client, with a limit on each wait."""

    timeout = CLIENT_SECONDS
    protocol_version = "HTTP/1.1"
    server: _Server
    allowed: ClassVar[str] = "GET, HEAD"

    def do_GET(self) -> None:
        try:
            answer = self.server.answer(
                urlsplit(self.path).path, self.headers.get("Accept", "")
            )
        except Exception:
            logger.exception("probe_failed", extra={"path": self.path[:200]})
            body = json.dumps({"error": "The probe failed."}).encode()
            answer = Answer(503, body, JSON, (("Retry-After", "5"),))
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status, HTTPStatus(answer.status).phrase)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        """Name no version of anything."""
        return "fortheweebs"

    def log_message(self, *args: Any) -> None:
        """Write no line for each probe."""
