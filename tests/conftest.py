"""Fixtures for the machinery every test may need."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.db import connection

from breakers import store
from ledger import spool, triggers
from tests.system import System, wait_for

# Speed is measured in bench/, never in the suite: a busy machine is no failure.
hypothesis.settings.register_profile("suite", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")
# A shell that puts the suite in the background has it ignore SIGINT, and so would every
# process that a test starts and ends with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Keep what shares a server on one worker: a second would start another.

    A module's or a folder's fixture is such a server, but for those with a leading
    underscore, which are cheap.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        folders = [
            found[-1].baseid
            for name, found in item._fixtureinfo.name2fixturedefs.items()
            if found[-1].scope in {"module", "session"}
            and found[-1].baseid.startswith("tests/")
            and not name.startswith("_")
        ]
        if folders:
            item.add_marker(pytest.mark.xdist_group(min(folders, key=len)))


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """Run a `make run` for all who say so: xdist_group("system"). SIGTERM ends it whole."""
    folder = Path(tempfile.mkdtemp(prefix="ftw-run-", dir="/tmp"))
    one = System(folder / "var")
    try:
        yield one.start()
        ours = one.processes()
        one.stop(signal.SIGTERM)
        wait_for(lambda: not any(p.is_running() for p in ours), 1, "all to end")
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    """Give each test an empty cache."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    client.close()
    yield
    cache.close()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """Keep SQLite's test database in a file, as outside of tests.

    The default one in memory shares its cache between threads: a second writer is told
    "table is locked" at once instead of waiting its turn. (The argument gives each
    worker of a parallel run a PostgreSQL database of its own; DATA_DIR is its own too.)
    """
    database = settings.DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        name = str(settings.DATA_DIR / "test.sqlite3")
        database.setdefault("TEST", {})["NAME"] = name
        connection.settings_dict["TEST"]["NAME"] = name


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


@pytest.fixture(autouse=True)
def _breakers_without_their_table() -> Iterator[None]:
    """Start no thread that keeps breakers to their table: it sees no test's rows.

    Tests of the thread run in processes of their own.
    """
    with store.held():
        yield


@pytest.fixture(autouse=True)
def _guards_down_for_the_flush(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the ledger's guards down before a transactional test is cleaned up.

    Such a test ends with a flush, which deletes every row; the guards refuse that, and
    no setting opens them. The post_migrate that the flush sends puts them back.
    """
    mark = request.node.get_closest_marker("django_db")
    if not (mark and mark.kwargs.get("transaction")) and not (
        {"transactional_db", "live_server"} & set(request.fixturenames)
    ):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    triggers.remove(connection)


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: Any) -> None:
    """Hash passwords cheaply: the real cost is 0.3 s each, on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _unhashed_static(settings: Any) -> None:
    """Let templates name their files without a collectstatic before the tests."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
