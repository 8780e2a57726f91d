"""The spool: nothing emitted is lost, nothing is stored twice."""

import fcntl
import json
import os
import signal
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psutil
import pytest

from ledger import spool
from ledger.entry import make_body, make_frame, stamp
from ledger.models import Artifact
from ledger.services import emit
from tests.ledger.processes import make_site, migrate, wait_until
from tests.services import start_postgres

RESTART = {"type": "restart", "source": "watchdog"}


def make_line(number: int = 0) -> bytes:
    frame = make_frame("restart", "watchdog", "process:web-1/1", "", "elsewhere")
    body = make_body(frame, uuid4(), stamp(datetime.now(UTC)), {"number": number})
    return spool.make_line(body)


def leave_file(folder, *lines: bytes):
    """Leave a spool file as a process that died did."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid4().hex[:8]}-4711.jsonl"
    path.write_bytes(b"".join(lines))
    return path


# -- Lines and files ---------------------------------------------------------------
def test_a_line_is_json_with_its_own_hash(settings):
    event = emit(**RESTART, number=1)

    (path,) = settings.SPOOL_DIR.glob("*.jsonl")
    row = json.loads(path.read_bytes())
    assert row["body"]["id"] == str(event)
    assert spool.read_line(path.read_bytes().rstrip()).hash.hex() == row["sha256"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.django_db
def test_a_file_that_was_shipped_starts_again(settings):
    for number in range(3):
        emit(**RESTART, number=number, durable=number == 1)
    before = spool.waiting_bytes()

    shipped = spool.ship()

    assert (shipped, before > 0, spool.waiting_bytes()) == (3, True, 0)
    assert [row.details["number"] for row in Artifact.objects.all()] == [0, 1, 2]


@pytest.mark.django_db
def test_the_file_of_a_dead_process_is_adopted_and_removed(settings):
    path = leave_file(settings.SPOOL_DIR, *map(make_line, range(3)))

    adopted = spool.adopt()

    assert (adopted, path.exists(), Artifact.objects.count()) == (3, False, 3)


@pytest.mark.django_db
def test_the_file_of_a_living_process_is_left_alone(settings):
    path = leave_file(settings.SPOOL_DIR, make_line())

    with path.open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        while_alive = spool.adopt()
    after_death = spool.adopt()

    assert (while_alive, after_death) == (0, 1)


@pytest.mark.django_db
def test_a_torn_last_line_is_reported_and_the_rest_is_kept(settings, caplog):
    whole, torn = make_line(1), make_line(2)
    path = leave_file(settings.SPOOL_DIR, whole, torn[:-20])
    before = spool.counts()["torn"]

    spool.adopt()

    assert [row.details["number"] for row in Artifact.objects.all()] == [1]
    assert spool.counts()["torn"] == before + 1
    assert "spool_line_torn" in caplog.text
    assert not path.exists()


@pytest.mark.django_db
def test_a_line_that_was_changed_is_reported_and_not_stored(settings):
    lines = [make_line(1), make_line(2).replace(b"restart", b"recover"), make_line(3)]
    leave_file(settings.SPOOL_DIR, *lines)

    spool.adopt()

    assert [row.details["number"] for row in Artifact.objects.all()] == [1, 3]


@pytest.mark.django_db
def test_a_row_the_database_refuses_holds_up_no_other(settings):
    refused = make_line(2).replace(b'"subject":"process:web-1/1"', b'"subject":null')
    body = refused[len(b'{"sha256":"') + 64 + len(b'","body":') : -2]
    refused = spool.make_line(body)
    leave_file(settings.SPOOL_DIR, make_line(1), refused, make_line(3))

    spool.adopt()

    assert [row.details["number"] for row in Artifact.objects.all()] == [1, 3]
    assert (settings.SPOOL_DIR / "refused.lines").read_bytes() == refused


@pytest.mark.django_db
def test_each_line_goes_to_the_log_before_it_is_stored(settings, caplog):
    event = emit(**RESTART)

    spool.ship()

    (shipped,) = [r for r in caplog.records if "artifact" in str(r.msg)]
    assert str(event) in str(shipped.msg)


# -- Processes ---------------------------------------------------------------------
def test_nothing_is_lost_or_doubled_when_processes_are_killed(site, tmp_path):
    acks = [tmp_path / f"acks-{number}" for number in range(3)]
    processes = []
    for ack in acks:
        process = site.start(
            f"""
            import os
            from ledger.services import emit
            out = os.open({str(ack)!r}, os.O_WRONLY | os.O_CREAT)
            while True:
                event = emit(type="restart", source="watchdog")
                os.write(out, event.bytes)
            """
        )
        processes.append(process)
    for process, ack in zip(processes, acks, strict=True):
        with process:
            wait_until(lambda ack=ack: ack.exists() and ack.stat().st_size > 16 * 2000)
            process.kill()
    events = {
        UUID(bytes=data[at : at + 16])
        for data in (ack.read_bytes() for ack in acks)
        for at in range(0, len(data), 16)
    }

    site.run("from ledger import spool; spool.adopt()")

    stored = site.run(
        """
        from ledger.models import Artifact
        for event in Artifact.objects.filter(type="restart").values_list("event_id"):
            print(event[0])
        """
    ).split()
    assert len(stored) == len(set(stored))
    assert events <= set(map(UUID, stored))
    assert len(stored) - len(events) <= len(acks)  # killed between the two writes
    assert not list((site.data / "spool").glob("*.jsonl"))


def test_a_forked_child_has_a_file_of_its_own_and_frees_its_parents(site):
    process = site.start(
        """
        import os, sys, time
        from ledger import spool
        from ledger.services import emit
        with spool.held():
            emit(type="hold", source="operator", who="parent")
            if os.fork() == 0:
                emit(type="hold", source="operator", who="child")
                print(os.getpid(), flush=True)
                time.sleep(60)
            time.sleep(60)
        """
    )
    with process:
        child = int(process.stdout.readline())
        process.kill()
        process.wait()

        site.run("from ledger import spool; spool.adopt()")
        with_child_alive = _who(site)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(child) or _is_zombie(child))
        site.run("from ledger import spool; spool.adopt()")

    assert with_child_alive == ["parent"]
    assert _who(site) == ["parent", "child"]


def test_the_shipper_ends_when_idle_and_starts_again(site):
    out = site.run(
        """
        import threading, time
        from ledger import spool
        from ledger.models import Artifact
        from ledger.services import emit
        spool.IDLE = 0.2
        def threads():
            return [t for t in threading.enumerate() if t.name == "ledger-shipper"]
        for number in range(2):
            emit(type="deploy", source="operator", number=number)
            deadline = time.monotonic() + 10
            while threads() and time.monotonic() < deadline:
                time.sleep(0.02)
            print(len(threads()), Artifact.objects.filter(type="deploy").count())
        """
    )

    assert out.splitlines() == ["0 1", "0 2"]


def test_a_full_disk_keeps_the_newest_thousand_in_memory(site):
    out = site.run(
        """
        import resource, signal
        from ledger import spool
        from ledger.models import Artifact
        from ledger.services import emit
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with spool.held():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
            for number in range(1500):
                emit(type="degrade", source="chaos", number=number)
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            emit(type="degrade", source="chaos", number=1500)
            spool.ship()
        rows = Artifact.objects.filter(source="chaos")
        numbers = sorted(row.details["number"] for row in rows)
        print(len(numbers), spool.counts()["dropped"], spool.counts()["torn"])
        print(numbers[-1001:] == list(range(500, 1501)))
        """
    )

    stored, dropped, torn = map(int, out.split()[:3])
    assert stored + dropped == 1501
    assert (dropped > 0, torn) == (True, 0)
    assert out.endswith("True")


def test_lines_emitted_while_the_database_is_stopped_arrive_afterwards(tmp_path):
    url, stop = start_postgres()
    try:
        site = make_site(tmp_path, url)
        migrate(site)
        with site.start(_EMIT_THROUGH_AN_OUTAGE) as process:
            assert _said(process) == "shipped\n"
            servers = _servers(url)
            _signal_all(servers, signal.SIGSTOP)
            try:
                during = _said(process)
            finally:
                _signal_all(servers, signal.SIGCONT)
            after = _said(process)
            process.wait(10)
    finally:
        stop()

    assert during == "emitted 200, waited: True\n"
    assert after == "300 stored, 300 different\n"


def _said(process):
    """Return the next line that is not one of the log, which shares stdout."""
    while (line := process.stdout.readline()).startswith("{"):
        pass
    return line


_EMIT_THROUGH_AN_OUTAGE = """
    import time
    from ledger import spool
    from ledger.models import Artifact
    from ledger.services import emit
    spool.DATABASE_WAIT, spool.RETRY = 0.5, 0.1
    def until(happened, seconds=8):
        deadline = time.monotonic() + seconds
        while not happened() and time.monotonic() < deadline:
            time.sleep(0.02)
    for number in range(100):
        emit(type="restart", source="watchdog")
    until(lambda: spool.counts()["shipped"] == 100)
    print("shipped", flush=True)
    time.sleep(0.2)
    for number in range(200):
        emit(type="recover", source="watchdog")
    until(lambda: spool.counts()["waited"])
    print("emitted 200, waited:", spool.counts()["waited"] > 0, flush=True)
    until(lambda: spool.counts()["shipped"] == 300)
    events = list(Artifact.objects.values_list("event_id", flat=True))
    print(f"{len(events)} stored, {len(set(events))} different", flush=True)
"""


def _who(site):
    return json.loads(
        site.run(
            """
            import json
            from ledger.models import Artifact
            rows = Artifact.objects.filter(type="hold").order_by("id")
            print(json.dumps([row.details["who"] for row in rows]))
            """
        )
    )


def _is_zombie(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _servers(url):
    """Return the processes of one private PostgreSQL."""
    home = url.split("host=")[1]
    (main,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if f"{home}/data" in " ".join(process.info["cmdline"] or [])
    ]
    return [main, *main.children(recursive=True)]


def _signal_all(processes, number):
    for process in processes:
        process.send_signal(number)
