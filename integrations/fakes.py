"""Loopback counterparts of the services, for tests, demos and first steps.

``python -m integrations.fakes openai --port 0`` prints the URL and serves until Ctrl-C.
Standard library only. A script of behaviours is worked off one a request, then `ok`::

    ok           the service's answer
    500          any status, with the service's own error body
    429:2        a status with Retry-After
    slow:5       the answer after 5 seconds
    trickle:5    the answer in single bytes over 5 seconds
    garbage      200, text instead of JSON
    empty        200, JSON of the wrong shape
    cut          half of the answer, then the connection is gone
    drop         the connection is gone at once
"""

import argparse
import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Body = Any


@dataclass(frozen=True, slots=True)
class Seen:
    """One request a fake was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Fake:
    """A running counterpart: its URL, what it will do, what it has seen."""

    url: str
    script: deque[str]
    requests: list[Seen] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def will(self, *behaviours: str) -> None:
        """Do these one after the other, then answer well."""
        self.script.clear()
        self.script.extend(behaviours)


def _openai(seen: Seen) -> Body:
    asked = json.loads(seen.body or b"{}")
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if seen.path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": "Hello."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked.get("model", ""),
            "choices": [choice],
            "usage": usage,
        }
    if seen.path.endswith("/responses"):
        text = {"type": "output_text", "text": "Hello.", "annotations": []}
        message = {"id": "msg_1", "type": "message", "role": "assistant"}
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": asked.get("model", ""),
            "status": "completed",
            "output": [{**message, "status": "completed", "content": [text]}],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        }
    name = seen.path.rpartition("/")[2]
    return {"id": name, "object": "model", "created": 1, "owned_by": "fake"}


def _stripe(seen: Seen) -> Body:
    if seen.path.endswith("/payment_intents"):
        return {
            "id": "pi_1",
            "object": "payment_intent",
            "amount": 1000,
            "currency": "eur",
            "status": "requires_payment_method",
        }
    return {"object": "balance", "available": [], "pending": [], "livemode": False}


def _supabase(seen: Seen) -> Body:
    return [{"id": 1, "title": "first"}] if seen.method == "GET" else []


def _coinbase(seen: Seen) -> Body:
    if seen.path.endswith("/key_permissions"):
        return {"can_view": True, "can_trade": False, "can_transfer": False}
    return {"accounts": [], "has_next": False}


def _any(seen: Seen) -> Body:
    return {"method": seen.method, "path": seen.path}


ANSWERS: dict[str, Callable[[Seen], Body]] = {
    "openai": _openai,
    "stripe": _stripe,
    "supabase": _supabase,
    "coinbase": _coinbase,
    "any": _any,
}
ERRORS: dict[str, Body] = {
    "supabase": {"message": "fake", "code": "PGRST000", "details": None, "hint": None},
}
ERROR: Body = {"error": {"message": "fake", "type": "api_error", "code": "fake"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go out apart: the second waited 40 ms for the first to be confirmed.
    disable_nagle_algorithm = True
    kind: str
    fake: Fake

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {key.lower(): value for key, value in self.headers.items()}
        path = urlsplit(self.path).path
        seen = Seen(self.command, path, headers, self.rfile.read(length))
        self.fake.requests.append(seen)
        try:
            word = self.fake.script.popleft()
        except IndexError:
            word = "ok"
        name, _, value = word.partition(":")
        if name.isdigit():
            self.fail(int(name), value)
            return
        getattr(self, f"do_{name}")(seen, float(value or 5))

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

    def fail(self, status: int, retry_after: str) -> None:
        more = {"Retry-After": retry_after} if retry_after else {}
        self.answer(status, json.dumps(ERRORS.get(self.kind, ERROR)).encode(), **more)

    def good(self, seen: Seen) -> bytes:
        return json.dumps(ANSWERS[self.kind](seen)).encode()

    def do_ok(self, seen: Seen, seconds: float) -> None:
        self.answer(200, self.good(seen))

    def do_slow(self, seen: Seen, seconds: float) -> None:
        if not self.fake.closing.wait(seconds):
            self.do_ok(seen, seconds)

    def do_trickle(self, seen: Seen, seconds: float) -> None:
        body = self.good(seen)
        self.begin(200, len(body))
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.fake.closing.wait(seconds / len(body)):
                return

    def do_garbage(self, seen: Seen, seconds: float) -> None:
        self.answer(200, b"<html>It works!</html>", kind="text/html")

    def do_empty(self, seen: Seen, seconds: float) -> None:
        self.answer(200, b"{}")

    def do_cut(self, seen: Seen, seconds: float) -> None:
        body = self.good(seen)
        self.begin(200, len(body) + 10)
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def do_drop(self, seen: Seen, seconds: float) -> None:
        self.close_connection = True

    def answer(
        self, status: int, body: bytes, kind: str = "application/json", **more: str
    ) -> None:
        self.begin(status, len(body), kind, **more)
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(
        self, status: int, length: int, kind: str = "application/json", **more: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for key, value in more.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing: a test prints what it wants to."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that left; anything else is a mistake here."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def fake_service(kind: str, *script: str, port: int = 0) -> Iterator[Fake]:
    """Serve a counterpart on a loopback port while the block runs."""
    handler = type("Handler", (_Handler,), {"kind": kind})
    server = _Server(("127.0.0.1", port), handler)
    suffix = "/v1" if kind == "openai" else ""
    fake = Fake(f"http://127.0.0.1:{server.server_address[1]}{suffix}", deque(script))
    handler.fake = fake  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve one counterpart until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m integrations.fakes")
    parser.add_argument("kind", choices=sorted(ANSWERS))
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--behave", default="", help="500,429:2,slow:5,ok: one each")
    asked = parser.parse_args()
    script = [word for word in asked.behave.split(",") if word]
    with fake_service(asked.kind, *script, port=asked.port) as fake:
        sys.stdout.write(f"{fake.url}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
