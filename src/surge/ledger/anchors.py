"""Operators' hash chains on the ledger: the heads that were registered, and the ordinals that name their links."""

from __future__ import annotations

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.hash_chain import Registered
from surge.core.keccak import keccak256
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import Unavailable
from surge.ledger import answers
from surge.ledger.answers import Log
from surge.ledger.calls import Calls
from surge.ledger.interfaces import checksum

ANCHOR_SET = keccak256(b"AnchorSet(address,bytes32,uint256)")
"""The event's first topic."""


class Anchors:
    """The hash chains of a network's operators; reached as `Ledger.anchors`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def anchors(self, operator: Address) -> list[Registered]:
        """The heads that an operator registered, the oldest first."""
        ours = self._calls.address("bonds")
        word = "0x" + operator[2:].rjust(64, "0")
        found: list[Log] = await self._calls.endpoints.call(
            "eth_getLogs",
            {"address": checksum(ours), "topics": ["0x" + ANCHOR_SET.hex(), word], "fromBlock": "0x0", "toBlock": "latest"},
            read=answers.logs,
        )
        topics = (ANCHOR_SET, bytes.fromhex(word[2:]))
        return [_registered(each) for each in found if each.address == ours and tuple(each.topics) == topics]

    async def ordinals(self, operator: Address) -> int:
        """The last ordinal that was given out for an operator: that of the last case, or larger jury, against it."""
        (found,) = await self._calls.read("bonds", "ordinals", checksum(operator))
        return int(found)

    async def set_anchor(self, signer: Signer, head: bytes) -> str:
        """Register the head of another chain of the signer's, 32 bytes; returns the transaction."""
        return (await self._calls.write(signer, "bonds", "set_anchor", head, purpose="registering a hash chain")).transaction


def _registered(event: Log) -> Registered:
    try:
        head, base = abi_decode(("bytes32", "uint256"), event.data)
    except (DecodingError, ValueError) as error:
        raise Unavailable("an event of the bonds cannot be read") from error
    return Registered(head, base)
