"""A backup that is brought back: found by the anchors, declared, and gone on from."""

import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path

from tests.ledger.processes import Site, make_site, new_database
from tests.services import postgres_binaries

_BEFORE_THE_DUMP = """
    from ledger import services
    from tests.ledger.ledgers import make_ledger
    make_ledger(300, steps=3)
    for number in range(3):
        services.record(type="deploy", source="operator", number=number)
"""
_AFTER_THE_DUMP = """
    from ledger import sequencer
    from tests.ledger.ledgers import make_ledger
    sequencer.sequence_all()
    make_ledger(200, steps=2)
"""
_LOOK_AND_DECLARE = """
    from django.db import connection
    from ledger import audit, triggers, upkeep
    from ledger.models import Artifact
    print(audit.look().first)
    told = upkeep.rebase(reason="the disk died").details
    print(told["origin"], told["kept_size"], told["lost_size"])
    placed = Artifact.objects.filter(type="deploy", leaf__isnull=False)
    print(audit.look().first, placed.count(), triggers.missing(connection))
"""


def dump(url: str, path: Path) -> None:
    """Write a backup as an operator does, while the database is in use."""
    if url.startswith("sqlite"):
        with (
            contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as old,
            contextlib.closing(sqlite3.connect(path)) as new,
        ):
            old.backup(new)
        return
    command = [postgres_binaries() / "pg_dump", "-Fc", f"--file={path}", url]
    subprocess.run(command, check=True, timeout=60)


def restore(path: Path, folder: Path) -> Site:
    """Bring a backup back as another database; the anchors stay where they are."""
    if os.environ["DATABASE_URL"].startswith("sqlite"):
        return make_site(folder, f"sqlite:///{path}")
    url = new_database(folder)
    command = [postgres_binaries() / "pg_restore", "--no-owner", f"--dbname={url}"]
    subprocess.run([*command, path], check=True, timeout=60)
    return make_site(folder, url)


def test_a_restored_backup_is_found_declared_and_gone_on_from(site: Site):
    backup = site.data / "backup"
    site.run(_BEFORE_THE_DUMP)
    dump(site.env["DATABASE_URL"], backup)
    site.run(_AFTER_THE_DUMP)

    said = restore(backup, site.data).run(_LOOK_AND_DECLARE).splitlines()

    assert said[0].startswith("rolled back at #300: ")
    assert said[1:] == ["fortheweebs/1 300 503", "None 3 []"]
