"""Write the ledger out: the newest checkpoint, then every entry it covers."""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from django.db import connections, router

from ledger.models import Artifact, Checkpoint

ROWS = 5000


def export_lines() -> Iterator[bytes]:
    """Return the lines of an export, a few thousand rows at a time."""
    checkpoint = Checkpoint.objects.order_by("-id").first()
    if checkpoint is None:
        return
    yield json.dumps({"checkpoint": checkpoint.note}).encode() + b"\n"
    for first in range(0, checkpoint.size, ROWS):
        for number, body, digest in _rows(first, min(first + ROWS, checkpoint.size)):
            yield b'{"sequence":%d,"body":%b,"hash":"%b"}\n' % (
                number,
                body.encode(),
                bytes(digest).hex().encode(),
            )


def write_export(path: Path | None) -> int:
    """Write the export to a file (.gz packs it) or standard output; count entries."""
    if path is None:
        return _write(sys.stdout.buffer)
    if path.suffix == ".gz":
        with gzip.open(path, "wb", compresslevel=6) as packed:
            return _write(cast("IO[bytes]", packed))
    with path.open("wb") as plain:
        return _write(plain)


def _write(out: IO[bytes]) -> int:
    count = -1
    for line in export_lines():
        out.write(line)
        count += 1
    out.flush()
    return max(count, 0)


def _rows(first: int, past: int) -> list[tuple[int, str, bytes]]:
    with connections[router.db_for_read(Artifact)].cursor() as cursor:
        cursor.execute(
            "SELECT l.sequence, a.body, a.hash FROM ledger_leaf l JOIN ledger_artifact a"
            " ON a.id = l.artifact_id WHERE l.sequence >= %s AND l.sequence < %s"
            " ORDER BY l.sequence",
            [first, past],
        )
        return list(cursor.fetchall())
