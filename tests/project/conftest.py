"""A web server that every test leaves as it was."""

from collections.abc import Iterator

import pytest

from tests.server import Installation

# What no answer may hold; it lies beside the static files, for its owner only.
SECRET = "only-for-tests"


@pytest.fixture(scope="session")
def site() -> Iterator[Installation]:
    with Installation(REPORT_RATE="off") as running:
        key = running.data / "secret_key"
        key.touch(mode=0o600)
        key.write_text(SECRET)
        running.manage("collectstatic", "--noinput", "-v", "0")
        running.start_web()
        yield running
