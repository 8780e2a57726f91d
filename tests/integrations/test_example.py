"""The example runs as it is, and the counterparts it starts do what they say."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from integrations.fakes import fake_service
from tests.server import ROOT

KEYS = ("OPENAI_API_KEY", "STRIPE_API_KEY", "SUPABASE_SERVICE_KEY", "REDIS_URL")


def test_the_four_examples_run_against_failing_counterparts(tmp_path):
    environ = {key: value for key, value in os.environ.items() if key not in KEYS}
    environ |= {"DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/db"}

    done = subprocess.run(
        [sys.executable, "examples/circuit_breaker_usage.py"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )

    lines = [line.split(": ", 1)[1].strip() for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert lines[:4] == [
        "Hello.",
        "fresh: [{'id': 1, 'title': 'first'}]",
        "pi_1: requires_payment_method",
        "200 after 2 failures, CLOSED",
    ]
    assert lines[4].startswith("nothing was sent; ask again in ")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("openai", "/models/small"),
        ("stripe", "/v1/balance"),
        ("supabase", "/rest/v1/bugs"),
        ("coinbase", "/api/v3/brokerage/key_permissions"),
        ("any", "/x"),
    ],
)
def test_a_counterpart_starts_from_the_command_line(kind, path):
    command = [sys.executable, "-m", "integrations.fakes", kind, "--behave", "503:9,ok"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as fake:
        try:
            url = fake.stdout.readline().strip()
            with pytest.raises(urllib.error.HTTPError) as failed:
                urllib.request.urlopen(url + path)
            with urllib.request.urlopen(url + path) as answer:
                kind_of_answer = answer.headers["Content-Type"]
        finally:
            fake.send_signal(signal.SIGINT)

    assert (failed.value.code, failed.value.headers["Retry-After"]) == (503, "9")
    assert kind_of_answer == "application/json"
    assert fake.returncode == 0
    failed.value.close()


def test_a_slow_counterpart_does_not_hold_up_its_end():
    started = time.monotonic()
    with fake_service("any", "slow:60") as fake, pytest.raises(TimeoutError):
        urllib.request.urlopen(fake.url, timeout=0.1)

    assert time.monotonic() - started < 20
