"""Probes beside a bare Django view and django-health-check, in calm and in trouble.

Run with `python -m bench.probes`; `--soak` makes the outages ten minutes long. Each
line is `what | target | measured | ok or missed`.
"""

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.server import ROOT, Installation, free_port, get, wait_for

LIVE, READY = "/api/health/live", "/api/health/ready"
HEALTH_CHECK = "/db?format=json"
ROUNDS, REQUESTS = 7, 150
LOOPS = 12
OUTAGE = 600.0 if "--soak" in sys.argv else 15.0
RIVALS = ROOT / "bench" / ".venv"


def report(what: str, target: str, measured: str, *, ok: bool) -> None:
    """Print one line."""
    print(f"{what} | {target} | {measured} | {'ok' if ok else 'missed'}", flush=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


# -- Asking ------------------------------------------------------------------------
def timed(port: int, path: str, count: int) -> list[float]:
    """Ask one path again and again over one kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        seconds.append(time.perf_counter() - began)
        assert answer.status == 200, f"{path} answered {answer.status}"
    connection.close()
    return seconds


def sample(port: int, paths: list[str], seconds: float) -> dict[str, list[Any]]:
    """Ask the paths in turn for so long, a new connection each; (status, seconds)."""
    found: dict[str, list[Any]] = {path: [] for path in paths}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in paths:
            reply = get(port, path, timeout=5)
            found[path].append((reply.status, reply.seconds))
        time.sleep(0.01)
    return found


def _loops(port: int, path: str, count: int, stop: Any) -> None:
    """Closed loops in a process of their own: a new connection a request."""

    def loop() -> None:
        while not stop.is_set():
            if get(port, path, timeout=2).status != 200:
                time.sleep(0.2)

    threads = [threading.Thread(target=loop) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def load(port: int, path: str = "/read", loops: int = LOOPS) -> Iterator[None]:
    """Put a load on the server while the block runs."""
    stop = multiprocessing.Event()
    halves = (loops // 2, loops - loops // 2)
    processes = [
        multiprocessing.Process(target=_loops, args=(port, path, half, stop))
        for half in halves
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in processes:
            process.join(10)


# -- Calm --------------------------------------------------------------------------
def rival_python() -> Path:
    """Return the rivals' Python, in an environment of its own made on first use."""
    python = RIVALS / "bin" / "python"
    if not (RIVALS / "bin" / "gunicorn").exists():
        subprocess.run([sys.executable, "-m", "venv", str(RIVALS)], check=True)
        requirements = ROOT / "bench" / "requirements.txt"
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "-r", str(requirements)], check=True
        )
    return python


