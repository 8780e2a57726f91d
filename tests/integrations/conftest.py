"""A registry, clients and a fake of its own for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from breakers import fleet, registry
from integrations import retries
from integrations.fakes import Fake, fake_service
from integrations.sessions import close_sessions
from tests.integrations.services import SERVICES, forget_clients


@pytest.fixture(autouse=True)
def _own_breakers(settings) -> Iterator[None]:
    """Keep what a test learns of a service from the next one and from the fleet."""
    kept = registry._breakers, registry._configured
    registry._breakers, registry._configured = {}, {}
    fleet.use(None)
    yield
    registry._breakers, registry._configured = kept
    fleet.use(settings.REDIS_URL)
    forget_clients()
    close_sessions()


@pytest.fixture(autouse=True)
def _quick_tries(monkeypatch) -> None:
    """Wait between tries, but not as long as in earnest."""
    monkeypatch.setattr(retries, "WAITS", (0.01, 0.02))


@pytest.fixture
def start(settings) -> Iterator[Callable[..., Fake]]:
    """Start a fake by its name and point the settings at it."""
    with ExitStack() as stack:

        def start_one(name: str, *script: str) -> Fake:
            fake = stack.enter_context(fake_service(name, *script))
            for key, value in SERVICES[name].settings(fake.url).items():
                setattr(settings, key, value)
            return fake

        yield start_one


@pytest.fixture
def anywhere() -> Iterator[Fake]:
    """Start a service that says what it was asked."""
    with fake_service("any") as fake:
        yield fake
