"""The receipt log against RFC 9162's recursive definitions and certificate-transparency's published roots."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core.log import EMPTY_ROOT, ReceiptLog, leaf_hash, verify_consistency, verify_inclusion
from surge.errors import InvalidInput

CT_LEAVES = [
    bytes.fromhex(each) for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Certificate Transparency's test tree: its leaves, and the root after each."""


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_proof(first: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 9162, 2.1.4.1, word for word."""
    if first == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if first <= split:
        return [*naive_proof(first, leaves[:split], whole=whole), naive_root(leaves[split:])]
    return [*naive_proof(first - split, leaves[split:], whole=False), naive_root(leaves[:split])]


LEAVES = [bytes([number, number * 7 % 256]) for number in range(70)]


def test_the_published_roots() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    log = ReceiptLog()
    assert log.root() == EMPTY_ROOT
    for number, (leaf, root) in enumerate(zip(CT_LEAVES, CT_ROOTS, strict=True)):
        assert log.append(leaf) == number
        assert log.root().hex() == root
        assert log.leaf(number) == leaf_hash(leaf)
    assert [log.root(size).hex() for size in range(1, 9)] == CT_ROOTS


def test_the_published_inclusion_proof() -> None:
    assert [each.hex() for each in ReceiptLog(CT_LEAVES).inclusion(5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_the_published_consistency_proof() -> None:
    assert [each.hex() for each in ReceiptLog(CT_LEAVES).consistency(6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_roots_and_proofs_are_those_of_the_definition_at_every_size() -> None:
    log = ReceiptLog(LEAVES[:40])
    for size in range(1, 41):
        leaves = LEAVES[:size]
        root = naive_root(leaves)
        assert log.root(size) == root
        for index in range(size):
            path = log.inclusion(index, size)
            assert path == naive_path(index, leaves)
            assert verify_inclusion(leaf_hash(LEAVES[index]), index, size, path, root)
        for first in range(1, size + 1):
            proof = log.consistency(first, size)
            assert proof == naive_proof(first, leaves)
            assert verify_consistency(first, size, log.root(first), root, proof)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_inclusion_proof_fails(data: st.DataObject) -> None:
    log = ReceiptLog(LEAVES)
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    path, root, leaf = log.inclusion(index, size), log.root(size), log.leaf(index)
    change = data.draw(st.sampled_from(["index", "step", "short", "long", "leaf", "root"]))
    if change == "index":
        other = data.draw(st.integers(0, size).filter(lambda each: each != index))
        assert not verify_inclusion(leaf, other, size, path, root)
    elif change == "step" and path:
        place = data.draw(st.integers(0, len(path) - 1))
        assert not verify_inclusion(leaf, index, size, [*path[:place], bytes(32), *path[place + 1 :]], root)
    elif change == "short" and path:
        assert not verify_inclusion(leaf, index, size, path[:-1], root)
    elif change == "long":
        assert not verify_inclusion(leaf, index, size, [*path, bytes(32)], root)
    elif change == "leaf":
        assert not verify_inclusion(bytes(32), index, size, path, root)
    else:
        assert not verify_inclusion(leaf, index, size, path, bytes(32))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_consistency_proof_fails(data: st.DataObject) -> None:
    log = ReceiptLog(LEAVES)
    second = data.draw(st.integers(2, 70))
    first = data.draw(st.integers(1, second - 1))
    proof, one, two = log.consistency(first, second), log.root(first), log.root(second)
    assert proof
    place = data.draw(st.integers(0, len(proof) - 1))
    assert not verify_consistency(first, second, one, two, [*proof[:place], bytes(32), *proof[place + 1 :]])
    assert not verify_consistency(first, second, one, two, proof[:-1])
    assert not verify_consistency(first, second, one, two, [*proof, bytes(32)])
    assert not verify_consistency(first, second, bytes(32), two, proof)
    assert not verify_consistency(first, second, one, bytes(32), proof)


def test_odd_sizes_prove_nothing() -> None:
    log = ReceiptLog(LEAVES[:4])
    root = log.root()
    assert not verify_inclusion(log.leaf(0), -1, 4, log.inclusion(0), root)
    assert not verify_inclusion(log.leaf(0), 4, 4, log.inclusion(0), root)
    assert not verify_inclusion(log.leaf(0), 0, 0, [], root)
    assert not verify_consistency(0, 4, EMPTY_ROOT, root, [])
    assert not verify_consistency(5, 4, root, root, [])
    assert not verify_consistency(4, 4, root, root, [bytes(32)])
    assert not verify_consistency(4, 4, root, bytes(32), [])
    assert not verify_consistency(2, 4, log.root(2), root, [])
    assert not verify_consistency(3, 4, log.root(3), root, [])


def test_an_inner_node_is_no_leaf() -> None:
    log = ReceiptLog(LEAVES[:4])
    node = hashlib.sha256(b"\x01" + log.leaf(0) + log.leaf(1)).digest()
    forged = ReceiptLog([log.leaf(0) + log.leaf(1), log.leaf(2) + log.leaf(3)])
    assert forged.root() != log.root()
    assert leaf_hash(log.leaf(0) + log.leaf(1)) != node


@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.root(6),
        lambda log: log.root(-1),
        lambda log: log.inclusion(3, 3),
        lambda log: log.inclusion(-1),
        lambda log: log.inclusion(0, 6),
        lambda log: log.consistency(4, 3),
        lambda log: log.consistency(0, 3),
        lambda log: log.consistency(3, 6),
        lambda log: log.truncate(6),
    ],
)
def test_what_is_not_in_the_log_is_refused(call: Callable[[ReceiptLog], object]) -> None:
    log = ReceiptLog(LEAVES[:5])
    with pytest.raises(InvalidInput):
        call(log)
    assert log.root() == naive_root(LEAVES[:5])


def test_truncating_undoes_appends_at_every_size() -> None:
    for size in range(34):
        for kept in range(size + 1):
            log = ReceiptLog(LEAVES[:size])
            log.truncate(kept)
            assert log.size == kept
            assert log.root() == naive_root(LEAVES[:kept])
            others = [b"other" + leaf for leaf in LEAVES[: 34 - kept]]
            for leaf in others:
                log.append(leaf)
            if kept % 5 == 0:
                assert log.root() == naive_root(LEAVES[:kept] + others)


def test_a_large_log_agrees_with_the_definition_where_it_is_looked_at() -> None:
    leaves = [number.to_bytes(4, "big") for number in range(10_000)]
    log = ReceiptLog(leaves)
    assert log.root() == naive_root(leaves)
    for index in random.Random(1).sample(range(10_000), 50):
        path = log.inclusion(index)
        assert len(path) <= 14
        assert verify_inclusion(log.leaf(index), index, 10_000, path, log.root())
