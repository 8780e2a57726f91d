"""The stored tree: its size, its right edge, its proofs, read from tiles."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

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
    reader = TreeReader()
    rows = []
    for level, width in enumerate(merkle.edge_widths(size)):
        index = size >> TILE_HEIGHT * (level + 1)
        data = reader.row(level, index, width)
        rows.append([data[at : at + HASH] for at in range(0, len(data), HASH)])
    return merkle.Edge(size, rows)


@dataclass(slots=True)
class TreeReader:
    """Hashes of complete subtrees; each stored row is read once."""

    size: int = 0
    _rows: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def subtree(self, height: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        level, above = divmod(height, TILE_HEIGHT)
        first = index << above
        tile, place = divmod(first, WIDTH)
        full = (tile + 1) << TILE_HEIGHT * (level + 1) <= self.size
        width = WIDTH if full else (self.size >> TILE_HEIGHT * level) - tile * WIDTH
        if (level, tile) not in self._rows:
            self._rows[level, tile] = self.row(level, tile, width)
        row = self._rows[level, tile]
        return merkle.fold(row[place * HASH : (place + (1 << above)) * HASH])

    def row(self, level: int, tile: int, width: int) -> bytes:
        """Return the first hashes of a tile, full or not."""
        if width == 0:
            return b""
        data = _read_row(level, tile, width)
        if len(data) != width * HASH:
            raise NotSequencedError(
                f"tile {level}/{tile} lacks hashes: {len(data) // HASH} of {width}"
            )
        return data


def _read_row(level: int, tile: int, width: int) -> bytes:
    if width == WIDTH:
        found: Iterable[tuple[Any]] = Tile.objects.filter(
            level=level, index=tile
        ).values_list("data")
    else:
        found = _read_part(level, tile * WIDTH, width)
    return b"".join([bytes(part) for (part,) in found])


def _read_part(level: int, first: int, width: int) -> Iterable[tuple[Any]]:
    """Read the hashes of an unfinished tile: artifacts', or roots of tiles below."""
    past = first + width
    if level:
        tiles = Tile.objects.filter(level=level - 1, index__gte=first, index__lt=past)
        return tiles.order_by("index").values_list("root")
    leaves = Leaf.objects.filter(sequence__gte=first, sequence__lt=past)
    return leaves.order_by("sequence").values_list("artifact__hash")


def inclusion(sequence: int, size: int) -> tuple[bytes, list[bytes]]:
    """Return the leaf hash and the path to the root of a size."""
    if not 0 <= sequence < size:
        raise NotSequencedError(f"#{sequence} is not in the tree of {size}")
    reader = TreeReader(size)
    path = merkle.inclusion_path(sequence, size, reader.subtree)
    return reader.subtree(0, sequence), path


def consistency(old: int, size: int) -> list[bytes]:
    """Return the path that shows the tree only grew from one size to another."""
    if not 0 <= old <= size:
        raise NotSequencedError(f"{old} is not a size before {size}")
    return merkle.consistency_path(old, size, TreeReader(size).subtree)


def root_at(size: int) -> bytes:
    """Return the root the stored tree has at a size."""
    return load_edge(size).root()
