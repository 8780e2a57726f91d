"""What every test of the bug fixer needs."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group


@pytest.fixture(autouse=True)
def _no_limit(settings) -> None:
    """Let tests report as often as they like; the limit has tests of its own."""
    settings.THROTTLE_RATES = {}


@pytest.fixture
def groups(db) -> Iterator[None]:
    """Check that the roles are there."""
    assert Group.objects.filter(name="viewer").exists()
    return
