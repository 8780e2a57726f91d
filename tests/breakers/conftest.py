"""Databases of their own for processes, and clients of the breakers' API."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.utils import timezone
from rest_framework.test import APIClient

from breakers import fleet
from breakers.traffic import MINUTE, bucket_of
from tests.breakers.keepers import Deployment
from tests.ledger.processes import migrated, new_database


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Make deployments, without Redis if nothing is said: they meet in the table."""
    with ExitStack() as all_made:

        def make(**environ: str) -> Deployment:
            url = new_database(tmp_path, migrated())
            return all_made.enter_context(Deployment(tmp_path, url, **environ))

        yield make


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """Give a deployment whose processes meet in the table alone."""
    return deploy()


@pytest.fixture
def client_of(db: Any) -> Callable[[str], APIClient]:
    """Return a client of somebody of a role."""

    def enter(role: str) -> APIClient:
        client = APIClient()
        user = User.objects.create(username=role, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client.force_authenticate(user)
        return client

    return enter


@pytest.fixture
def _alone(settings: Any) -> Iterator[None]:
    """Let breakers share nothing: each is complete alone."""
    fleet.use(None)
    yield
    fleet.use(settings.REDIS_URL)


@pytest.fixture
def _switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def _mid_bucket() -> Iterator[None]:
    """Let no bucket of five minutes end during the test."""
    with time_machine.travel(bucket_of(timezone.now()) + 2 * MINUTE):
        yield
