import contextlib
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.utils import timezone

from health.models import Instance
from health.tasks import VANISHED, watchdog_check
from ledger import spool
from ledger.models import Artifact
from tests.health.test_holds import make_instance
from tests.server import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def service(status: int = 200):
    """A service that answers every GET with one status."""

    class Handler(BaseHTTPRequestHandler):
        asked: list[str] = []

        def do_GET(self):
            self.asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Handler.asked
        server.shutdown()
        thread.join(5)


def told() -> list[tuple[str, str]]:
    spool.ship()
    rows = Artifact.objects.order_by("id").values_list("type", "subject")
    return [tuple(row) for row in rows]


def test_a_service_that_answers_is_told_of_never(settings):
    with service() as (url, asked):
        settings.SERVICE_URL = url
        for _ in range(4):
            assert watchdog_check() == []

    assert told() == []
    assert asked[0] == "/api/health/live"


def test_a_silent_service_is_told_of_at_the_third_strike_and_when_it_is_back(settings):
    settings.SERVICE_URL = f"http://127.0.0.1:{free_port()}"
    for _ in range(5):
        watchdog_check()
    with service() as (url, _):
        settings.SERVICE_URL = url
        watchdog_check()
        watchdog_check()

    assert told() == [("degrade", "probe:live"), ("recover", "probe:live")]


def test_a_service_that_says_503_is_unwell(settings):
    with service(503) as (url, _):
        settings.SERVICE_URL = url
        found = [watchdog_check() for _ in range(3)]

    assert found == [[], [], ["probe:live"]]


def test_two_strikes_are_forgotten_when_it_answers(settings):
    dead = f"http://127.0.0.1:{free_port()}"
    with service() as (url, _):
        for address in (dead, dead, url, dead, dead, url):
            settings.SERVICE_URL = address
            watchdog_check()

    assert told() == []


def test_an_instance_that_falls_silent_is_told_of(settings):
    make_instance("web-1", seen_at=timezone.now() - timedelta(minutes=1))
    make_instance("gone", seen_at=timezone.now() - timedelta(days=2))
    with service() as (url, _):
        settings.SERVICE_URL = url
        found = [watchdog_check() for _ in range(3)]

    assert found[-1] == ["instance:web-1"]
    assert told() == [("degrade", "instance:web-1")]


def test_an_instance_that_vanished_is_forgotten_after_a_day_unless_it_is_held(settings):
    long_ago = timezone.now() - timedelta(hours=25)
    make_instance("web-1")
    make_instance("pod-1", seen_at=long_ago)
    make_instance("drained", seen_at=long_ago, hold="drain", hold_reason="disk")
    make_instance("lapsed", seen_at=long_ago, hold="drain", hold_until=long_ago)
    with service() as (url, _):
        settings.SERVICE_URL = url
        watchdog_check()

    names = Instance.objects.order_by("name").values_list("name", flat=True)
    assert list(names) == ["drained", "web-1"]


def test_a_silent_instance_is_not_called_well_when_it_is_forgotten(settings):
    row = make_instance("pod-1", seen_at=timezone.now() - timedelta(minutes=1))
    with service() as (url, _):
        settings.SERVICE_URL = url
        for _ in range(3):
            watchdog_check()
        row.seen_at -= timedelta(days=1)
        row.save()
        found = watchdog_check()

    assert found == []
    assert told() == [("degrade", "instance:pod-1"), ("recover", "instance:pod-1")]
    assert Artifact.objects.get(type="recover").details["reason"] == VANISHED
