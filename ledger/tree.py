"""The stored tree: its size, its right edge, its proofs, read from tiles."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, router
from django.db.models import Max

from ledger import merkle
from ledger.errors import NotSequencedError
from ledger.merkle import HASH, TILE_HEIGHT, WIDTH
from ledger.models import Leaf, Tile


def size() -> int:
    """Return how many artifacts have their place."""
    last = Leaf.objects.aggregate(last=Max("sequence"))["last"]
    return 0 if last is None else int(last) + 1


def load_edge(size: int) -> merkle.Edge:
    """Return the right edge at a size: at most 255 hashes of each level."""
    reader = TreeReader(size)
    levels = range(len(merkle.edge_widths(size)))
    tiles = [(level, size >> TILE_HEIGHT * (level + 1)) for level in levels]
    reader.load(tiles)
    rows = [reader.row(*key) for key in tiles]
    return merkle.Edge(
        size, [[row[at : at + HASH] for at in range(0, len(row), HASH)] for row in rows]
    )


@dataclass(slots=True)
class TreeReader:
    """Hashes of complete subtrees of a tree of one size; stored rows are read once."""

    size: int = 0
    _rows: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def subtree(self, height: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        level, tile, place, count = _place(height, index)
        if (level, tile) not in self._rows:
            self.load({(level, tile)})
        row = self._rows[level, tile]
        return merkle.fold(row[place * HASH : (place + count) * HASH])

    def load(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Read what tiles hold at this size, in one query for all of them."""
        widths = {key: self._width(*key) for key in wanted}
        queries = [_query(*key, width) for key, width in widths.items() if width]
        parts: dict[tuple[int, int], list[bytes]] = {key: [] for key in widths}
        for level, tile, _, part in _union(queries):
            parts[level, tile].append(bytes(part))
        for key, found in parts.items():
            self._rows[key] = row = b"".join(found)
            if len(row) != widths[key] * HASH:
                have = f"{len(row) // HASH} of {widths[key]}"
                raise NotSequencedError(f"tile {key[0]}/{key[1]} lacks hashes: {have}")

    def row(self, level: int, tile: int) -> bytes:
        """Return the hashes of a tile, full or not."""
        if (level, tile) not in self._rows:
            self.load({(level, tile)})
        return self._rows[level, tile]

    def _width(self, level: int, tile: int) -> int:
        return min(WIDTH, (self.size >> TILE_HEIGHT * level) - tile * WIDTH)


def _place(height: int, index: int) -> tuple[int, int, int, int]:
    """Return level and tile of a subtree, its first hash there and their number."""
    level, above = divmod(height, TILE_HEIGHT)
    tile, place = divmod(index << above, WIDTH)
    return level, tile, place, 1 << above


def _query(level: int, tile: int, width: int) -> str:
    """Return the SQL of a tile: stored, or put together from what lies below it."""
    first, past = tile * WIDTH, tile * WIDTH + width
    head = f"SELECT {level} AS level, {tile} AS tile"
    if width == WIDTH:
        return (
            f"{head}, 0 AS place, data AS part FROM ledger_tile"
            f' WHERE level = {level} AND "index" = {tile}'
        )
    if level:
        return (
            f'{head}, "index" AS place, root AS part FROM ledger_tile'
            f' WHERE level = {level - 1} AND "index" >= {first} AND "index" < {past}'
        )
    return (
        f"{head}, l.sequence AS place, a.hash AS part FROM ledger_leaf l"
        " JOIN ledger_artifact a ON a.id = l.artifact_id"
        f" WHERE l.sequence >= {first} AND l.sequence < {past}"
    )


def _union(queries: list[str]) -> list[tuple[int, int, int, Any]]:
    if not queries:
        return []
    with connections[router.db_for_read(Tile)].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(queries) + " ORDER BY place")
        return list(cursor.fetchall())


def _wanted(make: Callable[[merkle.Subtree], object]) -> set[tuple[int, int]]:
    """Return the tiles a proof will read, by making it of nothing first."""
    wanted: set[tuple[int, int]] = set()

    def note(height: int, index: int) -> bytes:
        wanted.add(_place(height, index)[:2])
        return b""

    make(note)
    return wanted


def inclusion(sequence: int, size: int) -> tuple[bytes, list[bytes]]:
    """Return the leaf hash and the path to the root of a size."""
    if not 0 <= sequence < size:
        raise NotSequencedError(f"#{sequence} is not in the tree of {size}")

    def make(subtree: merkle.Subtree) -> tuple[bytes, list[bytes]]:
        path = merkle.inclusion_path(sequence, size, subtree)
        return subtree(0, sequence), path

    reader = TreeReader(size)
    reader.load(_wanted(make))
    return make(reader.subtree)


def consistency(old: int, size: int) -> list[bytes]:
    """Return the path that shows the tree only grew from one size to another."""
    if not 0 <= old <= size:
        raise NotSequencedError(f"{old} is not a size before {size}")

    def make(subtree: merkle.Subtree) -> list[bytes]:
        return merkle.consistency_path(old, size, subtree)

    reader = TreeReader(size)
    reader.load(_wanted(make))
    return make(reader.subtree)
