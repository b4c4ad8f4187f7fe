"""A shard's tree: SHA-256 over leaves of 1 KiB, eight to a node, so that a leaf is proved in a few hundred bytes.

A leaf's hash is SHA-256 of 00 and its bytes, a node's is SHA-256 of 01 and its children; a level of one is the root. The shape follows
from the size alone, so nobody states it. Nodes of the second level stand for 64 KiB, the transfer leaves.

    >>> tree = Tree.of(bytes(100_000))
    >>> proof = tree.proof(97)
    >>> len(proof), verify(tree.root, 100_000, 97, bytes(100_000 - 97 * 1024), proof)
    (192, True)
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from surge.core.storage.layout import MOST_SHARD, PROOF_LEAF, TRANSFER_LEAF, divided
from surge.errors import InvalidInput

FAN = 8
"""Children of a node."""

HASH = 32

TRANSFER_LEVEL = 2
"""The level whose nodes are transfer leaves; the root's, if it is lower."""

MOST_HEIGHT = 7
"""Levels above the leaves, in the tree of the largest shard."""

MOST_PROOF = MOST_HEIGHT * (FAN - 1) * HASH
"""Bytes of the longest proof of a leaf."""

Bytes: TypeAlias = bytes | bytearray | memoryview

_LEAF = hashlib.sha256(b"\x00")
_NODE = hashlib.sha256(b"\x01")


def widths(size: int) -> list[int]:
    """Nodes on each level of a shard's tree, from the leaves to the root. Raises `InvalidInput` for no size of a shard.

    >>> widths(1), widths(100_000)
    ([1], [98, 13, 2, 1])
    """
    if not 0 < size <= MOST_SHARD:
        raise InvalidInput(f"a shard of {size} bytes is not between 1 and {MOST_SHARD}", size=size)
    found = [divided(size, PROOF_LEAF)]
    while found[-1] > 1:
        found.append(divided(found[-1], FAN))
    return found


def transfer_leaves(size: int) -> int:
    """Transfer leaves of a shard."""
    return divided(size, TRANSFER_LEAF)


def leaf_hashes(data: Bytes) -> bytes:
    """The hashes of the leaves in some bytes, in a row; only a shard's last leaf may be short."""
    view = memoryview(data)
    fresh = _LEAF.copy  # with the prefix in it: a third faster than hashing a copy of prefix and leaf
    found = []
    for start in range(0, len(view), PROOF_LEAF):
        leaf = fresh()
        leaf.update(view[start : start + PROOF_LEAF])
        found.append(leaf.digest())
    return b"".join(found)


def above(hashes: bytes) -> bytes:
    """The hashes of the nodes over a level's hashes, both in a row."""
    step = FAN * HASH
    view = memoryview(hashes)
    found = []
    for start in range(0, len(view), step):
        node = _NODE.copy()
        node.update(view[start : start + step])
        found.append(node.digest())
    return b"".join(found)


class Tree:
    """The tree over one shard, all its levels in memory: 37 bytes for each KiB of the shard."""

    __slots__ = ("_levels", "size")

    def __init__(self, size: int, leaves: bytes) -> None:
        """From the hashes of all the leaves of a shard of so many bytes, in a row. Raises `InvalidInput` if they are not so many."""
        levels = widths(size)
        if len(leaves) != levels[0] * HASH:
            raise InvalidInput(f"a shard of {size} bytes has {levels[0]} leaves, not {len(leaves) / HASH:g}", size=size)
        self.size = size
        """Bytes of the shard."""
        self._levels = [leaves]
        while len(self._levels[-1]) > HASH:
            self._levels.append(above(self._levels[-1]))

    @classmethod
    def of(cls, data: Bytes) -> Tree:
        """The tree over a shard that is in memory."""
        return cls(len(data), leaf_hashes(data))

    @property
    def root(self) -> bytes:
        """The root: 32 bytes."""
        return self._levels[-1]

    @property
    def leaves(self) -> bytes:
        """The hashes of the leaves, in a row: what makes this tree again."""
        return self._levels[0]

    def proof(self, leaf: int) -> bytes:
        """That a leaf is in the shard: level by level, the hashes of its siblings in a row. Raises `InvalidInput` for no leaf of it."""
        if not 0 <= leaf < len(self._levels[0]) // HASH:
            raise InvalidInput(f"there is no leaf {leaf} in a shard of {self.size} bytes", leaf=leaf, size=self.size)
        return self._around(0, leaf, leaf + 1)

    def range_proof(self, first: int, end: int) -> bytes:
        """That the transfer leaves from `first` up to `end` are in the shard: level by level, the siblings before and after them."""
        _check_range(self.size, first, end)
        return self._around(min(TRANSFER_LEVEL, len(self._levels) - 1), first, end)

    def _around(self, level: int, first: int, end: int) -> bytes:
        """The siblings that the nodes from first to end of a level lack, up to the root."""
        found = []
        for hashes in self._levels[level:-1]:
            start, stop = first // FAN * FAN, divided(end, FAN) * FAN
            found += [hashes[start * HASH : first * HASH], hashes[end * HASH : stop * HASH]]
            first, end = start // FAN, stop // FAN
        return b"".join(found)


