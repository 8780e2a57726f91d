"""Real installations: one on SQLite for whoever leaves it well, others alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server import Installation

FAST = str(Path(__file__).parent / "gunicorn_fast.py")


@pytest.fixture(scope="session")
def site() -> Iterator[Installation]:
    """An installation that every test leaves as it was."""
    with Installation(LOCAL_OPERATOR="1") as running:
        running.manage("collectstatic", "--noinput", "-v", "0")
        running.start_watchdog("--period", "0.5", "--timeout", "0.5")
        running.start_web(config=FAST)
        running.wait_ready()
        yield running


@pytest.fixture
def own_site() -> Iterator[Callable[..., Installation]]:
    """Make installations that a test may break."""
    made: list[Installation] = []

    def make(**options: object) -> Installation:
        made.append(Installation(**{"LOCAL_OPERATOR": "1", **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for running in made:
        running.close()
