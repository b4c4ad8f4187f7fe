"""Channels and redemptions as the contract holds and tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.keccak import keccak256
from surge.core.types import Address, address
from surge.errors import Unavailable
from surge.ledger.answers import Log

REDEEMED = keccak256(b"Redeemed(bytes32,address,uint256,uint256,uint256,uint256,bytes32)")
"""The event's first topic."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as the contract holds it; all empty if there is none."""

    buyer: Address
    """Who opened it."""
    provider: Address
    """Who is paid."""
    device: Address
    """Who signs receipts."""
    session_key: Address
    """Who signs vouchers."""
    deposit: int
    """Wei."""
    redeemed: int
    """Wei."""
    floor: int
    """Wei: the least the provider is paid."""
    count: int
    """Receipts in the log last redeemed."""
    root: bytes
    """32 bytes: that log's root."""
    challenge_seconds: int
    """Between the start and the end of a one-sided close."""
    closing_at: int
    """Unix seconds at which a one-sided close may end; 0 if none began."""
    closed: bool
    """Whether it is closed."""
    redeemed_at: int
    """Unix seconds at which the count or root last changed; 0 if nothing was redeemed. A claim's age runs from it."""

    @property
    def exists(self) -> bool:
        """Whether the channel was ever opened."""
        return int(self.buyer, 16) != 0


@dataclass(frozen=True, slots=True)
class Redemption:
    """A voucher that was redeemed."""

    channel: bytes
    """32 bytes."""
    provider: Address
    """Who was paid."""
    amount: int
    """Wei: the voucher's, cumulative."""
    paid: int
    """Wei paid to the provider now."""
    fee: int
    """Wei taken as the protocol's fee."""
    count: int
    """Receipts in the log."""
    root: bytes
    """32 bytes."""
    transaction: str
    """0x-hex."""


def read_state(row: Sequence[Any]) -> ChannelState:
    """What the contract's view `state` answers."""
    values = dict(zip((each.name for each in fields(ChannelState)), row, strict=True))
    for name in ("buyer", "provider", "device", "session_key"):
        values[name] = address(values[name])
    return ChannelState(**values)


def least(states: Sequence[ChannelState]) -> ChannelState:
    """What several endpoints say of one channel, at its least favourable. Raises `Unavailable` when it is not the same channel."""
    first = states[0]
    if not all(each.exists for each in states):
        return next(each for each in states if not each.exists)
    if any(_who(each) != _who(first) for each in states):
        raise Unavailable("the ledger's endpoints say different things of a channel: one of them lies")
    furthest = max(states, key=lambda each: each.redeemed)
    return replace(
        furthest,
        deposit=min(each.deposit for each in states),
        floor=min(each.floor for each in states),
        closing_at=min((each.closing_at for each in states if each.closing_at), default=0),
        closed=any(each.closed for each in states),
    )


def _who(state: ChannelState) -> tuple[Any, ...]:
    return state.buyer, state.provider, state.device, state.session_key, state.challenge_seconds


def read_redemption(event: Log) -> Redemption:
    """A `Redeemed` event. Raises `Unavailable`."""
    try:
        amount, paid, fee, count, root = abi_decode(("uint256", "uint256", "uint256", "uint256", "bytes32"), event.data)
        _, channel, provider = event.topics
    except (DecodingError, ValueError) as error:
        raise Unavailable("an event of the channels contract cannot be read") from error
    return Redemption(channel, address("0x" + provider[-20:].hex()), amount, paid, fee, count, root, event.transaction)
