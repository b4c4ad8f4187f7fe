# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Receipt logs: RFC 9162 inclusion proofs
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A stateless module that checks whether a leaf is in a
        Merkle tree as RFC 9162 defines it: SHA-256, leaves
        prefixed with 00, inner nodes with 01.
@custom:security The prefixes keep a node from passing as a leaf.
                 A proof is bound to an index and a size, so a
                 root alone admits no second reading.
"""


# @dev A log of 2**64 leaves is deeper than any that is signed.
MAX_PATH: constant(uint256) = 64


@internal
@pure
def _leaf(data: bytes32) -> bytes32:
    """
    @dev The hash of a leaf (RFC 9162, 2.1.1).
    @param data The leaf's 32 bytes.
    @return bytes32 The hash.
    """
    return sha256(concat(b"\x00", data))


@internal
@pure
def _node(left: bytes32, right: bytes32) -> bytes32:
    """
    @dev The hash of an inner node (RFC 9162, 2.1.1).
    @param left The left child.
    @param right The right child.
    @return bytes32 The hash.
    """
    return sha256(concat(b"\x01", left, right))


@internal
@pure
def _included(leaf: bytes32, index: uint256, size: uint256, path: DynArray[bytes32, MAX_PATH], root: bytes32) -> bool:
    """
    @dev Whether a leaf is in a log (RFC 9162, 2.1.3.2).
    @param leaf The leaf's hash.
    @param index Its place, from 0.
    @param size Leaves in the log.
    @param path The proof, from the leaf up.
    @param root The log's root.
    @return bool Whether the proof holds.
    """
    if index >= size:
        return False
    position: uint256 = index
    last: uint256 = unsafe_sub(size, 1)
    node: bytes32 = leaf
    for sibling: bytes32 in path:
        if last == 0:
            return False
        if position & 1 == 1 or position == last:
            node = self._node(sibling, node)
            for _: uint256 in range(256):
                if position & 1 == 1 or position == 0:
                    break
                position >>= 1
                last >>= 1
        else:
            node = self._node(node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and node == root
