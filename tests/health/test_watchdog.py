import json
import signal
import socket
import subprocess
import sys
import time

import pytest
from django.core.management import CommandError

from health.listener import judge_fleet
from health.management.commands.watchdog import read_roles
from tests.server import ROOT, get, wait_for


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("", {"web"}),
        ("web", {"web"}),
        ("worker, beat", {"worker", "beat"}),
    ],
)
def test_the_roles_that_make_live_can_be_named(text, roles):
    assert read_roles(text) == roles


def test_an_unknown_role_is_refused_by_name():
    with pytest.raises(CommandError, match="wrker is not one of web, worker, beat"):
        read_roles("web,wrker")


@pytest.mark.parametrize(
    ("ages", "reason"),
    [
        ([0.0], ""),
        ([99.0, 7.9], ""),
        ([8.1, 99.0], "workers_frozen"),
        ([], "no_workers"),
    ],
)
def test_one_worker_that_ticks_makes_the_fleet_live(ages, reason):
    assert judge_fleet(ages).reason == reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_watchdog_ends_on_a_signal_and_leaves_nothing(own_site, number):
    site = own_site()
    site.start_watchdog("--mode", "observe", "--interval", "1", "--strikes", "2")
    wait_for(lambda: site.probe("/api/health/ready").status, 3)
    wait_for(lambda: "failure" in log_types(site), 4)
    began = time.monotonic()

    site.parts["watchdog"].send_signal(number)

    assert site.parts["watchdog"].wait(5) == 0
    assert time.monotonic() - began < 4
    assert list((site.data / "run").glob("*.slot")) == []


def log_types(site) -> list[str]:
    path = site.data / "logs" / "watchdog.log"
    if not path.exists():
        return []
    return [json.loads(line)["type"] for line in path.read_text().splitlines()]


def test_without_a_web_server_the_probe_port_says_that_nobody_works(own_site):
    site = own_site()
    site.start_watchdog()

    live = wait_for(lambda: get_if_answered(site, "/api/health/live"), 3)

    assert live.status == 503
    assert live.json["reason"] == "no_workers"


def get_if_answered(site, path):
    reply = get(site.probe_port, path)
    return reply if reply.status else None


def test_an_unknown_mode_is_refused():
    done = subprocess.run(
        [sys.executable, "manage.py", "watchdog", "--mode", "kill"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode != 0
    assert "invalid choice: 'kill'" in done.stderr


def test_many_clients_that_say_nothing_leave_the_probe_port_open(site):
    sockets = [
        socket.create_connection(("127.0.0.1", site.probe_port)) for _ in range(80)
    ]
    try:
        answered = wait_for(
            lambda: get_if_answered(site, "/api/health/live"), 5, "the probe port"
        )
    finally:
        for sock in sockets:
            sock.close()

    assert answered.status == 200
