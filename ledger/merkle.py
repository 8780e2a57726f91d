"""The RFC 6962 Merkle tree: roots, 256-wide tiles, proofs made and checked. Pure.

Heights count hashes above the leaves; a tile of level L holds the 256 hashes of height
8 x L that stand side by side under one hash of height 8 x (L + 1).
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from struct import Struct

HASH = 32
WIDTH = 256
TILE_HEIGHT = 8
EMPTY_ROOT = sha256(b"").digest()

# Returns the hash of a complete subtree by height and index at that height.
Subtree = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of an entry."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash above two hashes."""
    return sha256(b"\1" + left + right).digest()


def fold(row: bytes) -> bytes:
    """Return the root over a power of two of joined hashes that stand side by side."""
    while len(row) > HASH:
        # Cut by struct: 0.9 of the time that slices take.
        pairs = _pairs(len(row) // 64).unpack(row)
        row = b"".join([sha256(b"\1" + pair).digest() for pair in pairs])
    return row


@lru_cache(maxsize=64)
def _pairs(count: int) -> Struct:
    return Struct("64s" * count)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    tree = Accumulator()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


class Accumulator:
    """The right edge of a tree: its complete subtrees, the largest first."""

    __slots__ = ("peaks", "size")

    def __init__(self, peaks: Iterable[tuple[int, bytes]] = ()) -> None:
        self.peaks = list(peaks)
        self.size = sum(1 << height for height, _ in self.peaks)

    def append(self, digest: bytes, height: int = 0) -> None:
        """Add a leaf, or a whole subtree where its height fits."""
        peaks = self.peaks
        self.size += 1 << height
        while peaks and peaks[-1][0] == height:
            digest = node_hash(peaks.pop()[1], digest)
            height += 1
        peaks.append((height, digest))

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        digest = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            digest = node_hash(left, digest)
        return digest


# Hashes of one height that stand side by side, joined.
Part = tuple[int, bytes]


def tiles_inside(sizes: Iterable[int]) -> set[int]:
    """Return the tiles, by index, inside which one of the sizes lies."""
    return {size // WIDTH for size in sizes if size % WIDTH}


def pack(row: bytes, index: int, closely: Container[int]) -> Part:
    """Return a tile's leaf hashes as its root, or as they are where it matters."""
    if len(row) == WIDTH * HASH and index not in closely:
        return TILE_HEIGHT, fold(row)
    return 0, row


class Growth:
    """A tree that grows part by part; its roots at the sizes asked for are kept."""

    def __init__(self, sizes: Container[int], tree: Accumulator | None = None) -> None:
        """Begin with nothing, or with the edge of a tree."""
        self.tree = tree or Accumulator()
        self.sizes = sizes
        self.roots: dict[int, bytes] = {}
        self._keep()

    def add(self, part: Part) -> None:
        """Append the hashes of a part."""
        height, row = part
        for at in range(0, len(row), HASH):
            self.tree.append(row[at : at + HASH], height)
            self._keep()

    def _keep(self) -> None:
        if self.tree.size in self.sizes:
            self.roots[self.tree.size] = self.tree.root()


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that will not change again."""

    level: int
    index: int
    root: bytes
    data: bytes


class Edge:
    """The unfinished tile of each level; gives tiles up as they fill."""

    def __init__(self, size: int, rows: Sequence[Sequence[bytes]]) -> None:
        """Begin at a size, with the hashes each unfinished tile holds by then."""
        self.size = size
        self.rows = [list(row) for row in rows]

    def add(self, leaves: Iterable[bytes]) -> list[FullTile]:
        """Append leaf hashes; return the tiles that became full."""
        tiles: list[FullTile] = []
        for leaf in leaves:
            self.size += 1
            self._push(0, leaf, tiles)
        return tiles

    def _push(self, level: int, digest: bytes, tiles: list[FullTile]) -> None:
        if level == len(self.rows):
            self.rows.append([])
        row = self.rows[level]
        row.append(digest)
        if len(row) < WIDTH:
            return
        data = b"".join(row)
        row.clear()
        index = (self.size >> TILE_HEIGHT * (level + 1)) - 1
        tiles.append(FullTile(level, index, fold(data), data))
        self._push(level + 1, tiles[-1].root, tiles)

    def accumulator(self) -> Accumulator:
        """Return the same edge as complete subtrees."""
        tree = Accumulator()
        for level in range(len(self.rows) - 1, -1, -1):
            for digest in self.rows[level]:
                tree.append(digest, TILE_HEIGHT * level)
        return tree

    def root(self) -> bytes:
        """Return the root at this size."""
        return self.accumulator().root()


def edge_widths(size: int) -> list[int]:
    """Return how many hashes the unfinished tile of each level holds at a size."""
    widths = []
    while size:
        size, width = divmod(size, WIDTH)
        widths.append(width)
    return widths


# -- Proofs ------------------------------------------------------------------------
def inclusion_path(sequence: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that lead from a leaf to the root, RFC 6962 2.1.1."""
    _require(0 <= sequence < size, "no such sequence at this size")
    path = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if sequence < middle:
            path.append(_range_root(middle, high, subtree))
            high = middle
        else:
            path.append(_range_root(low, middle, subtree))
            low = middle
    return path[::-1]


def consistency_path(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that show the tree only grew, RFC 6962 2.1.2."""
    _require(0 <= old <= size, "the old size is larger than the new")
    if old in {0, size}:
        return []
    path = []
    low, high, whole = 0, size, True
    while old != high - low:
        middle = _split(high - low)
        if old <= middle:
            path.append(_range_root(low + middle, high, subtree))
            high = low + middle
        else:
            path.append(_range_root(low, low + middle, subtree))
            low, old, whole = low + middle, old - middle, False
    if not whole:
        path.append(_range_root(low, high, subtree))
    return path[::-1]


def is_included(
    leaf: bytes, sequence: int, size: int, path: Sequence[bytes], root: bytes
) -> bool:
    """Tell whether a path leads from a leaf to the root, RFC 9162 2.1.3.2."""
    if not 0 <= sequence < size:
        return False
    digest, index, last = leaf, sequence, size - 1
    for sibling in path:
        if last == 0:
            return False
        if index % 2 or index == last:
            digest = node_hash(sibling, digest)
            while index % 2 == 0 and index:
                index, last = index >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and digest == root


def is_consistent(
    old: int, size: int, path: Sequence[bytes], old_root: bytes, root: bytes
) -> bool:
    """Tell whether the tree of one root only grew into another, RFC 9162 2.1.4.2."""
    if old == size:
        return not path and old_root == root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if not 0 < old < size or not path:
        return False
    index, last = old - 1, size - 1
    while index % 2:
        index, last = index >> 1, last >> 1
    hashes = list(path) if index else [old_root, *path]
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if index % 2 or index == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while index % 2 == 0 and index:
                index, last = index >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and first == old_root and second == root


def covered_ranges(sequence: int, size: int) -> list[tuple[int, int]]:
    """Return the sequences under each hash of an inclusion path, first and last."""
    ranges = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if sequence < middle:
            ranges.append((middle, high - 1))
            high = middle
        else:
            ranges.append((low, middle - 1))
            low = middle
    return ranges[::-1]


def _split(width: int) -> int:
    """Return the largest power of two below a width."""
    return 1 << (width - 1).bit_length() - 1


def _range_root(low: int, high: int, subtree: Subtree) -> bytes:
    width = high - low
    if width & (width - 1) == 0:
        height = width.bit_length() - 1
        return subtree(height, low >> height)
    middle = low + _split(width)
    return node_hash(
        _range_root(low, middle, subtree), _range_root(middle, high, subtree)
    )


def _require(condition: bool, sentence: str) -> None:  # noqa: FBT001
    if not condition:
        raise ValueError(sentence)
