"""Permits: a buyer lets a device read shards of its objects, for its own account with their holder.

An EIP-712 struct in the domain of channels, signed by the session key of the buyer's channel with the holder, as its vouchers are: so the
holder knows who pays. It names who may show it, for which deals, for how many bytes and until when. The salt tells two of them apart that
are alike otherwise, since each is counted by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from surge.core import canonical
from surge.core.eip712 import Domain, address_word, type_hash, typed_digest, word
from surge.core.keccak import keccak256
from surge.core.signing import check_signed
from surge.core.types import Address

LONGEST: Final = 3600
"""Seconds from now at which a permit may end at the latest: its holder remembers for so long what was read by it."""

_PERMIT = type_hash("ReadPermit(bytes32 channel,address device,bytes32 deals,uint64 size,uint64 until,bytes32 salt)")


def deals_root(deals: Iterable[bytes]) -> bytes:
    """What stands for the deals of a permit, whatever their order: 32 bytes."""
    return canonical.digest(["surge permitted deals", sorted(set(deals))])


@dataclass(frozen=True, slots=True)
class ReadPermit:
    """What is permitted."""

    channel: bytes
    """32 bytes: the buyer's channel with the holder; its session key signs."""
    device: Address
    """Who may read."""
    deals: bytes
    """`deals_root` of the deals that it may read."""
    size: int
    """Bytes of them that it may read, all together."""
    until: int
    """Unix seconds at which it ends, by the holder's clock."""
    salt: bytes
    """32 random bytes."""

    def digest(self, domain: Domain) -> bytes:
        """What the session key signs: 32 bytes. A permit is known by it."""
        return typed_digest(
            domain,
            keccak256(_PERMIT + self.channel + address_word(self.device) + self.deals + word(self.size) + word(self.until) + self.salt),
        )

    def verify(self, domain: Domain, signature: bytes, session_key: Address) -> bytes:
        """The permit's digest, once its signature is checked. Raises `PeerFault`."""
        digest = self.digest(domain)
        check_signed(digest, signature, session_key, "a permit")
        return digest
