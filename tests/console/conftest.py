"""What the console's tests arrange: people, a snapshot, a client logged in."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from health.places import machine_boot
from health.snapshot import CheckResult, Probe, ProbeState, Snapshot, State
from health.snapshots import write_snapshot

PASSWORD = "a long password 1"
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture(autouse=True)
def _run_dir_of_its_own(tmp_path: Path, settings: Any) -> None:
    settings.RUN_DIR = tmp_path / "run"


def error_of(name: str, state: str) -> str:
    """What a check in this state says."""
    if name == "breakers":
        return "" if state == "pass" else "openai OPEN, web_hooks HALF_OPEN"
    return f"{name} did not answer in 2.0 s" if state == "fail" else ""


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """Write a fresh snapshot: `snapshot(db="fail")`."""

    def write(*, minutes: float = 29, ready: str = "", **states: str) -> Snapshot:
        now, now_ns = time.time(), time.monotonic_ns()
        since = now - 60 * minutes
        checks = {"db": "pass", "cache": "pass", "queue": "pass", **states}
        failing = "fail" in checks.values()
        probes = {
            Probe.LIVE: State.PASS,
            Probe.READY: State(ready or ("fail" if failing else "pass")),
            Probe.STARTUP: State.PASS,
        }
        found = Snapshot(
            at=now,
            at_ns=now_ns,
            boot=machine_boot(),
            holder=1,
            checks=tuple(
                CheckResult(
                    name=name,
                    state=State(state),
                    required=True,
                    since=since,
                    at=now,
                    at_ns=now_ns,
                    duration=0.004,
                    error=error_of(name, state),
                )
                for name, state in checks.items()
            ),
            probes=tuple(ProbeState(name, at, since) for name, at in probes.items()),
            missing_migrations=(),
        )
        write_snapshot(found)
        return found

    return write


def make_user(role: str = "", **options: Any) -> User:
    """Make a user: of a role, `superuser`, `staff` without a role, or nobody."""
    name = options.pop("name", role or "nobody")
    if role == "superuser":
        return User.objects.create_superuser(name, password=PASSWORD)
    user = User.objects.create_user(
        name, password=PASSWORD, is_staff=bool(role), **options
    )
    if role not in {"", "staff"}:
        user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def login(db: None, client: Client) -> Callable[..., Client]:
    """Return a client logged in as somebody of a role."""

    def enter(role: str) -> Client:
        client.force_login(make_user(role), BACKEND)
        return client

    return enter
