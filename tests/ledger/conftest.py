"""Clients of the ledger API, and sites with processes of their own."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework.test import APIClient

from tests.ledger.processes import Site, make_site, migrated, new_database


def make_user(role: str) -> User:
    user = User.objects.create(username=role, is_staff=True)  # no password: no hash
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def viewer(db: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(make_user("viewer"))
    return client


@pytest.fixture
def operator(db: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(make_user("operator"))
    return client


@pytest.fixture
def console(db: Any) -> Client:
    client = Client()
    client.force_login(
        User.objects.create(username="root", is_staff=True, is_superuser=True)
    )
    return client


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, new_database(tmp_path, migrated()))
