"""The receipt log: a Merkle tree as in RFC 9162, with inclusion and consistency proofs.

SHA-256 with the prefixes 00 for leaves and 01 for nodes (RFC 9162, 2.1.1). The log keeps the roots of all complete subtrees,
level by level, so that appending costs two hashes on average and a proof is little more than lookups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from surge.errors import InvalidInput

_sha256 = hashlib.sha256

EMPTY_ROOT = _sha256(b"").digest()
"""The root of a log without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf's data: 32 bytes."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: 32 bytes."""
    return _sha256(b"\x01" + left + right).digest()


class ReceiptLog:
    """An append-only log.

    >>> log = ReceiptLog()
    >>> [log.append(bytes([number])) for number in range(3)]
    [0, 1, 2]
    >>> verify_inclusion(leaf_hash(bytes([1])), 1, 3, log.inclusion(1), log.root())
    True
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for data in leaves:
            self.append(data)

    @property
    def size(self) -> int:
        """Leaves so far."""
        return len(self._levels[0])

    def append(self, data: bytes) -> int:
        """Append a leaf with this data; returns its index."""
        levels = self._levels
        index = len(levels[0])
        node = leaf_hash(data)
        levels[0].append(node)
        level, position = 0, index
        while position & 1:
            node = node_hash(levels[level][position - 1], node)
            level += 1
            position >>= 1
            if level == len(levels):
                levels.append([])
            levels[level].append(node)
        return index

    def truncate(self, size: int) -> None:
        """Forget the leaves from `size` on: undoes appends that nobody was told of."""
        size = self._checked(size)
        for level, nodes in enumerate(self._levels):
            del nodes[size >> level :]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, by default of all: 32 bytes."""
        size = self._checked(self.size if size is None else size)
        return self._range(0, size) if size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """The hash of the leaf at `index`."""
        return self._levels[0][index]

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The proof that the leaf at `index` is in the log of the first `size` leaves (RFC 9162, 2.1.3.1)."""
        size = self._checked(self.size if size is None else size)
        if not 0 <= index < size:
            raise InvalidInput(f"there is no leaf {index} among {size}", index=index, size=size)
        levels = self._levels
        path: list[bytes] = []
        level, position, width = 0, index, size
        while width > 1:
            sibling = position ^ 1
            if sibling < width:
                end = (sibling + 1) << level
                path.append(levels[level][sibling] if end <= size else self._range(sibling << level, size))
            level += 1
            position >>= 1
            width = (width + 1) >> 1
        return path

    def consistency(self, first: int, second: int | None = None) -> list[bytes]:
        """The proof that the log of `first` leaves is a prefix of that of `second` (RFC 9162, 2.1.4.1)."""
        second = self._checked(self.size if second is None else second)
        if not 0 < first <= second:
            raise InvalidInput(f"there is no consistency proof from {first} to {second} leaves", first=first, second=second)
        return self._subproof(first, 0, second, whole=True)

    def _subproof(self, count: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if count == end - start:
            return [] if whole else [self._range(start, end)]
        split = 1 << ((end - start - 1).bit_length() - 1)
        if count <= split:
            return [*self._subproof(count, start, start + split, whole=whole), self._range(start + split, end)]
        return [*self._subproof(count - split, start + split, end, whole=False), self._range(start, start + split)]

    def _range(self, start: int, end: int) -> bytes:
        """The root of the leaves from start to end, where start is a multiple of the range's power of two."""
        node: bytes | None = None
        at = end
        while at > start:
            level = (at & -at).bit_length() - 1
            while (1 << level) > at - start:
                level -= 1
            piece = self._levels[level][(at >> level) - 1]
            node = piece if node is None else node_hash(piece, node)
            at -= 1 << level
        assert node is not None
        return node

    def _checked(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise InvalidInput(f"the log has {self.size} leaves, not {size}", size=size)
        return size


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with this hash is at `index` in the log of `size` leaves with this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and node == root


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the log of `first` leaves is a prefix of the log of `second` leaves (RFC 9162, 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    steps = list(path)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)
    if not steps:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position >>= 1
        last >>= 1
    one = two = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            one = node_hash(sibling, one)
            two = node_hash(sibling, two)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            two = node_hash(two, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and one == first_root and two == second_root
