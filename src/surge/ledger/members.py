"""Who the registry names: operators, their devices and their relays, out of its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.keccak import keccak256
from surge.core.types import Address, address
from surge.errors import Unavailable
from surge.ledger.answers import Log

DEVICE, RELAY, OPERATOR = "device", "relay", "operator"
"""Kinds of members."""

_DEVICE_REGISTERED = keccak256(b"DeviceRegistered(address,address,string)")
_DEVICE_REMOVED = keccak256(b"DeviceRemoved(address,address)")
_RELAY_REGISTERED = keccak256(b"RelayRegistered(address,address,string,string)")
_RELAY_REMOVED = keccak256(b"RelayRemoved(address,address)")
_OPERATOR_DESCRIBED = keccak256(b"OperatorDescribed(address,string)")


@dataclass(frozen=True, slots=True)
class Member:
    """A device, a relay, or an operator that describes itself."""

    kind: str
    address: Address
    operator: Address
    """Who names it; an operator, itself."""
    url: str
    """Where a relay is reached."""
    metadata: str
    """What the operator says of it: nobody checks that."""


def members(events: Iterable[Log]) -> list[Member]:
    """Who is named after these events of the registry, in the order in which they were first named. Raises `Unavailable`."""
    found: dict[tuple[str, Address], Member] = {}
    for event in events:
        kind = event.topics[0] if event.topics else b""
        if kind == _OPERATOR_DESCRIBED:
            (operator,), (metadata,) = _read(event, 1, ("string",))
            found[OPERATOR, operator] = Member(OPERATOR, operator, operator, "", metadata)
        elif kind == _DEVICE_REGISTERED:
            (operator, device), (metadata,) = _read(event, 2, ("string",))
            found[DEVICE, device] = Member(DEVICE, device, operator, "", metadata)
        elif kind == _RELAY_REGISTERED:
            (operator, relay), (url, metadata) = _read(event, 2, ("string", "string"))
            found[RELAY, relay] = Member(RELAY, relay, operator, url, metadata)
        elif kind in (_DEVICE_REMOVED, _RELAY_REMOVED):
            (_, gone), _ = _read(event, 2, ())
            found.pop((DEVICE if kind == _DEVICE_REMOVED else RELAY, gone), None)
    return list(found.values())


def _read(event: Log, indexed: int, types: tuple[str, ...]) -> tuple[list[Address], tuple[Any, ...]]:
    """An event's indexed addresses, and its data."""
    try:
        if len(event.topics) != 1 + indexed:
            raise ValueError("another number of topics")
        return [address("0x" + each[-20:].hex()) for each in event.topics[1:]], tuple(abi_decode(types, event.data))
    except (DecodingError, OverflowError, ValueError) as error:
        raise Unavailable("an event of the registry cannot be read") from error
