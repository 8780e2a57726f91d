"""The measurements of `bench.ledger` on one database, started here."""

import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ.setdefault("ROLE", "command")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")
import django

from tests import services as servers

django.setup()
logging.disable()

from django.core.management import call_command  # noqa: E402
from django.db import connection, connections, models, transaction  # noqa: E402

from ledger import audit, sequencer, services, spool  # noqa: E402
from ledger.export import write_export  # noqa: E402
from ledger.models import Artifact  # noqa: E402
from ledger.reads import prove_inclusion  # noqa: E402
from ledger.verify import verify_file  # noqa: E402
from ledger.waits import database_wait  # noqa: E402
from tests.ledger.processes import make_site, migrate, new_database  # noqa: E402
from tests.ledger.test_sequencer import SEQUENCE_FOR_EVER, TELL, WRITE  # noqa: E402
from tests.ledger.test_spool import _servers as stopped_servers  # noqa: E402
from tests.ledger.test_spool import _signal_all as signal_all  # noqa: E402

SOAK = "--soak" in sys.argv
VENDOR = connection.vendor
PASSES = 9
CLOCK = time.perf_counter
TRIP = {
    "type": "breaker_trip",
    "source": "circuit_breaker",
    "subject": "breaker:openai",
}
DETAILS = {"old": "CLOSED", "new": "OPEN", "reason": "5 failures", "open_for_s": 60}


class Bare(models.Model):
    """The artifact's columns and indexes without guards: what a plain create costs."""

    event_id = models.UUIDField(unique=True)
    at = models.DateTimeField(db_index=True)
    type = models.CharField(max_length=40)
    source = models.CharField(max_length=40)
    node = models.CharField(max_length=64)
    subject = models.CharField(max_length=80, blank=True)
    body = models.TextField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        app_label = "ledger"
        indexes = [
            models.Index(fields=["source"], name="bench_bare_source"),
            models.Index(fields=["type", "id"], name="bench_bare_type"),
            models.Index(fields=["subject", "id"], name="bench_bare_subject"),
            models.Index(fields=["hash"], name="bench_bare_hash"),
        ]

    def __str__(self) -> str:
        return self.subject


class Business(models.Model):
    """Some row of somebody's business."""

    name = models.CharField(max_length=80)
    value = models.IntegerField()

    class Meta:
        app_label = "ledger"

    def __str__(self) -> str:
        return self.name


def say(what: str, target: str, measured: str, *, ok: bool) -> None:
    print(f"{what}, {VENDOR} | {target} | {measured} | {'ok' if ok else 'missed'}")
    sys.stdout.flush()


def ratio(
    what: str, limit: float, ours: Any, floor: Any, *, passes: int = PASSES
) -> None:
    """Let both take turns; print the median of ours over the median of the floor."""
    ours()
    floor()  # warm
    pairs = [(timed(ours), timed(floor)) for _ in range(passes)]
    over = statistics.median(a for a, _ in pairs)
    value = over / statistics.median(b for _, b in pairs)
    say(what, f"<= {limit}", f"{value:.2f}", ok=value <= limit)


def timed(run: Callable[[], object]) -> float:
    started = CLOCK()
    run()
    return CLOCK() - started


def by_processor() -> None:
    """Measure processor time from here on: what computes alone, whatever else runs."""
    globals()["CLOCK"] = time.process_time


def by_wall() -> None:
    globals()["CLOCK"] = time.perf_counter


BODY = json.dumps(
    {**TRIP, "details": DETAILS, "id": str(uuid.uuid4()), "v": 1, "x": "y" * 60}
)
HASH = sha256(BODY.encode()).digest()


def bare_row() -> Bare:
    return Bare(
        event_id=uuid.uuid4(),
        at=datetime.now(UTC),
        node="web-1",
        body=BODY,
        hash=HASH,
        **TRIP,
    )


# -- Appends -----------------------------------------------------------------------
def record() -> None:
    for _ in range(200):
        services.record(**TRIP, **DETAILS)


def bare() -> None:
    for _ in range(200):
        bare_row().save(force_insert=True)


def bench_appends() -> None:
    def record_many() -> None:
        services.record_many({**TRIP, **DETAILS} for _ in range(1000))

    def bulk() -> None:
        Bare.objects.bulk_create(bare_row() for _ in range(1000))

    def business(*, audited: bool) -> None:
        # The sequencer passes once a second; a thousand rows are less than a second's.
        for number in range(1000):
            with transaction.atomic():
                Business.objects.create(name="x", value=number)
                if audited:
                    services.record(**TRIP, **DETAILS)
        if audited:
            sequencer.sequence()

    ratio("record() / bare create", 1.15, record, bare)
    ratio("bulk record of 1,000 / bulk_create", 1.3, record_many, bulk)
    sequencer.sequence_all()
    limit = 1.42 if VENDOR == "postgresql" else 1.8
    ratio(
        "business create + record() + sequencing / bare create",
        limit,
        lambda: business(audited=True),
        lambda: business(audited=False),
        passes=5,
    )


