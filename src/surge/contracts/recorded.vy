# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Recorded: what devices signed, and what channels recorded
@license GNU Affero General Public License v3.0 only
@author Surge
@notice A module that checks a device's receipt and terms against
        its channel, and that an operator stands behind a device.
@custom:security A log's root is the buyer's word alone: that a
                 receipt is in it says when it was recorded, not
                 that a device made it. So the device's signature
                 is asked for too. And a channel names any device
                 for any provider: whom an operator answers for
                 only the registry says.
"""


# @dev We import the `ecdsa` module, which is stateless.
from snekmate.utils import ecdsa


# @dev We import the `merkle_log` module, which is stateless.
import merkle_log


struct Channel:
    buyer: address
    provider: address
    device: address
    session_key: address
    deposit: uint256
    redeemed: uint256
    floor: uint256
    count: uint256
    root: bytes32
    challenge_seconds: uint256
    closing_at: uint256
    closed: bool
    redeemed_at: uint256


struct Receipt:
    kind: uint8
    device: address
    buyer: address
    channel: bytes32
    sequence: uint64
    subject: bytes32
    result: bytes32
    quantity: uint256
    amount: uint256
    finishedAt: uint64


struct Terms:
    channel: bytes32
    job: bytes32
    offer: bytes32
    engine: bytes32
    gigafuelPrice: uint256
    memoryPrice: uint256
    transferPrice: uint256
    compilePrice: uint256
    speed: uint256
    window: uint32
    auditSeconds: uint64
    offlineSeconds: uint64


interface Channels:
    def state(id: bytes32) -> Channel: view
    def receipt_digest(receipt: Receipt) -> bytes32: view
    def verify_receipt(
        receipt: Receipt, accepted: bool, amount: uint256, index: uint256, path: DynArray[bytes32, merkle_log.MAX_PATH]
    ) -> bool: view


interface Registry:
    def operator_of(device: address) -> address: view
    def removed_at(device: address, operator: address) -> uint256: view


# @dev EIP-712 types. Off chain they stand in `core/eip712.py` and
# `core/receipts.py`.
DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
TERMS_TYPE: constant(bytes32) = keccak256(
    "Terms(bytes32 channel,bytes32 job,bytes32 offer,bytes32 engine,uint256 gigafuelPrice,uint256 memoryPrice,uint256 transferPrice,uint256 compilePrice,uint256 speed,uint32 window,uint64 auditSeconds,uint64 offlineSeconds)"
)


# @dev Kinds of receipts whose quantity is fuel: units and setups.
UNIT: constant(uint8) = 1
SETUP: constant(uint8) = 2


# @dev The channels.
channels: public(immutable(address))


# @dev Operators and their devices.
registry: public(immutable(address))


# @dev The domain of what is signed about channels.
SEPARATOR: immutable(bytes32)


@deploy
def __init__(registry_: address, channels_: address):
    """
    @dev Names who is asked.
    @param registry_ Operators and their devices.
    @param channels_ The channels.
    """
    assert registry_ != empty(address) and channels_ != empty(address), "court: empty address"
    registry = registry_
    channels = channels_
    SEPARATOR = keccak256(
        abi_encode(DOMAIN_TYPE, keccak256("Surge channels"), keccak256("1"), chain.id, channels_)
    )


@internal
@view
def _channel(id: bytes32) -> Channel:
    """
    @dev A channel's state.
    """
    return staticcall Channels(channels).state(id)


@internal
@view
def _signed(receipt: Receipt, signature: Bytes[65], device: address) -> bytes32:
    """
    @dev A receipt's digest, once its device's signature is checked.
    """
    digest: bytes32 = staticcall Channels(channels).receipt_digest(receipt)
    assert device != empty(address), "court: no such channel"
    assert ecdsa._recover_sig(digest, signature) == device, "court: not the device's receipt"
    return digest


@internal
@view
def _agreed(terms: Terms, signature: Bytes[65], channel: bytes32, device: address) -> bool:
    """
    @dev Whether a channel's device signed these terms for it.
    """
    digest: bytes32 = keccak256(concat(b"\x19\x01", SEPARATOR, keccak256(abi_encode(TERMS_TYPE, terms))))
    return terms.channel == channel and ecdsa._recover_sig(digest, signature) == device


@internal
@view
def _stands_behind(operator: address, device: address, seconds: uint256) -> bool:
    """
    @dev Whether an operator answers for a device: it names it, did
         so until some seconds ago, or is the device itself.
    """
    if operator == device or staticcall Registry(registry).operator_of(device) == operator:
        return True
    removed: uint256 = staticcall Registry(registry).removed_at(device, operator)
    return removed != 0 and block.timestamp <= removed + seconds
