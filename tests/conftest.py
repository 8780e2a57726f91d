"""Fixtures for the machinery every test may need."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import cache

from ledger import spool


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    """Give each test an empty cache."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    client.close()
    yield
    cache.close()


@pytest.fixture(autouse=True)
def _spool_of_its_own(tmp_path: Path, settings: Any) -> Iterator[None]:
    """Give each test an empty spool that ships only when `spool.ship()` is called.

    The shipping thread has a connection of its own: it cannot see the transaction of
    the test, and what it commits would outlive it. Tests of the thread itself run in
    processes of their own.
    """
    settings.SPOOL_DIR = tmp_path / "spool"
    settings.ANCHORS_FILE = tmp_path / "anchors.jsonl"
    with spool.held():
        yield
        spool.close()