def bench_emit() -> None:
    path = Path(os.environ["DATA_DIR"]) / "floor"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    out = os.open(path, flags)
    encode = json.JSONEncoder(
        ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode
    body = {**TRIP, "v": 1, "id": str(uuid.uuid4()), "node": "web-1", "actor": ""}
    body |= {"at": "2026-11-24T03:12:11.402881Z", "details": DETAILS}

    def floor() -> None:
        for _ in range(1000):
            data = encode(body).encode()
            digest = sha256(b"\0" + data).hexdigest().encode()
            os.write(out, b'{"sha256":"%b","body":%b}\n' % (digest, data))

    def emit() -> None:
        for _ in range(1000):
            services.emit(**TRIP, **DETAILS)

    by_processor()
    with spool.held():
        ratio("emit() / encode + sha256 + one write", 1.5, emit, floor, passes=31)
        spool.close()
    by_wall()
    os.close(out)
    path.unlink()
    for left in Path(os.environ["DATA_DIR"]).glob("spool/*.jsonl"):
        left.unlink()


# -- Many writers ------------------------------------------------------------------
def writers(write: Callable[[], object], seconds: float, count: int = 16) -> int:
    """Let processes write for some seconds; return how many rows they committed."""
    for one in connections.all(initialized_only=True):
        one.close()
        one.close_pool() if hasattr(one, "close_pool") else None
    readers = []
    for _ in range(count):
        reader, writer = os.pipe()
        if os.fork() == 0:
            rows, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                write()
                rows += 1
            os.write(writer, str(rows).encode())
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    total = sum(int(os.read(reader, 20) or b"0") for reader in readers)
    for reader in readers:
        os.close(reader)
        os.wait()
    return total


def in_business(write: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with transaction.atomic():
            write()
            time.sleep(0.02)

    return run


def with_sequencer(run: Callable[[], int]) -> int:
    """Run while a process of its own sequences every second."""
    code = (
        "import django; django.setup(); import logging, time; logging.disable();"
        "from ledger import sequencer\nwhile True: sequencer.sequence(); time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ) as process:
        time.sleep(2)
        try:
            return run()
        finally:
            process.kill()


def bench_writers() -> None:
    if VENDOR != "postgresql":
        return
    passes = 5 if SOAK else 3

    def one() -> None:
        services.record(**TRIP, **DETAILS)

    def plain() -> None:
        bare_row().save(force_insert=True)

    for what, target, wrap in (
        ("16 writers: record() with the sequencer / bare create", 0.80, lambda x: x),
        ("16 writers in 20 ms transactions / bare", 0.95, in_business),
    ):
        rates = []
        for _ in range(passes):
            ours = with_sequencer(lambda wrap=wrap: writers(wrap(one), 2))
            rates.append(ours / writers(wrap(plain), 2))
        value = statistics.median(rates)
        say(what, f">= {target}", f"{value:.2f}", ok=value >= target)
    sequencer.sequence_all()


def bench_lag() -> None:
    """Record at 1,000 a second with a pass each second; ask when each was placed."""
    seconds = 60 if SOAK else 8
    lags: list[float] = []
    stop = threading.Event()
    sequencer.sequence_all()
    pending: list[tuple[float, int]] = []

    def sequence() -> None:
        while not stop.is_set():
            with database_wait(None):
                before = list(pending)
                sequencer.sequence(stragglers=False)
            now = time.monotonic()
            for at, _ in before:
                lags.append(now - at)
            del pending[: len(before)]
            stop.wait(1)
        connections.close_all()

    thread = threading.Thread(target=sequence)
    thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        services.record_many({**TRIP, **DETAILS} for _ in range(50))
        pending.append((started, 50))
        time.sleep(max(0.0, 0.05 - (time.monotonic() - started)))
    stop.set()
    thread.join()
    value = statistics.quantiles(lags, n=100)[98]
    say("p99 lag at 1,000 a second", "<= 2 s", f"{value:.1f} s", ok=value <= 2)


# -- Verification ------------------------------------------------------------------
def fill(size: int) -> None:
    have = Artifact.objects.count()
    for _ in range(have, size, 5000):
        services.record_many({**TRIP, **DETAILS} for _ in range(5000))
        sequencer.sequence()
    sequencer.sequence_all()


def bench_verify() -> None:
    size = 1_048_576 if SOAK else 150_000
    fill(size)
    size = sequencer.tree.size()
    bodies = [
        body.encode()
        for body in Artifact.objects.values_list("body", flat=True)[:50_000]
    ]

    def floor() -> None:
        for body in bodies:
            sha256(b"\0" + body).digest()

    def rate(run: Callable[[], object]) -> tuple[float, float]:
        """Return entries per second as a share of leaf hashing in memory."""
        best = min(timed(floor) for _ in range(5)) / len(bodies)
        took = min(timed(run) for _ in range(3))
        return best / (took / size), took

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.jsonl"
        write_export(path)

        # One process by its processor time; leaves and nodes alone come to about 0.53.
        for jobs, clock in ((1, by_processor), (2, by_wall)):

            def export(jobs: int = jobs) -> None:
                assert verify_file(path, jobs=jobs).ok

            clock()
            share, took = rate(export)
            say(
                f"verify an export of {size:,}, jobs={jobs} / leaf hashing",
                ">= 0.5",
                f"{share:.2f} ({took:.1f} s)",
                ok=share >= 0.5,
            )
    target = 0.30 if VENDOR == "sqlite" else 0.19

    def look() -> None:
        verdict = audit.look(jobs=2)
        assert verdict.ok, verdict.first

    share, full = rate(look)
    say(
        f"verify the database, {size:,}, 2 processes / leaf hashing",
        f">= {target}",
        f"{share:.2f} ({full:.1f} s)",
        ok=share >= target,
    )
    services.record_many({**TRIP, **DETAILS} for _ in range(1000))
    sequencer.sequence_all()
    took = min(timed(lambda: audit.look(since=size)) for _ in range(3))
    say(
        "verify 1,000 new / everything",
        "<= 0.1",
        f"{took / full:.3f}",
        ok=took <= full / 10,
    )


def bench_proof() -> None:
    size = sequencer.tree.size()
    chance = random.Random(1)
    places = [chance.randrange(size) for _ in range(200)]
    prove_inclusion(places[0])
    took = statistics.median(timed(lambda x=x: prove_inclusion(x)) for x in places)
    say(
        f"inclusion proof from tiles, {size:,}",
        "<= 1.5 ms",
        f"{took * 1000:.2f} ms",
        ok=took <= 0.0015,
    )


def soak_writers() -> None:
    """Six processes, a thousand appends each, rollbacks, a sequencer that is killed."""
    with tempfile.TemporaryDirectory() as folder:
        site = make_site(Path(folder), new_database(Path(folder)))
        migrate(site)
        with (
            site.start(SEQUENCE_FOR_EVER) as doomed,
            site.start(WRITE % 1000 + TELL) as writing,
            site.start(SEQUENCE_FOR_EVER) as other,
        ):
            time.sleep(3)
            doomed.kill()
            told = json.loads(writing.communicate(300)[0].splitlines()[-1])
            other.kill()
    good = told["dense"] and told["exit"] == 0 and told["stored"] == 6000
    say("6 writers x 1,000 with rollbacks", "dense, whole", str(told), ok=good)


def soak_outage() -> None:
    """Emit for 80 s, 60 of them with PostgreSQL stopped; count what is there."""
    url, stop = servers.start_postgres()
    with tempfile.TemporaryDirectory() as folder:
        site = make_site(Path(folder), url)
        migrate(site)
        with site.start(EMIT_FOR_80_S) as process:
            time.sleep(10)
            stopped = stopped_servers(url)
            signal_all(stopped, signal.SIGSTOP)
            time.sleep(60)
            signal_all(stopped, signal.SIGCONT)
            told = process.communicate(300)[0].strip()
    stop()
    emitted, stored = map(int, told.split())
    good = emitted == stored
    say("60 s outage, emitted / stored", "equal", f"{emitted} / {stored}", ok=good)


EMIT_FOR_80_S = """
    import logging, time
    from ledger import spool
    from ledger.models import Artifact
    from ledger.services import emit
    logging.disable()
    end, count = time.monotonic() + 80, 0
    while time.monotonic() < end:
        emit(type="restart", source="watchdog")
        count += 1
        time.sleep(0.01)
    deadline = time.monotonic() + 60
    while spool.waiting_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    print(count, Artifact.objects.values("event_id").distinct().count())
"""


# -- Rivals ------------------------------------------------------------------------
def bench_rivals() -> None:
    python = os.environ.get("LEDGER_RIVALS")
    if not python:
        return
    command = [python, str(Path(__file__).parent / "rival" / "audited.py")]
    done = subprocess.run(
        command, env=os.environ, text=True, capture_output=True, check=False
    )
    for line in done.stdout.splitlines():
        name, value = line.split()
        print(f"rival: create with {name} / bare create, {VENDOR} | - | {value} | ok")
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)


def main() -> int:
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Bare)
        editor.create_model(Business)
    try:
        for run in (
            bench_appends,
            bench_rivals,
            bench_emit,
            bench_writers,
            bench_lag,
            bench_verify,
            bench_proof,
            *((soak_writers, soak_outage) if SOAK else ()),
        ):
            run()
    finally:
        connections.close_all()
        servers.pytest_unconfigure(None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
