"""What the watchdog tells the service manager, and when it falls silent."""

import socket
import threading
import time
from pathlib import Path

import pytest

from health.management.commands.watchdog import go_on
from health.metrics import Measures
from health.notify import Notifier, notify


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A socket as a service manager opens it."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(path))
        one.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield one


def heard(manager: socket.socket) -> list[str]:
    lines = []
    while True:
        try:
            lines.append(manager.recv(100).decode())
        except BlockingIOError:
            return lines


def test_the_first_round_says_ready_and_later_ones_that_it_works(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3")
    notifier = Notifier()

    for _ in range(3):
        notifier.tick(well=True)

    assert heard(manager) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_it_tells_three_times_in_the_time_that_the_manager_waits(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    notifier = Notifier()

    for _ in range(100):
        notifier.tick(well=True)

    assert heard(manager) == ["READY=1"]


def test_a_judge_that_hangs_makes_the_loop_silent(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3")
    notifier, measures, stop = Notifier(), Measures(), threading.Event()
    go_on(notifier, measures, stop)

    measures.beats["judge"] = time.time() - 60
    goes_on = go_on(notifier, measures, stop)

    assert goes_on
    assert heard(manager) == ["READY=1"]


def test_without_a_manager_nothing_is_told(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not notify("READY=1")


def test_a_manager_that_does_not_listen_holds_nobody_up(manager, monkeypatch):
    while notify("x" * 1000):
        pass

    began = time.monotonic()
    for _ in range(100):
        notify("WATCHDOG=1")

    assert time.monotonic() - began < 10
    assert Path(manager.getsockname()).exists()


def test_an_abstract_socket_is_told_too(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("\0ftw-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@ftw-test-notify")

        assert notify("READY=1")
        assert one.recv(100) == b"READY=1"
