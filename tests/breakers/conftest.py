"""Fixtures of the breakers' tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from breakers import fleet


@pytest.fixture
def _alone(settings: Any) -> Iterator[None]:
    """Let breakers share nothing: each is complete alone."""
    fleet.use(None)
    yield
    fleet.use(settings.REDIS_URL)
