"""The upper part of a shard's tree: what a holder keeps beside the shard, 32 bytes for each transfer leaf of 64 KiB.

With it any range of transfer leaves is proved from these hashes alone, and any proof leaf from them and the one transfer leaf that it is
in. Built from the shard's bytes as they come.

    >>> from surge.core.storage.tree import Tree, verify, verify_range
    >>> shard = bytes(range(256)) * 1000
    >>> crown = Crown(len(shard), b"".join(node(shard[at : at + 65536]) for at in range(0, len(shard), 65536)))
    >>> crown.root == Tree.of(shard).root
    True
    >>> verify_range(crown.root, len(shard), 1, shard[65536:196608], crown.range_proof(1, 3))
    True
    >>> verify(crown.root, len(shard), 70, shard[71680:72704], crown.proof(70, shard[65536:131072]))
    True
"""

from __future__ import annotations

from surge.core.storage.layout import PROOF_LEAF, TRANSFER_LEAF
from surge.core.storage.tree import FAN, HASH, TRANSFER_LEVEL, Bytes, above, leaf_hashes, transfer_leaves
from surge.errors import InvalidInput

PER_TRANSFER_LEAF = TRANSFER_LEAF // PROOF_LEAF
"""Proof leaves in a whole transfer leaf."""


def node(leaf: Bytes, *, only: bool = False) -> bytes:
    """The hash of a transfer leaf: of its level's node, or, for a shard that has `only` this one, the shard's root."""
    return _inside(leaf, only)[-1]


def _inside(leaf: Bytes, only: bool) -> list[bytes]:
    """The levels of the tree inside a transfer leaf, up to its node."""
    levels = [leaf_hashes(leaf)]
    while len(levels) <= TRANSFER_LEVEL and not (only and len(levels[-1]) == HASH):
        levels.append(above(levels[-1]))
    return levels


class Crown:
    """The levels from the transfer leaves up to the root."""

    __slots__ = ("_levels", "nodes", "size")

    def __init__(self, size: int, nodes: bytes) -> None:
        """From the hashes of all transfer leaves of a shard of so many bytes. Raises `InvalidInput` if they are not so many."""
        if len(nodes) != transfer_leaves(size) * HASH:
            raise InvalidInput(f"a shard of {size} bytes has {transfer_leaves(size)} transfer leaves, not {len(nodes) / HASH:g}", size=size)
        self.size = size
        """Bytes of the shard."""
        self.nodes = nodes
        """The hashes of the transfer leaves, in a row: what makes this again."""
        self._levels = [nodes]
        while len(self._levels[-1]) > HASH:
            self._levels.append(above(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """The root of the shard's tree."""
        return self._levels[-1]

    def range_proof(self, first: int, end: int) -> bytes:
        """That the transfer leaves from `first` up to `end` are in the shard. Raises `InvalidInput` for none of it."""
        if not 0 <= first < end <= transfer_leaves(self.size):
            raise InvalidInput(f"there are no transfer leaves {first} to {end} in a shard of {self.size} bytes", first=first, end=end)
        return _around(self._levels, first, end)

    def proof(self, leaf: int, inside: Bytes) -> bytes:
        """That a proof leaf is in the shard, from the bytes of the transfer leaf that it is `inside`.

        Raises `InvalidInput` if these are not the bytes that the shard had: it was damaged.
        """
        number, at = divmod(leaf, PER_TRANSFER_LEAF)
        *levels, top = _inside(inside, only=len(self.nodes) == HASH)
        if top != self.nodes[number * HASH : (number + 1) * HASH]:
            raise InvalidInput(f"the transfer leaf {number} is not as it was", leaf=leaf)
        return _around([*levels, top], at, at + 1) + _around(self._levels, number, number + 1)


def _around(levels: list[bytes], first: int, end: int) -> bytes:
    """The siblings that nodes of the lowest level lack, up to the root."""
    found = []
    for hashes in levels[:-1]:
        start, stop = first // FAN * FAN, -(-end // FAN) * FAN
        found += [hashes[start * HASH : first * HASH], hashes[end * HASH : stop * HASH]]
        first, end = start // FAN, stop // FAN
    return b"".join(found)
