"""Verify an export where there is no Django: `python -m ledger.verify EXPORT`.

Standard library only. Exit 0 when whole, 1 when not, 2 when it could not look.
"""

import argparse
import contextlib
import gzip
import json
import os
import re
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, pairwise
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, cast

from ledger.canonical import decode, encode
from ledger.errors import CannotLookError
from ledger.merkle import HASH, WIDTH, Growth, Part, pack, tiles_inside
from ledger.verdict import (
    Finding,
    Kind,
    Point,
    Restore,
    Verdict,
    judge_points,
    read_anchors,
    read_note,
    read_restore,
)

# {"sequence":N,"body":{...},"hash":"..."} and a newline: the body is a slice.
_HASH, _END = ',"hash":"', '"}\n'
_TAIL = len(_HASH) + 64 + len(_END)
_START = b'{"sequence":%d,"body":'
_NUMBER = re.compile(rb'\{"sequence":(0|[1-9][0-9]{0,17}),"body":').match
_tail = itemgetter(slice(-_TAIL, None))
_RESTORE = b'"type":"restore","v":1}'
# A part of a file is worth a process of its own from here on.
PART_BYTES = 4 << 20
# Lines are read in blocks: in the default 8 kB they cost 170 ns each, so 70.
_BLOCK = 128 * 1024


def verify_file(path: Path, anchors: Iterable[Point] = (), *, jobs: int = 1) -> Verdict:
    """Compare an export with its checkpoint and with anchors.

    It is hashed in bulk, by several processes; only where that does not come to the
    roots that were written down is it read line by line, to say what is wrong.

    Raises:
        CannotLookError: it is not an export.
    """
    started = time.perf_counter()
    with open_lines(path) as lines:
        head = _read_head(lines.readline())
        points = [head, *anchors]
        growth = Growth(sizes := {point.size for point in points})
        closely = frozenset(tiles_inside(sizes))
        whole = _grow(growth, path, lines, closely, jobs)
    if not whole or _judge(head, points, growth):
        with open_lines(path) as lines:
            return verify_export(lines, points[1:])
    return Verdict(head.size, head.root, seconds=time.perf_counter() - started)


def verify_export(lines: Iterator[bytes], anchors: Iterable[Point] = ()) -> Verdict:
    """Compare the lines of an export, one by one, with its checkpoint and anchors.

    Raises:
        CannotLookError: it is not an export.
    """
    started = time.perf_counter()
    head = _read_head(next(lines, b""))
    points = [head, *anchors]
    growth = Growth({point.size for point in points})
    restores: list[Restore] = []
    findings: list[Finding] = []
    while not findings and (chunk := list(islice(lines, WIDTH))):
        findings = _take(chunk, growth, restores)
    findings = findings or _judge(head, points, growth, restores)
    seconds = time.perf_counter() - started
    return Verdict(head.size, head.root, tuple(findings), seconds=seconds)


# -- In bulk -----------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of lines of a file: whole tiles, where they begin, how many there are."""

    path: Path
    offset: int
    first: int
    count: int | None
    closely: frozenset[int]


def _grow(
    growth: Growth, path: Path, lines: IO[bytes], closely: frozenset[int], jobs: int
) -> bool:
    """Add all lines to the tree; False where one is not as it is written."""
    jobs = 1 if path.suffix == ".gz" else jobs
    cuts = [*_cuts(path, jobs)] if jobs > 1 else []
    if not cuts:
        return _add(growth, _hash_lines(lines, 0, closely))
    ends = [(lines.tell(), 0), *cuts]
    pieces = [
        _Piece(path, offset, first, past - first if past else None, closely)
        for (offset, first), (_, past) in pairwise([*ends, (0, 0)])
    ]
    with ProcessPoolExecutor(jobs) as pool:
        for piece, parts in zip(pieces, pool.map(_hash_piece, pieces), strict=True):
            if growth.tree.size != piece.first or not _add(growth, parts):
                return False
    return True


def _add(growth: Growth, parts: Iterable[Part | None]) -> bool:
    for part in parts:
        if part is None:
            return False
        growth.add(part)
    return True


