"""What verify can find, and which anchored roots a tree must still have. Pure."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ledger.errors import CannotLookError
from ledger.merkle import HASH


class Kind(StrEnum):
    """What is wrong."""

    EDITED = "edited"
    MISSING = "missing"
    INSERTED = "inserted"
    REORDERED = "reordered"
    INDEX_COLUMN = "index column"
    GUARD_MISSING = "guard missing"
    CHECKPOINT = "checkpoint disagrees"
    TILE = "tile disagrees"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and the first sequence it concerns."""

    kind: Kind
    sequence: int | None
    detail: str

    def __str__(self) -> str:
        place = "" if self.sequence is None else f" at #{self.sequence}"
        return f"{self.kind}{place}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at and what was found."""

    size: int
    root: bytes
    findings: tuple[Finding, ...] = ()
    looked_from: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Tell whether the ledger is whole."""
        return not self.findings

    @property
    def first(self) -> Finding | None:
        """Return the finding with the first bad sequence, if any has one."""
        placed = [found for found in self.findings if found.sequence is not None]
        if placed:
            return min(placed, key=lambda found: found.sequence or 0)
        return self.findings[0] if self.findings else None


# -- Points: roots written down at a size ------------------------------------------
@dataclass(frozen=True, slots=True)
class Point:
    """The root somebody wrote down for one size of one origin."""

    origin: str
    size: int
    root: bytes
    where: str
    at: str = ""

    @property
    def name(self) -> str:
        """Return the origin without its epoch."""
        return re.sub(r"/\d+$", "", self.origin)

    @property
    def epoch(self) -> int:
        """Return the epoch at the end of the origin."""
        found = re.search(r"/(\d+)$", self.origin)
        return int(found[1]) if found else 0


@dataclass(frozen=True, slots=True)
class Restore:
    """A rollback that was declared: what the new epoch kept and what it lost."""

    epoch: int
    kept_size: int
    lost_size: int


def read_note(note: str, where: str = "checkpoint") -> Point:
    """Read a C2SP checkpoint.

    Raises:
        CannotLookError: it is not one.
    """
    try:
        origin, size, root = note.split("\n")[:3]
        point = Point(origin, int(size), base64.b64decode(root, validate=True), where)
    except (ValueError, binascii.Error):
        raise CannotLookError(f"{where}: not a checkpoint: {note!r:.80}") from None
    if len(point.root) != HASH or point.size < 0:
        raise CannotLookError(f"{where}: not a checkpoint: {note!r:.80}")
    return point


def read_anchors(lines: Iterable[bytes], where: str) -> list[Point]:
    """Read lines of an anchors file; a torn last line is left out.

    Raises:
        CannotLookError: names the line that cannot be read.
    """
    points = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            root = bytes.fromhex(row["root"])
            points.append(
                Point(row["origin"], int(row["size"]), root, where, row.get("at", ""))
            )
        except (ValueError, KeyError, TypeError):
            raise CannotLookError(f"{where}, line {number}: not an anchor") from None
    return points


def read_restore(origin: str, kept_size: int, lost_size: int) -> Restore:
    """Return a declared rollback as its artifact tells it."""
    return Restore(Point(origin, 0, b"", "").epoch, kept_size, lost_size)


def judge_points(
    points: Iterable[Point],
    roots: dict[int, bytes],
    *,
    current: Point,
    restores: Sequence[Restore] = (),
    looked_from: int = 0,
) -> list[Finding]:
    """Compare written-down roots with those of the tree, by size.

    A size that a later epoch declared lost need not be there; any other size must,
    with the same root. Where one disagrees, the first bad sequence lies past the last
    size that agrees in the same place: a forger's own checkpoints agree with anything.
    """
    findings, agreed = [], dict[str, int]()
    seen: set[tuple[str, int, bytes]] = set()
    for point in sorted(points, key=lambda point: point.size):
        if (point.where, point.size, point.root) in seen:
            continue
        seen.add((point.where, point.size, point.root))
        if point.name != current.name:
            detail = f"{point.where} is of another ledger, {point.origin}"
            findings.append(Finding(Kind.CHECKPOINT, None, detail))
        elif _is_lost(point, restores):
            continue
        elif point.size > current.size:
            detail = (
                f"{point.where} knows {point.size} entries, {current.size} are left"
            )
            findings.append(Finding(Kind.ROLLED_BACK, current.size, detail))
        elif point.size in roots and roots[point.size] == point.root:
            agreed[point.where] = point.size
        elif point.size in roots:
            findings.append(_disagreement(point, agreed.get(point.where, looked_from)))
    return findings


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where anchors and the tree parted: the last size both know, what was lost."""

    kept_size: int
    lost: Point
    epoch: int


def find_divergence(
    points: Sequence[Point],
    roots: dict[int, bytes],
    *,
    current: Point,
    restores: Sequence[Restore] = (),
) -> Divergence | None:
    """Tell what a rebase must declare; nothing when every anchor agrees."""
    ours = [p for p in points if p.name == current.name and not _is_lost(p, restores)]
    lost = [p for p in ours if p.size > current.size or _differs(p, roots)]
    if not lost:
        return None
    first = min(point.size for point in lost)
    kept = max((size for size in roots if size < first), default=0)
    if first > current.size:
        kept = current.size
    epoch = max(point.epoch for point in points) + 1
    return Divergence(kept, max(lost, key=lambda point: point.size), epoch)


def _differs(point: Point, roots: dict[int, bytes]) -> bool:
    return point.size in roots and roots[point.size] != point.root


def _is_lost(point: Point, restores: Sequence[Restore]) -> bool:
    later = [restore for restore in restores if restore.epoch > point.epoch]
    return any(restore.kept_size < point.size <= restore.lost_size for restore in later)


def _disagreement(point: Point, agreed: int) -> Finding:
    last = max(point.size - 1, agreed)
    span = f"#{agreed}" if last == agreed else f"one of #{agreed} to #{last}"
    detail = f"{point.where} of size {point.size} has another root: {span} was changed"
    return Finding(Kind.CHECKPOINT, agreed, detail)


# -- A tile against what is there now ----------------------------------------------
def classify(stored: bytes, actual: Sequence[bytes]) -> tuple[int, Kind]:
    """Tell where a tile's hashes first differ from those there now, and how."""
    kept = [stored[at : at + HASH] for at in range(0, len(stored), HASH)]
    pairs = zip(kept, actual, strict=False)
    place = next(
        (place for place, (old, new) in enumerate(pairs) if old != new),
        min(len(kept), len(actual)),
    )
    old, new = kept[place : place + 2], list(actual[place : place + 2])
    if old[:1] == new[1:2]:
        return place, Kind.REORDERED if new[:1] == old[1:2] else Kind.INSERTED
    if new[:1] == old[1:2]:
        return place, Kind.MISSING
    if set(new[:1]) & set(kept) and set(old[:1]) & set(actual):
        return place, Kind.REORDERED
    return place, Kind.EDITED
