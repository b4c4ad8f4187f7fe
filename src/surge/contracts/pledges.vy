# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Pledges: what holders of shards signed, and what freed them
@license GNU Affero General Public License v3.0 only
@author Surge
@notice The EIP-712 types of pledges and releases, and who stands
        behind a pledge.
@custom:security Every digest is over the domain of the contract
                 that uses the module, and over the type. Nobody
                 signs for the empty address: a signature of a
                 wrong length recovers it.
"""


# @dev We use the `eip712_domain_separator` module.
from snekmate.utils import eip712_domain_separator as eip712
uses: eip712


# @dev We import the `ecdsa` module, which is stateless.
from snekmate.utils import ecdsa


# @dev A holder's promise to have a shard for some time.
struct Pledge:
    deal: bytes32
    device: address
    operator: address
    owner: address
    keeper: address
    root: bytes32
    size: uint64
    starts: uint64
    until: uint64
    penalty: uint256


interface Registry:
    def operator_of(device: address) -> address: view
    def removed_at(device: address, operator: address) -> uint256: view


# @dev EIP-712 types. Off chain they stand in
# `core/storage/pledges.py`.
PLEDGE_TYPE: constant(bytes32) = keccak256(
    "Pledge(bytes32 deal,address device,address operator,address owner,address keeper,bytes32 root,uint64 size,uint64 starts,uint64 until,uint256 penalty)"
)
RELEASE_TYPE: constant(bytes32) = keccak256("Release(bytes32 deal)")


# @dev Operators and their devices.
registry: public(immutable(address))


@deploy
def __init__(registry_: address):
    """
    @dev Names who is asked.
    @param registry_ Operators and their devices.
    """
    assert registry_ != empty(address), "challenges: empty address"
    registry = registry_


@internal
@view
def _digest(pledge: Pledge) -> bytes32:
    """
    @dev What a device signs.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(PLEDGE_TYPE, pledge)))


@internal
@view
def _signed(pledge: Pledge, signature: Bytes[65]) -> bytes32:
    """
    @dev A pledge's digest, once its device's signature is checked,
         and that there is somebody in each part.
    """
    for party: address in [pledge.device, pledge.operator, pledge.owner, pledge.keeper]:
        assert party != empty(address), "challenges: empty address"
    digest: bytes32 = self._digest(pledge)
    assert ecdsa._recover_sig(digest, signature) == pledge.device, "challenges: not the device's pledge"
    return digest


@internal
@view
def _released(pledge: Pledge, signature: Bytes[65]) -> bool:
    """
    @dev Whether the pledge's keeper signed that its deal is over.
    """
    digest: bytes32 = eip712._hash_typed_data_v4(keccak256(abi_encode(RELEASE_TYPE, pledge.deal)))
    return ecdsa._recover_sig(digest, signature) == pledge.keeper


@internal
@view
def _stands_behind(pledge: Pledge) -> bool:
    """
    @dev Whether the operator answers for the device: it names it,
         did so when the pledge began, or is the device itself.
    """
    if pledge.operator == pledge.device or staticcall Registry(registry).operator_of(pledge.device) == pledge.operator:
        return True
    removed: uint256 = staticcall Registry(registry).removed_at(pledge.device, pledge.operator)
    return removed != 0 and convert(pledge.starts, uint256) <= removed
