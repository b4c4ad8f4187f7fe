"""Signed transactions as bytes: made, read, and made again at another price.

Type 2: <https://eips.ethereum.org/EIPS/eip-1559>. The digest is signed through `core.signing.Signer`, so that no private key comes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import rlp

from surge.core.keccak import keccak256
from surge.core.signing import Signer
from surge.ledger.prices import Price

_TYPE = b"\x02"

_ORDER = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "to", "value", "data", "accessList")


def sign(signer: Signer, fields: Mapping[str, Any]) -> tuple[str, str]:
    """A transaction's hash and its signed bytes, both 0x-hex. The fields go by JSON-RPC's names; `to` and `data` are 0x-hex or bytes."""
    parts = [_bytes(fields[name]) if name in ("to", "data") else fields[name] for name in _ORDER]
    signature = signer.sign(keccak256(_TYPE + rlp.encode(parts)))
    r, s, parity = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64] - 27
    raw = _TYPE + rlp.encode([*parts, parity, r, s])
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
    parts = dict(zip(_ORDER, rlp.decode(_bytes(raw)[1:]), strict=False))
    return {name: part if name in ("to", "data", "accessList") else int.from_bytes(part, "big") for name, part in parts.items()}


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else bytes.fromhex(value.removeprefix("0x"))
