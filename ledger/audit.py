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

import psycopg
from django.conf import settings
from django.db import connections, router

from ledger import tree, triggers
from ledger.canonical import quote
from ledger.entry import leaf_hash
from ledger.errors import CannotLookError, NotSequencedError
from ledger.merkle import (
    EMPTY_ROOT,
    HASH,
    TILE_HEIGHT,
    WIDTH,
    Growth,
    Part,
    pack,
    tiles_inside,
)
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

# Rows of one query: whole tiles, and little enough to be sorted in memory.
SPAN = 4096
MAX_FINDINGS = 20

_FROM = """
FROM ledger_leaf l LEFT JOIN ledger_artifact a ON a.id = l.artifact_id
WHERE l.sequence >= %s AND l.sequence < %s ORDER BY l.sequence
"""
_POSTGRES_AT = """to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')"""
# The server spells the end of each body as well, if nothing in it needs an escape.
_POSTGRES = f"""
SELECT a.hash, a.body, {_POSTGRES_AT} || 'Z"',
  format(',"id":"%%s","node":"%%s","source":"%%s","subject":"%%s","type":"%%s","v":1}}',
    a.event_id, a.node, a.source, a.subject, a.type)
{_FROM}"""
# SQLite's format() costs 2 us a row, the columns by themselves 0.6.
_SQLITE = f"""
SELECT a.hash, a.body, replace(a.at, ' ', 'T') || 'Z"', a.event_id,
  a.node, a.source, a.subject, a.type
{_FROM}"""
# The columns one by one, for the rows of which something does not agree.
_CLOSELY_POSTGRES = f"""
SELECT l.sequence, a.hash, a.body, a.type, a.event_id::text, {_POSTGRES_AT},
  a.node, a.source, a.subject
{_FROM}"""
# The type affixed to `at` keeps the driver from parsing each time.
_CLOSELY_SQLITE = f"""
SELECT l.sequence, a.hash, a.body, a.type, a.event_id, a.at || '',
  a.node, a.source, a.subject
{_FROM}"""


