from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.merkle import Accumulator, Edge, leaf_hash, node_hash, root_of

# The vectors published with Certificate Transparency: eight entries, the root after
# each, and the proofs of its reference implementation.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (sequence, size): path
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (old, size): path
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def make_leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def subtree_of(leaves):
    def subtree(height, index):
        return merkle.fold(b"".join(leaves[index << height : (index + 1) << height]))

    return subtree


@pytest.mark.parametrize("size", range(1, 9))
def test_the_published_roots_come_out(size):
    leaves = [leaf_hash(entry) for entry in ENTRIES[:size]]

    assert root_of(leaves).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert root_of([]) == sha256(b"").digest()


@pytest.mark.parametrize("case", INCLUSION)
def test_the_published_inclusion_proofs_come_out_and_check(case):
    sequence, size = case
    leaves = [leaf_hash(entry) for entry in ENTRIES]

    path = merkle.inclusion_path(sequence, size, subtree_of(leaves))

    assert [digest.hex() for digest in path] == INCLUSION[case]
    root = bytes.fromhex(ROOTS[size - 1])
    assert merkle.is_included(leaves[sequence], sequence, size, path, root)


@pytest.mark.parametrize("case", CONSISTENCY)
def test_the_published_consistency_proofs_come_out_and_check(case):
    old, size = case
    leaves = [leaf_hash(entry) for entry in ENTRIES]

    path = merkle.consistency_path(old, size, subtree_of(leaves))

    assert [digest.hex() for digest in path] == CONSISTENCY[case]
    roots = bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[size - 1])
    assert merkle.is_consistent(old, size, path, *roots)


@given(st.data())
def test_each_entry_is_proved_and_no_other_is(data):
    size = data.draw(st.integers(1, 600))
    sequence = data.draw(st.integers(0, size - 1))
    other = data.draw(
        st.integers(0, size - 1).filter(lambda n: n != sequence or n < 0)
        if size > 1
        else st.just(1)
    )
    leaves = make_leaves(size)
    root = root_of(leaves)

    path = merkle.inclusion_path(sequence, size, subtree_of(leaves))

    assert merkle.is_included(leaves[sequence], sequence, size, path, root)
    assert not merkle.is_included(leaves[sequence], other, size, path, root)
    assert not merkle.is_included(leaf_hash(b"forged"), sequence, size, path, root)
    assert not merkle.is_included(
        leaves[sequence], sequence, size, path, leaves[0][::-1]
    )
    assert not merkle.is_included(leaves[sequence], sequence, size, [*path, root], root)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 10**6))
def test_growth_is_proved_and_a_rewritten_past_is_not(old, more, place):
    size = old + more
    leaves = make_leaves(size)
    rewritten = list(leaves)
    rewritten[place % old] = leaf_hash(b"forged")
    roots = root_of(leaves[:old]), root_of(leaves)

    path = merkle.consistency_path(old, size, subtree_of(leaves))

    assert merkle.is_consistent(old, size, path, *roots)
    forged = merkle.consistency_path(old, size, subtree_of(rewritten))
    assert not merkle.is_consistent(old, size, forged, roots[0], root_of(rewritten))
    if path:
        assert not merkle.is_consistent(old, size, path[:-1], *roots)


@pytest.mark.parametrize(
    ("old", "size", "path"), [(0, 3, [b"x" * 32]), (4, 3, []), (2, 3, []), (-1, 3, [])]
)
def test_a_malformed_consistency_proof_is_not_one(old, size, path):
    assert not merkle.is_consistent(old, size, path, b"x" * 32, b"y" * 32)


@pytest.mark.parametrize("case", [(3, 3), (-1, 3)])
def test_a_proof_of_what_is_not_there_is_not_made(case):
    with pytest.raises(ValueError, match="no such sequence"):
        merkle.inclusion_path(*case, subtree_of(make_leaves(3)))


def test_tiles_fill_level_by_level_and_keep_the_root():
    leaves = [node_hash(b"%d" % number, b"") for number in range(256 * 256 + 300)]
    edge, tiles = Edge(0, []), []

    for first in range(0, len(leaves), 1000):
        tiles += edge.add(leaves[first : first + 1000])

    assert edge.root() == root_of(leaves)
    assert [tile.index for tile in tiles if tile.level == 0] == list(range(257))
    assert [(tile.index, tile.level) for tile in tiles if tile.level] == [(0, 1)]
    assert [len(row) for row in edge.rows] == merkle.edge_widths(len(leaves))
    assert tiles[3].data == b"".join(leaves[768:1024])
    assert tiles[3].root == root_of(leaves[768:1024])


@given(st.integers(0, 300), st.integers(0, 3))
def test_whole_subtrees_may_be_appended_at_once(count, height):
    leaves = make_leaves(count << height)
    tree = Accumulator()

    for index in range(count):
        tree.append(subtree_of(leaves)(height, index), height)

    assert (tree.size, tree.root()) == (len(leaves), root_of(leaves))


@given(st.integers(1, 400), st.data())
def test_the_ranges_of_a_path_cover_all_but_the_entry(size, data):
    sequence = data.draw(st.integers(0, size - 1))

    ranges = merkle.covered_ranges(sequence, size)

    covered = [n for first, last in ranges for n in range(first, last + 1)]
    assert sorted([*covered, sequence]) == list(range(size))
