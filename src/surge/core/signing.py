"""Who signed what: recovering addresses from signatures, and the interface of those who sign.

secp256k1 as Ethereum uses it: 65 bytes r, s, v with v 27 or 28. Only the lower of the two possible s is accepted (EIP-2), so that
nobody can turn a signature into a second one.
"""

from __future__ import annotations

from typing import Protocol

from coincurve import PublicKey

from surge.core.keccak import keccak256
from surge.core.types import Address
from surge.errors import PeerFault

SIGNATURE_SIZE = 65
"""Bytes of a signature."""

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half of the group's order: s above it is refused. Source: EIP-2."""


class Signer(Protocol):
    """Something that signs 32-byte digests. Keys themselves never leave the wallet room."""

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        ...

    def sign(self, digest: bytes) -> bytes:
        """The signature over a 32-byte digest: 65 bytes."""
        ...


def address_of_public_key(uncompressed: bytes) -> Address:
    """The address of a 65-byte uncompressed public key."""
    return Address("0x" + keccak256(uncompressed[1:])[-20:].hex())


def recover(digest: bytes, signature: bytes) -> Address:
    """The address that signed `digest`. Raises `PeerFault` for what is no well-formed, low-s signature."""
    if len(signature) != SIGNATURE_SIZE or signature[64] not in (27, 28):
        raise PeerFault("a signature is malformed: 65 bytes that end in 27 or 28 are expected", signature=bytes(signature[:80]))
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise PeerFault("a signature has a high s, so that someone other than the signer may have made it", signature=signature)
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes((signature[64] - 27,)), digest, hasher=None)
    except Exception as error:  # coincurve raises bare Exception and ValueError alike
        raise PeerFault("a signature fits no key", signature=signature) from error
    return address_of_public_key(key.format(compressed=False))


def check_signed(digest: bytes, signature: bytes, signer: Address, what: str) -> None:
    """Raise `PeerFault` unless `signer` signed `digest`; `what` names the statement."""
    found = recover(digest, signature)
    if found != signer:
        raise PeerFault(f"{what} is signed by {found}, not by {signer}", found=found, expected=signer)


def personal_digest(message: bytes) -> bytes:
    """The EIP-191 digest of a message, as wallets sign text."""
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)