class Builder:
    """Builds a tree from bytes as they come, holding hashes and less than a leaf.

    >>> builder = Builder()
    >>> for piece in (b"a" * 700, b"b" * 700):
    ...     builder.update(piece)
    >>> builder.tree().root == Tree.of(b"a" * 700 + b"b" * 700).root
    True
    """

    __slots__ = ("_leaves", "_rest", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes so far."""
        self._leaves: list[bytes] = []
        self._rest = b""

    def update(self, data: Bytes) -> None:
        """The shard goes on with these bytes. Raises `InvalidInput` beyond the size of the largest shard."""
        self.size += len(data)
        if self.size > MOST_SHARD:
            raise InvalidInput(f"a shard has at most {MOST_SHARD} bytes", size=self.size)
        view = memoryview(data)
        if self._rest:
            missing = PROOF_LEAF - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < PROOF_LEAF:
                return
            self._leaves.append(leaf_hashes(self._rest))
        whole = len(view) // PROOF_LEAF * PROOF_LEAF
        self._leaves.append(leaf_hashes(view[:whole]))
        self._rest = bytes(view[whole:])

    def tree(self) -> Tree:
        """The tree over all the bytes. Raises `InvalidInput` if there were none."""
        return Tree(self.size, b"".join([*self._leaves, leaf_hashes(self._rest)]))


def verify(root: bytes, size: int, leaf: int, data: Bytes, proof: bytes) -> bool:
    """Whether a shard of this size with this root has these bytes as its leaf of this number."""
    levels = widths(size)
    if not 0 <= leaf < levels[0] or len(data) != min(PROOF_LEAF, size - leaf * PROOF_LEAF):
        return False
    return _joined(leaf_hashes(data), levels, leaf, leaf + 1, proof) == root


def verify_range(root: bytes, size: int, first: int, data: Bytes, proof: bytes) -> bool:
    """Whether a shard of this size with this root has these bytes from its transfer leaf of this number on, whole leaves of them."""
    levels = widths(size)
    start = first * TRANSFER_LEAF
    end = first + transfer_leaves(len(data))
    if not 0 <= first < end <= transfer_leaves(size) or len(data) != min(size, end * TRANSFER_LEAF) - start:
        return False
    level = min(TRANSFER_LEVEL, len(levels) - 1)
    hashes = leaf_hashes(data)
    for _ in range(level):
        hashes = above(hashes)
    return _joined(hashes, levels[level:], first, end, proof) == root


def _joined(hashes: bytes, levels: list[int], first: int, end: int, proof: bytes) -> bytes:
    """The root over some nodes of the lowest of these levels and a proof's siblings; nothing, if the proof is of another length."""
    at = 0
    for width in levels[:-1]:
        start, stop = first // FAN * FAN, min(divided(end, FAN) * FAN, width)
        middle = at + (first - start) * HASH
        after = middle + (stop - end) * HASH
        hashes = above(b"".join((proof[at:middle], hashes, proof[middle:after])))
        at, first, end = after, start // FAN, divided(stop, FAN)
    return hashes if at == len(proof) else b""


def _check_range(size: int, first: int, end: int) -> None:
    if not 0 <= first < end <= transfer_leaves(size):
        raise InvalidInput(f"there are no transfer leaves {first} to {end} in a shard of {size} bytes", first=first, end=end, size=size)
