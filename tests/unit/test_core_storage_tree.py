"""A shard's tree: what is proved is what is there, and nothing else passes for it."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core.storage import tree
from surge.core.storage.layout import MOST_SHARD, PROOF_LEAF, TRANSFER_LEAF
from surge.core.storage.tree import Builder, Tree, verify, verify_range, widths
from surge.errors import InvalidInput

EDGES = [1, 31, 1023, 1024, 1025, 8192, 8193, 65535, 65536, 65537, 8 * 65536, 8 * 65536 + 1, 600_000]
SIZES = st.one_of(st.sampled_from(EDGES), st.integers(1, 700_000))


def shard(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def plainly(data: bytes) -> bytes:
    """The root as the format says it, without any of the tree's code."""
    level = [hashlib.sha256(b"\x00" + data[at : at + 1024]).digest() for at in range(0, len(data), 1024)]
    while len(level) > 1:
        level = [hashlib.sha256(b"\x01" + b"".join(level[at : at + 8])).digest() for at in range(0, len(level), 8)]
    return level[0]


@pytest.mark.parametrize("size", EDGES)
def test_the_root_is_what_the_format_says(size: int) -> None:
    data = shard(size)
    assert Tree.of(data).root == plainly(data)
    assert Tree.of(memoryview(bytearray(data))).root == plainly(data)


@settings(deadline=None)
@given(SIZES, st.lists(st.integers(0, 5000), max_size=30))
def test_a_tree_from_pieces_is_the_tree_of_the_whole(size: int, cuts: list[int]) -> None:
    data, builder, at = shard(size), Builder(), 0
    for cut in cuts:
        builder.update(data[at : at + cut])
        at += cut
    builder.update(data[at:])
    assert builder.size == size
    assert builder.tree().root == Tree.of(data).root


@settings(deadline=None)
@given(SIZES, st.data())
def test_every_leaf_is_proved_within_its_bound_and_only_in_its_place(size: int, draw: st.DataObject) -> None:
    data = shard(size)
    made = Tree.of(data)
    leaves = widths(size)[0]
    leaf = draw.draw(st.integers(0, leaves - 1))
    piece, proof = data[leaf * PROOF_LEAF : (leaf + 1) * PROOF_LEAF], made.proof(leaf)
    assert len(proof) <= 7 * 32 * (len(widths(size)) - 1)
    assert verify(made.root, size, leaf, piece, proof)
    other = draw.draw(st.integers(0, leaves))
    if other != leaf:
        assert not verify(made.root, size, other, piece, proof)
    at = draw.draw(st.integers(0, len(piece) - 1))
    assert not verify(made.root, size, leaf, piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :], proof)
    assert not verify(made.root, size, leaf, piece[:-1], proof)
    assert not verify(made.root, size, leaf, piece + b"\x00", proof)
    assert not verify(made.root, size, leaf, piece, proof + bytes(32))
    if proof:
        bad = draw.draw(st.integers(0, len(proof) - 1))
        assert not verify(made.root, size, leaf, piece, proof[:bad] + bytes([proof[bad] ^ 1]) + proof[bad + 1 :])
        assert not verify(made.root, size, leaf, piece, proof[:-32])
        assert not verify(made.root, size, leaf, piece, proof[:-1])
    assert not verify(made.root, size, -1, piece, proof)


@settings(deadline=None)
@given(SIZES, st.data())
def test_every_range_of_transfer_leaves_is_proved_and_only_in_its_place(size: int, draw: st.DataObject) -> None:
    data = shard(size)
    made = Tree.of(data)
    count = tree.transfer_leaves(size)
    first = draw.draw(st.integers(0, count - 1))
    end = draw.draw(st.integers(first + 1, count))
    piece, proof = data[first * TRANSFER_LEAF : end * TRANSFER_LEAF], made.range_proof(first, end)
    assert verify_range(made.root, size, first, piece, proof)
    if (first, end) == (0, count):
        assert proof == b""
    other = draw.draw(st.integers(-1, count))
    if other != first:
        assert not verify_range(made.root, size, other, piece, proof)
    at = draw.draw(st.integers(0, len(piece) - 1))
    assert not verify_range(made.root, size, first, piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :], proof)
    assert not verify_range(made.root, size, first, piece[:-1], proof)
    assert not verify_range(made.root, size, first, piece[:-TRANSFER_LEAF], proof)
    assert not verify_range(made.root, size, first, piece, proof + b"\x00")
    if proof:
        assert not verify_range(made.root, size, first, piece, proof[32:])
    assert not verify_range(made.root, size + 1, first, piece, proof) or end != count


def test_a_shard_of_another_size_has_another_tree() -> None:
    data = shard(5000)
    made = Tree.of(data)
    assert not verify(made.root, 4999, 4, data[4096:], made.proof(4))
    assert not verify(made.root, 5001, 4, data[4096:], made.proof(4))
    assert not verify_range(made.root, 5001, 0, data, b"")


def test_a_leaf_is_not_counted_from_the_end() -> None:
    data = shard(64 * 1024)
    made = Tree.of(data)
    assert verify(made.root, len(data), 63, data[-1024:], made.proof(63))
    assert not verify(made.root, len(data), -1, data[-1024:], made.proof(63))


def test_a_node_does_not_pass_for_a_leaf() -> None:
    data = shard(8 * 1024)
    made = Tree.of(data)
    node = b"\x01" + made.leaves
    assert not verify(made.root, len(node), 0, node, b"")


@pytest.mark.parametrize("size", [-1, 0, MOST_SHARD + 1, 1 << 80])
def test_a_size_that_no_shard_has_is_refused(size: int) -> None:
    for refused in (
        lambda: widths(size),
        lambda: Tree(size, b""),
        lambda: verify(b"", size, 0, b"", b""),
        lambda: verify_range(b"", size, 0, b"", b""),
    ):
        with pytest.raises(InvalidInput, match="a shard of"):
            refused()


def test_leaves_that_are_not_there_are_refused() -> None:
    made = Tree.of(shard(70_000))
    for leaf in (-1, 69):
        with pytest.raises(InvalidInput, match="no leaf"):
            made.proof(leaf)
    for first, end in ((-1, 1), (1, 1), (0, 3), (2, 3)):
        with pytest.raises(InvalidInput, match="no transfer leaves"):
            made.range_proof(first, end)
    with pytest.raises(InvalidInput, match="leaves"):
        Tree(70_000, made.leaves[32:])
    with pytest.raises(InvalidInput, match="a shard of 0"):
        Builder().tree()


def test_the_bounds_of_proofs_are_those_of_the_largest_shard() -> None:
    assert len(widths(MOST_SHARD)) - 1 == tree.MOST_HEIGHT
    assert tree.MOST_PROOF == 1568


def test_a_builder_stops_at_the_largest_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_SHARD", 10)
    builder = Builder()
    builder.update(bytes(10))
    with pytest.raises(InvalidInput, match="at most 10"):
        builder.update(b"a")
