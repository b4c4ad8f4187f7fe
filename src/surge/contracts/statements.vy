# pragma version ~=0.4.3
# pragma nonreentrancy off
"""
@title Statements: what buyers and devices sign about channels
@license GNU Affero General Public License v3.0 only
@author Surge
@notice The EIP-712 types of vouchers, closes, receipts and
        acknowledgements, and their digests.
@custom:security Every digest is over the domain of the contract
                 that uses the module, and over the type.
"""


# @dev We use the `eip712_domain_separator` module.
from snekmate.utils import eip712_domain_separator as eip712
uses: eip712


# @dev EIP-712 types. Off chain they stand in `core/receipts.py`.
VOUCHER_TYPE: constant(bytes32) = keccak256("Voucher(bytes32 channel,uint256 amount,uint256 count,bytes32 root)")
CLOSE_TYPE: constant(bytes32) = keccak256("Close(bytes32 channel,uint256 amount,uint256 count,bytes32 root)")
RECEIPT_TYPE: constant(bytes32) = keccak256(
    "Receipt(uint8 kind,address device,address buyer,bytes32 channel,uint64 sequence,bytes32 subject,bytes32 result,uint256 quantity,uint256 amount,uint64 finishedAt)"
)
ACKNOWLEDGEMENT_TYPE: constant(bytes32) = keccak256(
    "Acknowledgement(bytes32 channel,uint64 index,bytes32 receipt,bool accepted,uint256 amount)"
)


struct Voucher:
    channel: bytes32
    amount: uint256
    count: uint256
    root: bytes32


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


@external
@view
def voucher_digest(voucher: Voucher) -> bytes32:
    """
    @dev What the session key signs.
    @param voucher The voucher.
    @return bytes32 The EIP-712 digest.
    """
    return self._digest(VOUCHER_TYPE, voucher)


@external
@view
def receipt_digest(receipt: Receipt) -> bytes32:
    """
    @dev What a device signs.
    @param receipt The receipt.
    @return bytes32 The EIP-712 digest.
    """
    return self._receipt_digest(receipt)


@external
@view
def acknowledgement_digest(channel: bytes32, index: uint64, receipt: bytes32, accepted: bool, amount: uint256) -> bytes32:
    """
    @dev The data of a leaf.
    @param channel The channel.
    @param index The leaf's place.
    @param receipt The receipt's digest.
    @param accepted Whether the buyer accepted.
    @param amount What it accepted to pay.
    @return bytes32 The EIP-712 digest.
    """
    return self._acknowledgement_digest(channel, index, receipt, accepted, amount)


@internal
@view
def _digest(type_hash: bytes32, voucher: Voucher) -> bytes32:
    """
    @dev The EIP-712 digest of a Voucher or a Close.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(type_hash, voucher)))


@internal
@view
def _receipt_digest(receipt: Receipt) -> bytes32:
    """
    @dev The EIP-712 digest of a receipt.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(RECEIPT_TYPE, receipt)))


@internal
@view
def _acknowledgement_digest(channel: bytes32, index: uint64, receipt: bytes32, accepted: bool, amount: uint256) -> bytes32:
    """
    @dev The EIP-712 digest of an acknowledgement.
    """
    return eip712._hash_typed_data_v4(keccak256(abi_encode(ACKNOWLEDGEMENT_TYPE, channel, index, receipt, accepted, amount)))
