"""Databases of their own for processes, and clients of the breakers' API."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from breakers import fleet
from tests.breakers.keepers import Deployment
from tests.ledger.processes import make_site, migrate, new_database


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Migrate once; each deployment copies it."""
    folder = tmp_path_factory.mktemp("migrated")
    url = new_database(folder)
    migrate(make_site(folder, url, role="command"))
    return url


@pytest.fixture
def deployment(tmp_path: Path, _migrated: str) -> Iterator[Deployment]:
    """Give a deployment without Redis: processes meet in the table alone."""
    with Deployment(tmp_path, new_database(tmp_path, _migrated)) as made:
        yield made


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