@contextlib.contextmanager
def rival(site: Installation) -> Iterator[int]:
    """Serve django-health-check on the same PostgreSQL, with as many threads."""
    port = free_port()
    url = site.environment["DATABASE_URL"]
    number = url.rpartition("port=")[2]
    command = [str(rival_python()), "-m", "gunicorn", "--no-control-socket"]
    command += ["-k", "gthread", "-w", "2", "--threads", "12", "--keep-alive", "5"]
    command += ["-b", f"127.0.0.1:{port}", "bench.rival.site:application"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PGPORT": number}
    process = subprocess.Popen(
        command,  # Not in ROOT: it would read our gunicorn.conf.py.
        cwd=ROOT / "bench",
        env=environ,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(
            lambda: get(port, HEALTH_CHECK).status == 200, 15, "django-health-check"
        )
        yield port
    finally:
        process.terminate()
        process.wait(10)


def calm(site: Installation) -> None:
    """Compare medians of interleaved rounds, no other load."""
    with rival(site) as other:
        ways: dict[str, Callable[[], list[float]]] = {
            "live": lambda: timed(site.port, LIVE, REQUESTS),
            "ready": lambda: timed(site.port, READY, REQUESTS),
            "bare": lambda: timed(site.port, "/bare", REQUESTS),
            "health check": lambda: timed(other, HEALTH_CHECK, REQUESTS // 5),
        }
        medians: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                medians[name].append(statistics.median(way()))
    p50 = {name: statistics.median(values) for name, values in medians.items()}
    for name in ("live", "ready"):
        share = p50[name] / p50["bare"]
        report(
            f"{name} p50 beside a bare view", "<= 1x", f"{share:.2f}x", ok=share <= 1
        )
        times = p50["health check"] / p50[name]
        what = f"{name} beside django-health-check's Database check"
        report(what, ">= 10x faster", f"{times:.1f}x", ok=times >= 10)


# -- Outages -----------------------------------------------------------------------
def outage(site: Installation, name: str, stop: Callable[[], None]) -> None:
    """Stop a service by signal under load; compare with the bare view before it."""
    with load(site.port):
        wait_for(lambda: get(site.port, "/read").status == 200, 5, "the load")
        time.sleep(1)
        before = sample(site.port, ["/bare"], 5)["/bare"]
        stop()
        began = time.monotonic()
        during: dict[str, list[Any]] = {LIVE: [], READY: []}
        verdict = None
        while time.monotonic() - began < OUTAGE:
            for path, found in sample(site.port, [LIVE, READY], 0.2).items():
                during[path] += found
            if verdict is None and during[READY][-1][0] == 503:
                verdict = time.monotonic() - began
        site.resume_services()
        began = time.monotonic()
        wait_for(lambda: site.get(READY).status == 200, 20, "recovery")
        back = time.monotonic() - began
    bare = p99([seconds for _, seconds in before])
    for path in (LIVE, READY):
        measured = p99([seconds for _, seconds in during[path]])
        what = f"{name} stopped, 12 loops: {path.rsplit('/')[-1]} p99"
        text = f"{measured / bare:.2f}x ({ms(measured)} : {ms(bare)})"
        report(what, "<= 3x a bare view's", text, ok=measured <= 3 * bare)
    lost = sum(status not in {200, 503} for status, _ in during[LIVE] + during[READY])
    report(f"{name} stopped: probes without an answer", "0", str(lost), ok=lost == 0)
    told = "never" if verdict is None else f"{verdict:.1f} s"
    report(f"{name} stopped: verdict", "<= 7 s", told, ok=(verdict or 99) <= 7)
    report(f"{name} goes on: ready again", "<= 7 s", f"{back:.1f} s", ok=back <= 7)


def outages(site: Installation) -> None:
    """Stop PostgreSQL, then Redis; nothing may be restarted for it."""
    before = site.slots("web")
    outage(site, "PostgreSQL", site.stop_postgres)
    outage(site, "Redis", site.stop_redis)
    after = site.slots("web")
    same = "the same" if before == after else "others"
    report("workers after both outages", "the same", same, ok=before == after)


# -- Busy, careless ----------------------------------------------------------------
def busy(site: Installation) -> None:
    """Hold every admitted thread, then freeze every worker: the probe port answers."""
    with load(site.port, "/sleep?seconds=1", 40):
        time.sleep(2)
        found = sample(site.probe_port, [LIVE], 4)[LIVE]
        main = sample(site.port, [LIVE], 4)[LIVE]
    report_port("every thread busy", found, 0.05, "probe port")
    report_port("every thread busy", main, 1.5, "main port")
    workers = site.children("web")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    found = sample(site.probe_port, [LIVE], 4)[LIVE]
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    report_port("every worker frozen", found, 0.05, "probe port")


def report_port(what: str, found: list[Any], limit: float, port: str) -> None:
    """Report the p99 of live on one port."""
    measured = p99([seconds for _, seconds in found])
    answered = all(status in {200, 503} for status, _ in found)
    name = f"{what}: live p99 on the {port}"
    report(
        name,
        f"<= {limit * 1000:.0f} ms",
        ms(measured),
        ok=answered and measured <= limit,
    )


HALF_HEADER = b"GET /bare HTTP/1.1\r\nHost: localhost\r\nX-Half"
HALF_BODY = b"POST /bare HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{"
WHOLE = b"GET /bare HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def careless(site: Installation) -> None:
    """Send half of a request 24 times, or read the answer and never close."""
    for what, half, count in (
        ("24 half-sent headers", HALF_HEADER, 24),
        ("24 half-sent bodies", HALF_BODY, 24),
        ("24 silent sockets", b"", 24),
        ("8 clients that never close", WHOLE, 8),
    ):
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                address = ("127.0.0.1", site.port)
                sock = stack.enter_context(socket.create_connection(address))
                sock.sendall(half)
            main = sample(site.port, [LIVE], 6)[LIVE]
            port = sample(site.probe_port, [LIVE], 1)[LIVE]
        report_port(what, main, 1.5, "main port")
        report_port(what, port, 0.05, "probe port")


# -- The watchdog gone -------------------------------------------------------------
class Asking:
    """Ask both ports ready, again and again, on a thread."""

    def __init__(self, site: Installation) -> None:
        self.site, self.main, self.silence = site, [], 0.0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_main),
            threading.Thread(target=self._ask_port),
        ]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _ask_main(self) -> None:
        while not self._stop.wait(0.05):
            self.main.append(self.site.get(READY).status)

    def _ask_port(self) -> None:
        heard = time.monotonic()
        while not self._stop.wait(0.05):
            if self.site.probe(LIVE, timeout=0.5).status:
                heard = time.monotonic()
            self.silence = max(self.silence, time.monotonic() - heard)


def watchdog_gone(site: Installation) -> None:
    """Kill the watchdog, then freeze it; a worker stands in both times."""
    for what, number, limit in (
        ("killed", signal.SIGKILL, 7.0),
        ("frozen", signal.SIGSTOP, 12.0),
    ):
        part = site.parts["watchdog"]
        with Asking(site) as asking:
            part.send_signal(number)
            wait_for(lambda pid=part.pid: holder(site) != pid, 20, "a stand-in")
            time.sleep(3)
            part.wait(5)
            site.start_watchdog("--mode", "enforce")
            new = site.parts["watchdog"].pid
            wait_for(lambda pid=new: holder(site) == pid, 20, "the watchdog")
            time.sleep(2)
        bad = sum(status != 200 for status in asking.main)
        said = f"{bad} of {len(asking.main)}"
        report(f"watchdog {what}: 503 on the main port", "0", said, ok=bad == 0)
        report(
            f"watchdog {what}: probe port silent",
            f"<= {limit:.0f} s",
            f"{asking.silence:.1f} s",
            ok=asking.silence <= limit,
        )


def holder(site: Installation) -> int:
    text = (site.data / "run" / "snapshot.json").read_text()
    return int(json.loads(text)["holder"])


def main() -> None:
    """Run every part on one installation with PostgreSQL."""
    settings = "bench.bare_settings"
    with Installation(postgres=True, DJANGO_SETTINGS_MODULE=settings) as site:
        site.start_watchdog("--mode", "enforce")
        site.start_web("bench.bare")
        site.wait_ready()
        for part in (calm, outages, busy, careless, watchdog_gone):
            part(site)
            wait_for(lambda: site.get(READY).status == 200, 20, "calm again")


if __name__ == "__main__":
    main()