def _cuts(path: Path, jobs: int) -> Iterator[tuple[int, int]]:
    """Return where pieces may begin, at a line that begins a tile, and its number.

    The number is what the line says: that the piece before ends there is seen later.
    """
    size = path.stat().st_size
    count = min(4 * jobs, size // PART_BYTES)
    last = 0
    with path.open("rb") as lines:
        for number in range(1, count):
            lines.seek(size * number // count)
            lines.readline()
            told = _NUMBER(line := lines.readline())
            lines.seek(-len(line), os.SEEK_CUR)
            first = int(told[1]) if told else 0
            for _ in islice(lines, -first % WIDTH):
                first += 1
            if first > last and first % WIDTH == 0:
                last = first
                yield lines.tell(), first


def _hash_piece(piece: _Piece) -> list[Part | None]:
    with piece.path.open("rb", buffering=_BLOCK) as lines:
        lines.seek(piece.offset)
        run = islice(lines, piece.count)
        return list(_hash_lines(run, piece.first, piece.closely))


def _hash_lines(
    lines: Iterable[bytes], first: int, closely: Container[int]
) -> Iterator[Part | None]:
    """Hash 256 lines at a time; None, and the end, where one is not as written."""
    lines = iter(lines)
    while chunk := list(islice(lines, WIDTH)):
        row = _hash_chunk(chunk, first)
        yield pack(row, first // WIDTH, closely) if row else None
        if not row:
            return
        first += len(chunk)


def _hash_chunk(chunk: list[bytes], first: int) -> bytes:
    """Return the joined hashes; nothing unless each line has its number and hash.

    Where the number of digits changes the beginnings have the first one's length.
    """
    width = len(_START % first)
    starts = _START * len(chunk) % tuple(range(first, first + len(chunk)))
    if len(starts) != width * len(chunk):
        return _hash_chunk_unevenly(chunk, first)
    row = b"".join([sha256(b"\0" + line[width:-_TAIL]).digest() for line in chunk])
    tails = b"".join(map(_tail, chunk))
    begun = b"".join(map(itemgetter(slice(width)), chunk))
    return row if tails == _tails(row) and begun == starts else b""


def _tails(row: bytes) -> bytes:
    """Return how lines with these hashes end, joined."""
    hashes = row.hex("\n", HASH).replace("\n", f"{_END}{_HASH}")
    return f"{_HASH}{hashes}{_END}".encode()


def _hash_chunk_unevenly(chunk: list[bytes], first: int) -> bytes:
    rows = [_hash_chunk([line], first + place) for place, line in enumerate(chunk)]
    return b"".join(rows) if all(rows) else b""


# -- One by one --------------------------------------------------------------------
def _take(chunk: list[bytes], growth: Growth, restores: list[Restore]) -> list[Finding]:
    first = growth.tree.size
    for place, line in enumerate(chunk):
        found, digest = _check_line(line, first + place, chunk[place + 1 :])
        if found:
            return [found]
        growth.add((0, digest))
        body = line[:-_TAIL].partition(b',"body":')[2]
        if body.endswith(_RESTORE):
            restores.extend(_restored(body))
    return []


def _restored(body: bytes) -> Iterator[Restore]:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told = json.loads(body)["details"]
        yield read_restore(told["origin"], told["kept_size"], told["lost_size"])


def _read_head(line: bytes) -> Point:
    try:
        return read_note(json.loads(line)["checkpoint"])
    except (ValueError, KeyError, TypeError):
        raise CannotLookError("the first line is not a checkpoint") from None


def _judge(
    head: Point,
    points: Iterable[Point],
    growth: Growth,
    restores: Sequence[Restore] = (),
) -> list[Finding]:
    size = growth.tree.size
    if size < head.size:
        detail = f"the checkpoint covers {head.size} entries, {size} are here"
        return [Finding(Kind.MISSING, size, detail)]
    if size > head.size:
        detail = f"the checkpoint covers {head.size} entries, {size} are here"
        return [Finding(Kind.INSERTED, head.size, detail)]
    return judge_points(points, growth.roots, current=head, restores=restores)


def _check_line(
    line: bytes, number: int, following: list[bytes]
) -> tuple[Finding | None, bytes]:
    """Look at one line whatever its spelling: sequence, body and hash must agree."""
    if digest := _hash_chunk([line], number):
        return None, digest
    try:
        row = decode(line)
        sequence = int(row["sequence"])
        body = encode(row["body"]).encode()
        said = row.get("hash", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding(Kind.EDITED, number, "the line is not an entry"), b""
    if sequence != number:
        return _misplaced(sequence, number, following), b""
    digest = sha256(b"\0" + body).digest()
    if said and said != digest.hex():
        return Finding(Kind.EDITED, number, "the body does not have its hash"), b""
    return None, digest


def _misplaced(sequence: int, number: int, following: list[bytes]) -> Finding:
    start = b'{"sequence":%d,' % number
    if sequence < number:
        return Finding(Kind.INSERTED, number, f"#{sequence} is there twice")
    if any(line.startswith(start) for line in following):
        return Finding(Kind.REORDERED, number, f"#{sequence} stands in its place")
    return Finding(Kind.MISSING, number, f"#{sequence} follows")


# -- Command line ------------------------------------------------------------------
def open_lines(path: Path) -> IO[bytes]:
    """Open a file of lines, unpacking .gz."""
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb", buffering=_BLOCK)


def load_anchors(path: Path) -> list[Point]:
    """Read an anchors file or one checkpoint.

    Raises:
        CannotLookError: it is neither.
    """
    with open_lines(path) as lines:
        first = lines.readline()
        if first and not first.startswith(b"{"):
            return [read_note((first + lines.read()).decode(), str(path))]
        return read_anchors(_chain(first, lines), str(path))


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def main(arguments: list[str] | None = None, say: Callable[..., Any] = print) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        anchors = load_anchors(options.against) if options.against else []
        verdict = verify_file(options.export, anchors, jobs=options.jobs)
        text = _entry_text(options) if options.sequence is not None else ""
    except (OSError, EOFError, CannotLookError, UnicodeDecodeError) as error:
        say(f"could not look: {error}", file=sys.stderr)
        return 2
    for line in describe(verdict):
        say(line)
    if text:
        say(text)
    return 0 if verdict.ok else 1


def describe(verdict: Verdict) -> list[str]:
    """Return the lines that tell a verdict."""
    scope = f"{verdict.size} entries, root {verdict.root.hex()}"
    if verdict.ok:
        return [f"whole: {scope}, {verdict.seconds:.1f} s"]
    return [f"broken: {verdict.first}", *map(str, verdict.findings[:20]), scope]


def _entry_text(options: argparse.Namespace) -> str:
    with open_lines(options.export) as lines:
        line = next(islice(lines, options.sequence + 1, None), None)
    if options.sequence < 0 or line is None:
        raise CannotLookError(f"the export has no #{options.sequence}")
    return line.decode().rstrip("\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ledger.verify", description=__doc__)
    parser.add_argument("export", type=Path, help="JSON lines, .gz too")
    parser.add_argument("--against", type=Path, help="anchors.jsonl or a checkpoint")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes"
    )
    parser.add_argument("--sequence", type=int, help="print this entry as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
