"""Look through the database for what was changed: every row against the tree.

Bodies are hashed and columns compared here, not by the server, which could be told to
lie. No body is parsed: the columns are spelled as the end of a canonical body again.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections, router

from ledger import tree, triggers
from ledger.canonical import quote
from ledger.errors import CannotLookError, NotSequencedError
from ledger.merkle import EMPTY_ROOT, HASH, TILE_HEIGHT, WIDTH, Accumulator, fold
from ledger.models import Anchor, Artifact, Checkpoint
from ledger.sequencer import note_text
from ledger.verdict import (
    Divergence,
    Finding,
    Kind,
    Point,
    Restore,
    Verdict,
    classify,
    find_divergence,
    judge_points,
    read_restore,
)
from ledger.verify import load_anchors

# Rows of one query: whole tiles, about 5 MB.
SPAN = 16_384
MAX_FINDINGS = 20

_POSTGRES = """
SELECT l.sequence, a.hash, a.body, a.type, a.event_id::text,
  to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
  a.node, a.source, a.subject
FROM ledger_leaf l LEFT JOIN ledger_artifact a ON a.id = l.artifact_id
WHERE l.sequence >= %s AND l.sequence < %s ORDER BY l.sequence
"""
# The type affixed to `at` keeps the driver from parsing each time.
_SQLITE = """
SELECT l.sequence, a.hash, a.body, a.type, a.event_id, a.at || '',
  a.node, a.source, a.subject
