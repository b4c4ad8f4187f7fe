"""A crown's root and proofs are those of the whole tree, for shards of every shape."""

from __future__ import annotations

import random

import pytest

from surge.core.storage.crown import Crown, node
from surge.core.storage.layout import PROOF_LEAF, TRANSFER_LEAF
from surge.core.storage.tree import Tree, transfer_leaves, verify, verify_range, widths
from surge.errors import InvalidInput

SIZES = [1, 1023, 1024, 1025, 8 * 1024, 8 * 1024 + 1, 65535, 65536, 65537, 3 * 65536 + 7, 8 * 65536, 9 * 65536 + 1, 1_600_032]


def made(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def crown_of(shard: bytes) -> Crown:
    only = len(shard) <= TRANSFER_LEAF
    return Crown(len(shard), b"".join(node(shard[at : at + TRANSFER_LEAF], only=only) for at in range(0, len(shard), TRANSFER_LEAF)))


@pytest.mark.parametrize("size", SIZES)
def test_a_crown_proves_what_the_tree_proves(size: int) -> None:
    shard = made(size)
    crown, tree = crown_of(shard), Tree.of(shard)
    assert crown.root == tree.root
    draw = random.Random(1)
    for leaf in {0, widths(size)[0] - 1, draw.randrange(widths(size)[0])}:
        start = leaf * PROOF_LEAF // TRANSFER_LEAF * TRANSFER_LEAF
        proof = crown.proof(leaf, shard[start : start + TRANSFER_LEAF])
        assert proof == tree.proof(leaf)
        assert verify(tree.root, size, leaf, shard[leaf * PROOF_LEAF : (leaf + 1) * PROOF_LEAF], proof)
    count = transfer_leaves(size)
    for first in {0, count - 1, draw.randrange(count)}:
        end = draw.randint(first + 1, count)
        assert crown.range_proof(first, end) == tree.range_proof(first, end)
        assert verify_range(tree.root, size, first, shard[first * TRANSFER_LEAF : end * TRANSFER_LEAF], crown.range_proof(first, end))


def test_nothing_is_proved_from_damaged_bytes() -> None:
    shard = bytearray(made(200_000))
    crown = crown_of(bytes(shard))
    shard[70_000] ^= 1
    with pytest.raises(InvalidInput, match="not as it was"):
        crown.proof(64, shard[TRANSFER_LEAF : 2 * TRANSFER_LEAF])
    crown.proof(0, shard[:TRANSFER_LEAF])


@pytest.mark.parametrize(("first", "end"), [(-1, 1), (0, 0), (3, 5), (4, 5)])
def test_a_range_outside_the_shard_is_refused(first: int, end: int) -> None:
    with pytest.raises(InvalidInput, match="no transfer leaves"):
        crown_of(made(200_000)).range_proof(first, end)


def test_a_crown_has_a_hash_for_each_transfer_leaf() -> None:
    with pytest.raises(InvalidInput, match="has 2 transfer leaves"):
        Crown(TRANSFER_LEAF + 1, bytes(32))
