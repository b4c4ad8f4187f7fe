"""What holders of shards sign, and what frees them: pledges and releases.

Both are EIP-712 structs in the domain of the contract `challenges` (`core.eip712.challenges_domain`). A pledge is what the ledger takes
a holder by its word with, so it names everything that the contract needs, and ends by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surge.core import canonical
from surge.core.eip712 import Domain, address_word, type_hash, typed_digest, word
from surge.core.keccak import keccak256
from surge.core.signing import check_signed
from surge.core.types import MAX_WEI, ZERO, Address, address
from surge.errors import InvalidInput

MAX_PERIODS = 2
"""Periods that one pledge spans at most: the next one is signed while the last one still holds."""

BURNT_PART = 2
"""Of what is slashed a half is burnt at least; the owner gets the rest, and no more than the operator's own stake loses."""

HELD_PART = 4
"""Of a bond, open challenges hold a quarter at most."""

_PLEDGE = type_hash(
    "Pledge(bytes32 deal,address device,address operator,address owner,address keeper,bytes32 root,uint64 size,uint64 starts,"
    "uint64 until,uint256 penalty)"
)
_RELEASE = type_hash("Release(bytes32 deal)")

_TYPES = (bytes, str, str, str, str, bytes, int, int, int, int)


@dataclass(frozen=True, slots=True)
class Pledge:
    """A device's promise to have a shard for some time. The order is the contract's."""

    deal: bytes
    """32 random bytes: one shard at one holder."""
    device: Address
    """Who has the shard, and signs."""
    operator: Address
    """Whose bond answers for it."""
    owner: Address
    """Who is paid of what is slashed."""
    keeper: Address
    """Who may release the deal."""
    root: bytes
    """32 bytes: the root of the shard's tree (`core.storage.tree`)."""
    size: int
    """Bytes of the shard."""
    starts: int
    """Unix seconds from which it may be challenged."""
    until: int
    """Unix seconds after which it may not be; who has an open challenge keeps the shard until that is over."""
    penalty: int
    """Wei that a failed challenge costs."""

    def digest(self, domain: Domain) -> bytes:
        """What the device signs: 32 bytes."""
        return typed_digest(
            domain,
            keccak256(
                _PLEDGE
                + self.deal
                + address_word(self.device)
                + address_word(self.operator)
                + address_word(self.owner)
                + address_word(self.keeper)
                + self.root
                + word(self.size)
                + word(self.starts)
                + word(self.until)
                + word(self.penalty)
            ),
        )

    def verify(self, domain: Domain, signature: bytes) -> bytes:
        """The pledge's digest, once its device's signature is checked. Raises `PeerFault`."""
        digest = self.digest(domain)
        check_signed(digest, signature, self.device, "a pledge")
        return digest

    def holds(self, now: int) -> bool:
        """Whether it may be challenged at a moment, by the ledger's clock."""
        return self.starts <= now <= self.until

    def encode(self) -> bytes:
        """Canonical bytes, as journals keep them."""
        return canonical.encode(
            [
                self.deal,
                self.device,
                self.operator,
                self.owner,
                self.keeper,
                self.root,
                self.size,
                self.starts,
                self.until,
                self.penalty,
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Pledge:
        """The pledge in canonical bytes. Raises `InvalidInput`."""
        row: Any = canonical.decode(data)
        if not isinstance(row, list) or len(row) != len(_TYPES):
            raise InvalidInput(f"a pledge has {len(_TYPES)} fields", data=data[:256])
        if any(type(value) is not kind or (isinstance(value, int) and value < 0) for value, kind in zip(row, _TYPES, strict=True)):
            raise InvalidInput("a pledge has a field of the wrong type", data=data[:256])
        deal, device, operator, owner, keeper, root, size, starts, until, penalty = row
        if len(deal) != len(ZERO) or len(root) != len(ZERO):
            raise InvalidInput("a pledge's deal and root are 32 bytes each")
        if max(size, starts, until) >= 1 << 64 or penalty > MAX_WEI:
            raise InvalidInput("a pledge has a number out of bounds")
        return cls(deal, address(device), address(operator), address(owner), address(keeper), root, size, starts, until, penalty)


@dataclass(frozen=True, slots=True)
class Release:
    """A keeper's word that a holder need not have a shard any more. It frees from open challenges too."""

    deal: bytes
    """32 bytes."""

    def digest(self, domain: Domain) -> bytes:
        """What the keeper signs: 32 bytes."""
        return typed_digest(domain, keccak256(_RELEASE + self.deal))

    def verify(self, domain: Domain, signature: bytes, keeper: Address) -> None:
        """Raise `PeerFault` unless the keeper signed this release in this domain."""
        check_signed(self.digest(domain), signature, keeper, "a release")


def owner_part(slashed: int, own: int, bond: int) -> int:
    """What a pledge's owner gets, in wei, of what is slashed of a bond of which `own` is the operator's itself, active and leaving.

    Half is burnt at least. Nobody gets more than the operator itself loses: otherwise one who has little in a bond of others' stake would
    fail a pledge to a friend.

    >>> owner_part(100, 50, 100), owner_part(100, 20, 100), owner_part(100, 100, 100)
    (50, 20, 50)
    """
    return min(slashed // BURNT_PART, slashed * own // bond) if bond else 0