FROM ledger_leaf l LEFT JOIN ledger_artifact a ON a.id = l.artifact_id
WHERE l.sequence >= %s AND l.sequence < %s ORDER BY l.sequence
"""


@dataclass(frozen=True, slots=True)
class Span:
    """What a run of rows came to: a root per whole tile, else its leaf hashes."""

    parts: tuple[tuple[int, tuple[bytes, ...]], ...]
    findings: tuple[Finding, ...]
    restores: tuple[Restore, ...]


@dataclass(slots=True)
class _Look:
    """One look at the ledger: what is compared, what was found."""

    size: int
    current: Point
    points: list[Point]
    sizes: set[int]
    start: int = 0
    findings: list[Finding] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)


def look(
    *,
    since: int = 0,
    known: Sequence[Point] = (),
    against: Path | None = None,
    jobs: int = 1,
) -> Verdict:
    """Compare every row from a size on with tiles, checkpoints and anchors.

    ``known`` are roots from elsewhere, the last verified one for instance.

    Raises:
        CannotLookError: a file that was named, or the anchors file, is unreadable.
    """
    started = time.perf_counter()
    job = _begin(since, known, against)
    _read_all(job, jobs)
    if not job.findings:
        job.findings.extend(_judge(job))
    seconds = time.perf_counter() - started
    return _verdict(job, seconds)


def look_for_divergence(
    against: Path | None = None,
) -> tuple[Verdict, Divergence | None]:
    """Look at everything; tell where anchors and the tree parted.

    The verdict is of the tree by itself, without the anchors.
    """
    job = _begin(0, (), against)
    _read_all(job, jobs=1)
    job.findings.extend(_notes(0))
    parted = find_divergence(
        job.points, job.roots, current=job.current, restores=job.restores
    )
    return _verdict(job, 0.0), parted


def _read_all(job: _Look, jobs: int) -> None:
    try:
        accumulator = tree.load_edge(job.start).accumulator()
    except NotSequencedError as error:
        job.findings.append(Finding(Kind.TILE, job.start, str(error)))
        return
    job.restores.extend(_restores() if job.start else ())
    _keep_root(job, accumulator)
    for span in _spans(job, jobs):
        job.restores.extend(span.restores)
        job.findings.extend(span.findings)
        if span.findings:
            return
        _grow(job, accumulator, span)
    _compare_upper_tiles(job)


def _verdict(job: _Look, seconds: float) -> Verdict:
    root = job.roots.get(job.size, job.current.root)
    findings = tuple([*_guards(), *job.findings][:MAX_FINDINGS])
    return Verdict(job.size, root, findings, job.start, seconds)


# -- What to compare with ----------------------------------------------------------
def _begin(since: int, known: Sequence[Point], against: Path | None) -> _Look:
    """Take one snapshot of sizes; what is sequenced afterwards is not looked at."""
    with _cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT max(sequence) + 1 FROM ledger_leaf), origin, size, root"
            " FROM ledger_checkpoint WHERE id ="
            " (SELECT max(id) FROM ledger_checkpoint)"
        )
        row = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM ledger_leaf WHERE sequence < 0")
        below = cursor.fetchone()[0]
    leaves, origin, size, root = row or (tree.size(), "", 0, EMPTY_ROOT)
    origin = origin or f"{settings.LEDGER_ORIGIN}/0"
    current = Point(origin, size, bytes(root), "checkpoint")
    start = min(since, size) // WIDTH * WIDTH
    points = [*known, *_points(start, against)]
    job = _Look(size, current, points, {point.size for point in points}, start)
    leaves = leaves or 0
    if leaves > size or below:
        detail = f"{leaves} places are taken, the newest checkpoint covers {size}"
        job.findings.append(Finding(Kind.INSERTED, size, detail))
    elif leaves < size:
        detail = f"the newest checkpoint covers {size} entries, {leaves} are left"
        job.findings.append(Finding(Kind.MISSING, leaves, detail))
    return job


def _points(start: int, against: Path | None) -> list[Point]:
    points = [
        Point(origin, size, bytes(root), "checkpoint")
        for origin, size, root in Checkpoint.objects.filter(
            size__gte=start
        ).values_list("origin", "size", "root")
    ]
    anchors = Anchor.objects.filter(checkpoint__size__gte=start)
    points += map(_receipt, anchors.values_list("receipt", flat=True))
    files = [settings.ANCHORS_FILE] if settings.ANCHORS_FILE.exists() else []
    for path in [*files, *([against] if against else [])]:
        try:
            found = load_anchors(path)
        except (OSError, UnicodeDecodeError) as error:
            raise CannotLookError(str(error)) from None
        points.extend(point for point in found if point.size >= start)
    return points


def _receipt(receipt: str) -> Point:
    try:
        row = json.loads(receipt)
        return Point(
            row["origin"], int(row["size"]), bytes.fromhex(row["root"]), "anchor row"
        )
    except (ValueError, KeyError, TypeError):
        return Point("", 0, b"", "anchor row")


def _judge(job: _Look) -> list[Finding]:
    told = judge_points(
        job.points,
        job.roots,
        current=job.current,
        restores=job.restores,
        looked_from=job.start,
    )
    return [*_notes(job.start), *told]


def _notes(start: int) -> list[Finding]:
    rows = Checkpoint.objects.filter(size__gte=start)
    return [
        Finding(Kind.CHECKPOINT, None, f"the note of size {row.size} was changed")
        for row in rows.iterator()
        if row.note != note_text(row.origin, row.size, bytes(row.root))
    ]


def _restores() -> list[Restore]:
    """Return the rollbacks declared before the rows that were looked at."""
    return [
        read_restore(told["origin"], told["kept_size"], told["lost_size"])
        for artifact in Artifact.objects.filter(type="restore", leaf__isnull=False)
        if artifact.is_intact()
        and {"origin", "kept_size", "lost_size"} <= (told := artifact.details).keys()
    ]


def _guards() -> list[Finding]:
    gone = triggers.missing(connections[router.db_for_write(Artifact)])
    return [Finding(Kind.GUARD_MISSING, None, name) for name in gone]


# -- The rows ----------------------------------------------------------------------
def _spans(job: _Look, jobs: int) -> Iterator[Span]:
    if job.findings:
        return
    # The tiles, by index, inside which a root is asked for.
    closely = {size // WIDTH for size in job.sizes if size % WIDTH}
    tasks = [
        (first, min(first + SPAN, job.size), _within(closely, first))
        for first in range(job.start, job.size, SPAN)
    ]
    if jobs < 2 or len(tasks) < 2:
        yield from map(_scan, tasks)
        return
    # Forked children must not share a socket or a pool of threads.
    _close_connections()
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        yield from pool.map(_scan, tasks)


def _within(tiles: set[int], first: int) -> set[int]:
    return tiles.intersection(range(first // WIDTH, (first + SPAN) // WIDTH))


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def _scan(task: tuple[int, int, set[int]]) -> Span:
    """Hash a run of rows and compare each whole tile with the stored one."""
    first, past, closely = task
    rows = _rows(first, past)
    tiles = _tiles(first, past)
    parts: list[tuple[int, tuple[bytes, ...]]] = []
    restores: list[Restore] = []
    for start in range(first, past, WIDTH):
        end = min(start + WIDTH, past)
        chunk = rows[start - first : end - first]
        digests = [
            sha256(b"\0" + row[2].encode()).digest() if row[2] is not None else b""
            for row in chunk
        ]
        found = _compare_rows(chunk, digests, start, end) or _compare_tile(
            tiles, digests, start, end
        )
        if found:
            return Span(tuple(parts), (found,), tuple(restores))
        restores += [_restore(row[2]) for row in chunk if row[3] == "restore"]
        whole = len(digests) == WIDTH and start // WIDTH not in closely
        part = (fold(b"".join(digests)),) if whole else tuple(digests)
        parts.append((TILE_HEIGHT if whole else 0, part))
    return Span(tuple(parts), (), tuple(restores))


def _rows(first: int, past: int) -> list[tuple[Any, ...]]:
    with _cursor() as cursor:
        postgres = cursor.db.vendor == "postgresql"
        cursor.execute(_POSTGRES if postgres else _SQLITE, [first, past])
        return list(cursor.fetchall())


def _tiles(first: int, past: int) -> dict[int, tuple[bytes, bytes]]:
    with _cursor() as cursor:
        cursor.execute(
            'SELECT "index", root, data FROM ledger_tile'
            ' WHERE level = 0 AND "index" >= %s AND "index" < %s',
            [first // WIDTH, past // WIDTH],
        )
        return {
            index: (bytes(root), bytes(data)) for index, root, data in cursor.fetchall()
        }


def _compare_rows(
    chunk: Sequence[tuple[Any, ...]], digests: Sequence[bytes], start: int, end: int
) -> Finding | None:
    """Find the first row that is not in its place, not its hash or not its columns."""
    hashes = [row[1] for row in chunk]
    if (
        hashes == digests
        and len(chunk) == end - start
        and all(map(_columns_agree, chunk))
        and chunk[0][0] == start
        and chunk[-1][0] == end - 1
    ):
        return None
    for place, row in enumerate(chunk, start):
        number, stored, body = row[:3]
        if number != place:
            return Finding(Kind.MISSING, place, f"#{number} follows")
        if body is None:
            return Finding(Kind.MISSING, place, "its place is taken, the row is gone")
        if bytes(stored) != digests[place - start]:
            return Finding(Kind.EDITED, place, "the body does not have its hash")
        if not _columns_agree(row):
            detail = "a column does not say what the body says"
            return Finding(Kind.INDEX_COLUMN, place, detail)
    if len(chunk) < end - start:
        return Finding(Kind.MISSING, start + len(chunk), "the place is not taken")
    return None


def _columns_agree(row: tuple[Any, ...]) -> bool:
    """Tell whether the columns say what the body ends with, and its time."""
    _, _, body, kind, event, at, node, source, subject = row
    if len(event) == 32:  # SQLite has the bare digits and no zeros
        event = f"{event[:8]}-{event[8:12]}-{event[12:16]}-{event[16:20]}-{event[20:]}"
        at = at if len(at) == 26 else f"{at}.000000"
    place = 18 if body.startswith('{"actor":""') else body.find('"at":"') + 6
    return bool(
        body.endswith(f',"id":"{event}{_end_of_body(node, source, subject, kind)}')
        and body[place : place + 10] == at[:10]
        and body[place + 11 : place + 27] == f"{at[11:]}Z"
    )


@lru_cache(maxsize=4096)
def _end_of_body(node: str, source: str, subject: str, kind: str) -> str:
    return (
        f'","node":{quote(node)},"source":"{source}","subject":{quote(subject)},'
        f'"type":"{kind}","v":1}}'
    )


def _compare_tile(
    tiles: dict[int, tuple[bytes, bytes]],
    digests: Sequence[bytes],
    start: int,
    end: int,
) -> Finding | None:
    if end - start < WIDTH:
        return None
    index = start // WIDTH
    if index not in tiles:
        return Finding(Kind.TILE, start, f"tile 0/{index} is missing")
    root, data = tiles[index]
    if data != b"".join(digests):
        place, kind = classify(data, digests)
        return Finding(kind, start + place, f"tile 0/{index} has another hash there")
    if root != fold(data):
        return Finding(Kind.TILE, start, f"the root of tile 0/{index} was changed")
    return None


def _restore(body: str) -> Restore:
    told = json.loads(body)["details"]
    return read_restore(
        str(told.get("origin", "")),
        int(told.get("kept_size", 0)),
        int(told.get("lost_size", 0)),
    )


# -- The tree ----------------------------------------------------------------------
def _grow(job: _Look, accumulator: Accumulator, span: Span) -> None:
    for height, hashes in span.parts:
        for digest in hashes:
            accumulator.append(digest, height)
            _keep_root(job, accumulator)


def _keep_root(job: _Look, accumulator: Accumulator) -> None:
    if accumulator.size in job.sizes or accumulator.size == job.size:
        job.roots[accumulator.size] = accumulator.root()


def _compare_upper_tiles(job: _Look) -> None:
    """Compare the tiles above the leaves with the roots of the tiles below them."""
    level = 1
    while job.size >> TILE_HEIGHT * (level + 1):
        first = job.start >> TILE_HEIGHT * (level + 1)
        for index in range(first, job.size >> TILE_HEIGHT * (level + 1)):
            reader = tree.TreeReader(job.size)
            try:
                below = b"".join(_roots(level - 1, index))
                stored = reader.row(level, index)
            except NotSequencedError:
                stored = b""
            if stored != below or len(below) != WIDTH * HASH:
                detail = f"tile {level}/{index} is not the roots below it"
                place = index << TILE_HEIGHT * (level + 1)
                job.findings.append(Finding(Kind.TILE, place, detail))
        level += 1


def _roots(level: int, index: int) -> Iterable[bytes]:
    with _cursor() as cursor:
        cursor.execute(
            'SELECT root FROM ledger_tile WHERE level = %s AND "index" >= %s'
            ' AND "index" < %s ORDER BY "index"',
            [level, index * WIDTH, (index + 1) * WIDTH],
        )
        return [bytes(root) for (root,) in cursor.fetchall()]


def _cursor() -> Any:
    return connections[router.db_for_read(Artifact)].cursor()