@dataclass(frozen=True, slots=True)
class Span:
    """What a run of rows came to: a part per tile."""

    parts: tuple[Part, ...]
    findings: tuple[Finding, ...] = ()


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
    job.restores.extend(_restores())
    growth = Growth(job.sizes | {job.size}, accumulator)
    job.roots = growth.roots
    for span in _spans(job, jobs):
        job.findings.extend(span.findings)
        if span.findings:
            return
        for part in span.parts:
            growth.add(part)
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
    """Return the rollbacks that were declared."""
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
    closely = tiles_inside(job.sizes)
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
    row = _hash_rows(first, past)
    found = None
    if row is None:
        found, row = _look_closely(first, past)
    tiles = _tiles(first, past)
    parts: list[Part] = []
    for at in range(0, len(row), WIDTH * HASH):
        index, hashes = (first + at // HASH) // WIDTH, row[at : at + WIDTH * HASH]
        part = pack(hashes, index, ())
        if part[0] and (off := _compare_tile(tiles, hashes, part[1], index)):
            return Span(tuple(parts), (off,))
        parts.append((0, hashes) if index in closely else part)
    return Span(tuple(parts), (found,) if found else ())


def _hash_rows(first: int, past: int) -> bytes | None:
    """Return the joined hashes, all rows at once; None where something disagrees."""
    with _cursor() as cursor:
        postgres = cursor.db.vendor == "postgresql"
        if postgres:
            # In binary, because a hash as text is spelled and read again.
            plain = psycopg.Cursor(cursor.connection)
            plain.execute(_POSTGRES, [first, past], prepare=False, binary=True)
            rows = plain.fetchall()
        else:
            rows = cursor.execute(_SQLITE, [first, past]).fetchall()
    if len(rows) != past - first:
        return None
    hashes, bodies, times, *columns = zip(*rows, strict=True)
    if None in bodies:
        return None
    digests = [sha256(b"\0" + body.encode()).digest() for body in bodies]
    same_ends = _same_ends_postgres if postgres else _same_ends_sqlite
    # Behind {"actor":"","at":" or behind an actor, which holds no quote.
    good = (
        digests == [*hashes]
        and same_ends(bodies, *columns)
        and all(
            body.startswith(at, 18) or body.startswith(at, body.find('"at":"') + 6)
            for body, at in zip(bodies, times, strict=True)
        )
    )
    return b"".join(digests) if good else None


def _same_ends_postgres(bodies: Sequence[str], ends: Sequence[str]) -> bool:
    # More quotes than the pattern has could make one column look like two.
    quotes = "".join(ends).count('"')
    return quotes == 22 * len(ends) and all(map(str.endswith, bodies, ends))


def _same_ends_sqlite(
    bodies: Sequence[str], events: Sequence[str], *labels: Sequence[str]
) -> bool:
    ends = [*map(_end_of_body, *labels)]
    ids = [
        body[-len(end) - 36 : -len(end)] for body, end in zip(bodies, ends, strict=True)
    ]
    same = ",".join(ids).replace("-", "") == ",".join(events)
    return same and all(map(str.endswith, bodies, ends))


def _look_closely(first: int, past: int) -> tuple[Finding | None, bytes]:
    """Find the first row that is not as it should be; return the hashes before it."""
    with _cursor() as cursor:
        postgres = cursor.db.vendor == "postgresql"
        query = _CLOSELY_POSTGRES if postgres else _CLOSELY_SQLITE
        cursor.execute(query, [first, past])
        rows = cursor.fetchall()
    digests: list[bytes] = []
    for place, row in enumerate(rows, first):
        number, stored, body = row[:3]
        digest = b"" if body is None else leaf_hash(body.encode())
        found = None
        if number != place:
            found = Finding(Kind.MISSING, place, f"#{number} follows")
        elif body is None:
            detail = "its place is taken, the row is gone"
            found = Finding(Kind.MISSING, place, detail)
        elif bytes(stored) != digest:
            found = Finding(Kind.EDITED, place, "the body does not have its hash")
        elif not _columns_agree(row):
            detail = "a column does not say what the body says"
            found = Finding(Kind.INDEX_COLUMN, place, detail)
        if found:
            return found, b"".join(digests)
        digests.append(digest)
    if len(rows) < past - first:
        place = first + len(rows)
        return Finding(Kind.MISSING, place, "the place is not taken"), b"".join(digests)
    return None, b"".join(digests)


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


def _columns_agree(row: tuple[Any, ...]) -> bool:
    """Tell whether the columns say what the body ends with, and its time."""
    _, _, body, kind, event, at, node, source, subject = row
    if len(event) == 32:  # SQLite has the bare digits and no zeros
        event = f"{event[:8]}-{event[8:12]}-{event[12:16]}-{event[16:20]}-{event[20:]}"
        at = at if len(at) == 26 else f"{at}.000000"
    end = f',"id":"{event}{_end_of_body(node, source, subject, kind)}'
    place = body.find('"at":"') + 6
    return bool(body.endswith(end) and body.startswith(f'{at[:10]}T{at[11:]}Z"', place))


@lru_cache(maxsize=4096)
def _end_of_body(node: str, source: str, subject: str, kind: str) -> str:
    return (
        f'","node":{quote(node)},"source":{quote(source)},"subject":{quote(subject)},'
        f'"type":{quote(kind)},"v":1}}'
    )


def _compare_tile(
    tiles: dict[int, tuple[bytes, bytes]], row: bytes, root: bytes, index: int
) -> Finding | None:
    start = index * WIDTH
    if index not in tiles:
        return Finding(Kind.TILE, start, f"tile 0/{index} is missing")
    stored_root, data = tiles[index]
    if data != row:
        digests = [row[at : at + HASH] for at in range(0, len(row), HASH)]
        place, kind = classify(data, digests)
        return Finding(kind, start + place, f"tile 0/{index} has another hash there")
    if stored_root != root:
        return Finding(Kind.TILE, start, f"the root of tile 0/{index} was changed")
    return None


# -- The tree ----------------------------------------------------------------------
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
