"""Verify an export where there is no Django: `python -m ledger.verify EXPORT`.

Standard library only. Exit 0 when whole, 1 when not, 2 when it could not look.
"""

import argparse
import contextlib
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from ledger.canonical import encode
from ledger.errors import CannotLookError
from ledger.merkle import TILE_HEIGHT, WIDTH, Accumulator, fold
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
_TAIL = len(b',"hash":""}\n') + 64
_START = b'{"sequence":%d,"body":'
_RESTORE = b'"type":"restore","v":1}'


def verify_export(lines: Iterator[bytes], anchors: Iterable[Point] = ()) -> Verdict:
    """Compare an export with its checkpoint and with anchors.

    Raises:
        CannotLookError: it is not an export.
    """
    started = time.perf_counter()
    head = _read_head(next(lines, b""))
    points = [head, *anchors]
    scan = _Scan({point.size for point in points})
    while not scan.findings and (chunk := list(islice(lines, WIDTH))):
        scan.take(chunk)
    findings = scan.findings or _judge(head, points, scan)
    seconds = time.perf_counter() - started
    return Verdict(head.size, head.root, tuple(findings), seconds=seconds)


class _Scan:
    """Read entries in order; keep the roots at the sizes that are asked for."""

    def __init__(self, sizes: set[int]) -> None:
        self.tree = Accumulator()
        self.sizes = sizes
        self.roots = {0: self.tree.root()} if 0 in sizes else {}
        self.restores: list[Restore] = []
        self.findings: list[Finding] = []

    def take(self, chunk: list[bytes]) -> None:
        """Hash up to 256 lines; look closer only where their own hashes disagree.

        Whole chunks at a time: line by line the checks cost more than the hashes.
        """
        first = self.tree.size
        starts, width = _starts(first, len(chunk))
        digests = [sha256(b"\0" + line[width:-_TAIL]).digest() for line in chunk]
        row = b"".join(digests)
        said = b"".join([line[-67:-3] for line in chunk])
        if (
            row.hex().encode() != said
            or b"".join([line[:width] for line in chunk]) != starts
        ):
            digests = self._look_closer(chunk, first)
            row = b"".join(digests)
        if _RESTORE in b"".join(chunk):
            for line in chunk:
                body = line[:-_TAIL].partition(b',"body":')[2]
                if body.endswith(_RESTORE):
                    self._restored(body)
        self._add(row, digests)

    def _look_closer(self, chunk: list[bytes], first: int) -> list[bytes]:
        digests = []
        for place, line in enumerate(chunk):
            found, digest = _check_line(line, first + place, chunk[place + 1 :])
            if found:
                self.findings.append(found)
                break
            digests.append(digest)
        return digests

    def _add(self, row: bytes, digests: list[bytes]) -> None:
        first, past = self.tree.size, self.tree.size + len(digests)
        if len(digests) == WIDTH and not self.sizes.intersection(range(first, past)):
            self.tree.append(fold(row), TILE_HEIGHT)
        else:
            for digest in digests:
                self.tree.append(digest)
                if self.tree.size in self.sizes:
                    self.roots[self.tree.size] = self.tree.root()
        if past in self.sizes:
            self.roots[past] = self.tree.root()

    def _restored(self, body: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(body)["details"]
            self.restores.append(
                read_restore(told["origin"], told["kept_size"], told["lost_size"])
            )


def _starts(first: int, count: int) -> tuple[bytes, int]:
    """Return how the lines of a chunk begin, joined, and the length of one beginning.

    Where the number of digits changes the length is the first one's: the chunk is then
    looked at line by line.
    """
    starts = _START * count % tuple(range(first, first + count))
    return starts, len(_START % first)


def _read_head(line: bytes) -> Point:
    try:
        return read_note(json.loads(line)["checkpoint"])
    except (ValueError, KeyError, TypeError):
        raise CannotLookError("the first line is not a checkpoint") from None


def _judge(head: Point, points: Iterable[Point], scan: _Scan) -> list[Finding]:
    size = scan.tree.size
    if size < head.size:
        detail = f"the checkpoint covers {head.size} entries, {size} are here"
        return [Finding(Kind.MISSING, size, detail)]
    if size > head.size:
        detail = f"the checkpoint covers {head.size} entries, {size} are here"
        return [Finding(Kind.INSERTED, head.size, detail)]
    return judge_points(points, scan.roots, current=head, restores=scan.restores)


def _check_line(
    line: bytes, number: int, following: list[bytes]
) -> tuple[Finding | None, bytes]:
    """Look at one line whatever its spelling: sequence, body and hash must agree."""
    try:
        row = json.loads(line)
        sequence = int(row["sequence"])
        start = _START % sequence
        raw = line[len(start) : -_TAIL] if line.startswith(start) else None
        body = raw if raw is not None else encode(row["body"]).encode()
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
    return path.open("rb")


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
        with open_lines(options.export) as lines:
            verdict = verify_export(lines, anchors)
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
    parser.add_argument("--sequence", type=int, help="print this entry as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
