"""What a node answers, read strictly: a node is a stranger, and any JSON may come from it.

Every reader raises `Unavailable` for what it cannot read, so that the next endpoint is asked instead.
Source: the Ethereum execution JSON-RPC specification (quantities, blocks, receipts, logs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from surge.core.types import Address, address
from surge.errors import Unavailable

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*\Z")

MAX_NONCE = 2**48
"""No account has sent so many transactions; a nonce has 64 bits (EIP-2681), and SQLite's numbers a bit fewer."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's head, as far as it is used."""

    number: int
    timestamp: int
    """Unix seconds."""
    base_fee: int
    """Wei a gas; 0 where the chain has none."""


@dataclass(frozen=True, slots=True)
class Log:
    """An event."""

    address: Address
    """The contract that it is of."""
    topics: tuple[bytes, ...]
    """32 bytes each."""
    data: bytes
    transaction: str
    """0x-hex."""


@dataclass(frozen=True, slots=True)
class Mined:
    """A mined transaction's receipt."""

    transaction: str
    """0x-hex."""
    block: int
    succeeded: bool
    """False: it reverted."""
    gas_used: int
    logs: tuple[Log, ...]
    contract: Address | None
    """What it deployed."""


def quantity(found: Any) -> int:
    """A number."""
    if not isinstance(found, str) or not _QUANTITY.match(found):
        raise _nonsense("a number", found)
    return int(found, 16)


def nonce(found: Any) -> int:
    """An account's next nonce."""
    count = quantity(found)
    if count > MAX_NONCE:
        raise _nonsense("an account's nonce", found)
    return count


def data(found: Any) -> bytes:
    """Bytes."""
    if not isinstance(found, str) or not _DATA.match(found):
        raise _nonsense("bytes", found)
    return bytes.fromhex(found[2:])


def block(found: Any) -> Block:
    """A block."""
    fields = _object("a block", found)
    return Block(quantity(fields.get("number")), quantity(fields.get("timestamp")), quantity(fields.get("baseFeePerGas", "0x0")))


def logs(found: Any) -> tuple[Log, ...]:
    """Events."""
    if not isinstance(found, list):
        raise _nonsense("a list of events", found)
    return tuple(_log(each) for each in found)


def mined(found: Any) -> Mined | None:
    """A receipt; None while the transaction is not in a block."""
    if found is None:
        return None
    fields = _object("a receipt", found)
    if fields.get("blockNumber") is None:
        return None
    contract = fields.get("contractAddress")
    return Mined(
        _hash(fields.get("transactionHash")),
        quantity(fields.get("blockNumber")),
        quantity(fields.get("status")) == 1,
        quantity(fields.get("gasUsed")),
        logs(fields.get("logs")),
        None if contract is None else _address(contract),
    )


def _log(found: Any) -> Log:
    fields = _object("an event", found)
    topics = fields.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise _nonsense("an event's topics", topics)
    return Log(
        _address(fields.get("address")),
        tuple(bytes.fromhex(_hash(each)[2:]) for each in topics),
        data(fields.get("data")),
        _hash(fields.get("transactionHash")),
    )


def _object(what: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _nonsense(what, found)
    return found


def _hash(found: Any) -> str:
    if len(data(found)) != 32:
        raise _nonsense("a hash", found)
    return str(found).lower()


def _address(found: Any) -> Address:
    if len(data(found)) != 20:
        raise _nonsense("an address", found)
    return address(found)


def _nonsense(what: str, found: Any) -> Unavailable:
    return Unavailable(f"the node answers {str(found)[:60]!r} where {what} should be")
