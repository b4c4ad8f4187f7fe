"""EIP-712 typed data: the digests that contracts, wallets and we agree on.

Only static members are needed, so a struct's encoding is its type hash followed by one 32-byte word per member.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from surge.core.keccak import keccak256
from surge.core.types import Address, address_bytes

_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a statement holds: one contract on one chain."""

    name: str
    """`Surge channels`, `Surge registry` or `Surge challenges`."""
    chain_id: int
    """The chain's id."""
    contract: Address
    """The contract that checks the statement."""
    version: str = "1"
    """The version of the statements' format."""


def channels_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of terms, receipts, acknowledgements, vouchers and closes."""
    return Domain("Surge channels", chain_id, contract)


def registry_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of a device's or relay's consent."""
    return Domain("Surge registry", chain_id, contract)


def challenges_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of pledges and releases."""
    return Domain("Surge challenges", chain_id, contract)


@lru_cache(maxsize=256)
def separator(domain: Domain) -> bytes:
    """The domain separator: 32 bytes."""
    return keccak256(
        _DOMAIN_TYPE
        + keccak256(domain.name.encode())
        + keccak256(domain.version.encode())
        + domain.chain_id.to_bytes(32, "big")
        + address_word(domain.contract)
    )


def typed_digest(domain: Domain, struct_hash: bytes) -> bytes:
    """The digest that is signed for a struct's hash in a domain: 32 bytes."""
    return keccak256(b"\x19\x01" + separator(domain) + struct_hash)


def type_hash(declaration: str) -> bytes:
    """The hash of a struct's declaration, such as `Voucher(bytes32 channel,uint256 amount)`."""
    return keccak256(declaration.encode())


def word(value: int) -> bytes:
    """An unsigned integer as a 32-byte word."""
    return value.to_bytes(32, "big")


@lru_cache(maxsize=4096)
def address_word(value: Address) -> bytes:
    """An address as a 32-byte word."""
    return bytes(12) + address_bytes(value)
