"""Clients that send half a request, keep silent, never close, or ask too much."""

import socket
import struct
import threading
import time

import pytest
from gunicorn.workers import gthread

from health.careless import close_without_lingering, limit_listener
from health.slots import read_slots
from tests.server import get, wait_for

HALF_A_BODY = (
    b"POST /api/bug-fixer/report HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def ask_live(site, times: int = 20) -> list[float]:
    """Ask live again and again; return how long each answer took."""
    seconds = []
    for _ in range(times):
        reply = site.get("/api/health/live", timeout=5)
        assert reply.status == 200
        seconds.append(reply.seconds)
    return seconds


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /api/health/live HTTP/1.1\r\nHost: x\r\nX-Half",
        HALF_A_BODY,
    ],
    ids=["silent", "header", "body"],
)
def test_24_half_sent_requests_silence_no_port(site, half):
    sockets = [connect(site.port) for _ in range(24)]
    try:
        for sock in sockets:
            sock.sendall(half)

        seconds = ask_live(site)
        on_probe_port = site.probe("/api/health/live")
    finally:
        for sock in sockets:
            sock.close()

    assert max(seconds) < 4.5
    assert sorted(seconds)[len(seconds) // 2] < 0.5
    assert on_probe_port.status == 200


def test_clients_that_never_close_stop_no_worker(site):
    sockets = [connect(site.port) for _ in range(8)]
    try:
        for sock in sockets:
            sock.sendall(
                b"GET /api/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")

        seconds = ask_live(site)
    finally:
        for sock in sockets:
            sock.close()

    assert max(seconds) < 1.9


def test_every_thread_busy_leaves_the_probes_and_refuses_the_rest(own_site):
    site = own_site(WEB_WORKERS="1", WEB_THREADS="2")
    site.start_watchdog("--period", "0.5")
    site.start_web("tests.health.slow_site")
    site.wait_ready()
    slow = [
        threading.Thread(target=get, args=(site.port, "/slow"), kwargs={"timeout": 9})
        for _ in range(2)
    ]
    for thread in slow:
        thread.start()

    # Nothing else is asked before: it would take a place from a slow one.
    run_dir = site.data / "run"
    wait_for(lambda: any(slot.in_flight == 2 for slot in read_slots(run_dir)), 3.5)
    refused = site.get("/fast")
    seconds = ask_live(site)
    ready = site.get("/api/health/ready")
    for thread in slow:
        thread.join(9)
    let_in = site.get("/fast")

    assert refused.status == 503
    assert refused.json == {"error": "Every thread of this worker is busy; try again."}
    assert refused.headers["retry-after"] == "1"
    assert max(seconds) < 1.9
    assert ready.status == 200
    assert let_in.body == b"fast"


def chunks(body: bytes):
    yield from (body[i : i + 1000] for i in range(0, len(body), 1000))


def test_a_chunked_body_arrives_whole(own_site):
    site = own_site()
    site.start_web("tests.health.slow_site")
    body = b"x" * 12345

    reply = site.get("/echo", method="POST", body=chunks(body))

    assert reply.body == b"12345"


def test_a_chunked_body_over_the_limit_names_the_limit(own_site):
    site = own_site()
    site.start_web("tests.health.slow_site")

    reply = site.get("/echo", method="POST", body=chunks(b"x" * (4 * 2**20 + 1)))

    assert reply.status == 413
    assert reply.json["limit"] == 4194304
    assert "4194304 bytes" in reply.json["error"].replace(",", "")


def test_an_accepted_socket_inherits_the_limits():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        limit_listener(listener)
        with connect(listener.getsockname()[1]) as client:
            client.sendall(b"x")
            accepted, _ = listener.accept()

    with accepted:
        size = struct.calcsize("ll")
        receive = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, size)
        send = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, size)
    assert struct.unpack("ll", receive)[0] == 2
    assert struct.unpack("ll", send)[0] == 5


class Connection:
    """What gunicorn's TConn is to the function that replaces its close."""

    def __init__(self, sock):
        self.sock = sock


def test_closing_waits_for_no_client_and_ends_when_the_client_does():
    ours, client = socket.socketpair()
    began = time.monotonic()

    close_without_lingering(Connection(ours), graceful=True)
    took = time.monotonic() - began
    still_open = ours.fileno() >= 0
    client.close()

    assert took < 1.5
    assert still_open
    wait_for(lambda: ours.fileno() == -1, 2, "the linger thread")


def test_a_client_that_never_closes_is_dropped_after_2_seconds():
    ours, client = socket.socketpair()

    with client:
        close_without_lingering(Connection(ours), graceful=True)

        wait_for(lambda: ours.fileno() == -1, 4, "the linger thread")


def test_the_pinned_gunicorn_still_has_what_is_replaced(site):
    """`health.careless` replaces two private names; a new gunicorn must be looked at."""
    assert isinstance(gthread.DEFAULT_WORKER_DATA_TIMEOUT, float)
    assert gthread.TConn.close.__code__.co_varnames[:2] == ("self", "graceful")
    source = gthread.ThreadWorker.finish_request.__code__.co_names
    assert "close" in source
    assert (
        "DEFAULT_WORKER_DATA_TIMEOUT" in gthread.ThreadWorker.handle.__code__.co_names
    )
