# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Shard trees: whether bytes are a leaf of a shard
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A stateless module that checks an inclusion proof in the
        tree over a shard: SHA-256, leaves of 1 KiB prefixed with
        00, and nodes of up to eight children prefixed with 01.
@custom:security The prefixes keep a node from passing as a leaf.
                 The tree's shape follows from the shard's size,
                 so that a root and a size admit one reading. Off
                 chain, `core/storage/tree.py` builds the same.
"""


# @dev Bytes of a leaf; the last may be shorter.
LEAF: constant(uint256) = 1_024


# @dev Children of a node.
FAN: constant(uint256) = 8


# @dev Bytes of a hash.
HASH: constant(uint256) = 32


# @dev Levels above the leaves, at most.
MAX_HEIGHT: constant(uint256) = 7


# @dev Bytes of the largest shard: 2 GiB, eight times what is stored.
MAX_SIZE: constant(uint256) = 2**31


# @dev Bytes of the longest proof.
MAX_PROOF: constant(uint256) = MAX_HEIGHT * (FAN - 1) * HASH


@internal
@pure
def _leaves(size: uint256) -> uint256:
    """
    @dev The leaves of a shard.
    @param size Its bytes.
    @return uint256 How many leaves they make.
    """
    return (size + LEAF - 1) // LEAF


@internal
@pure
def _included(leaf: Bytes[LEAF], index: uint256, size: uint256, proof: Bytes[MAX_PROOF], root: bytes32) -> bool:
    """
    @dev Whether bytes are a leaf of a shard.
    @param leaf The bytes.
    @param index The leaf's place, from 0.
    @param size Bytes of the shard, at most MAX_SIZE.
    @param proof From the leaves up, the hashes of the siblings in
           each group of eight, in their order.
    @param root The tree's root.
    @return bool Whether the proof holds.
    """
    width: uint256 = self._leaves(size)
    if index >= width or len(leaf) != min(LEAF, size - index * LEAF):
        return False
    node: bytes32 = sha256(concat(b"\x00", leaf))
    position: uint256 = index
    used: uint256 = 0
    for _: uint256 in range(MAX_HEIGHT):
        if width == 1:
            break
        place: uint256 = position % FAN
        group: uint256 = min(FAN, width - (position - place))
        after: uint256 = used + place * HASH
        end: uint256 = used + (group - 1) * HASH
        if end > len(proof):
            return False
        node = sha256(concat(b"\x01", slice(proof, used, place * HASH), node, slice(proof, after, end - after)))
        used = end
        position //= FAN
        width = (width + FAN - 1) // FAN
    return width == 1 and used == len(proof) and node == root
