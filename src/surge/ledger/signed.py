"""Signed transactions as bytes: made, read, and made again at another price.

Type 2 (EIP-1559). The digest is signed through `core.signing.Signer`, so that no private key comes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from surge.core.keccak import keccak256
from surge.core.signing import Signer
from surge.ledger.prices import Price


def sign(signer: Signer, fields: Mapping[str, Any]) -> tuple[str, str]:
    """A transaction's hash and its signed bytes, both 0x-hex."""
    signature = signer.sign(bytes(TypedTransaction.from_dict(dict(fields)).hash()))
    signed = {
        **fields,
        "r": int.from_bytes(signature[:32], "big"),
        "s": int.from_bytes(signature[32:64], "big"),
        "v": signature[64] - 27,
    }
    raw = TypedTransaction.from_dict(signed).encode()
    return "0x" + keccak256(raw).hex(), "0x" + raw.hex()


def sign_again(signer: Signer, raw: str, price: Price) -> tuple[str, str]:
    """The same transaction, nonce included, at another price: as `sign` gives it."""
    return sign(signer, {**_fields(raw), "maxFeePerGas": price.fee, "maxPriorityFeePerGas": price.tip})


def price_of(raw: str) -> Price:
    """What a signed transaction offers."""
    fields = _fields(raw)
    return Price(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])


def same_call(one: str, other: str) -> bool:
    """Whether two signed transactions do the same."""
    return all(_fields(one)[name] == _fields(other)[name] for name in ("to", "value", "data"))


@lru_cache(maxsize=256)
def is_whole(tx_hash: str, raw: str) -> bool:
    """Whether these are the bytes of a transaction, and not damaged ones."""
    try:
        return "0x" + keccak256(bytes.fromhex(raw.removeprefix("0x"))).hex() == tx_hash
    except (AttributeError, TypeError, ValueError):
        return False


@lru_cache(maxsize=256)
def _fields(raw: str) -> Mapping[str, Any]:
    found = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return {name: value for name, value in found.items() if name not in ("r", "s", "v")}
