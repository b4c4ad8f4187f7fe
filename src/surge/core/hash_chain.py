"""Hash chains: a row of secrets, the last of which was made public before the others matter.

An operator registers the chain's head. Each link, hashed, gives the one before it, so a link shows that it was settled when the head was,
and the next one cannot be foreseen. The first link to be told is the one below the head, the last one the seed.

    >>> chain = HashChain(bytes(32), 100)
    >>> leads_to(chain.link(1), 1, chain.head)
    True
    >>> leads_to(chain.link(5), 3, chain.link(2))
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from surge.core.keccak import keccak256
from surge.errors import InvalidInput

MAX_LINKS: Final = 1 << 16
"""Links of a chain: making the head of the longest takes a tenth of a second."""


@dataclass(frozen=True, slots=True)
class HashChain:
    """A chain, from its seed."""

    seed: bytes
    """32 bytes, secret."""
    length: int
    """Links that can be told."""

    def __post_init__(self) -> None:
        if len(self.seed) != 32 or not 1 <= self.length <= MAX_LINKS:
            raise InvalidInput(f"a hash chain has a seed of 32 bytes and 1 to {MAX_LINKS} links", length=self.length)

    @property
    def head(self) -> bytes:
        """What is registered: 32 bytes."""
        return follow(self.seed, self.length)

    def link(self, number: int) -> bytes:
        """The link with this number, from 1: `number` hashes below the head. Raises `InvalidInput` when the chain has no such link."""
        if not 1 <= number <= self.length:
            raise InvalidInput(f"the hash chain has links 1 to {self.length}, and {number} is asked for: register a new one", number=number)
        return follow(self.seed, self.length - number)


@dataclass(frozen=True, slots=True)
class Registered:
    """A head that an operator registered."""

    head: bytes
    """32 bytes."""
    base: int
    """The ordinals that were given out before: ordinal `base + n` belongs to the chain's link n."""


def chain_of(ordinal: int, registered: Sequence[Registered]) -> Registered | None:
    """The chain that an ordinal belongs to, of those in the order in which they were registered; None if it belongs to none."""
    return next((each for each in reversed(registered) if each.base < ordinal), None)


def follow(link: bytes, steps: int) -> bytes:
    """The link `steps` hashes above: Keccak-256, again and again."""
    for _ in range(steps):
        link = keccak256(link)
    return link


def leads_to(link: bytes, steps: int, known: bytes) -> bool:
    """Whether `known` is `steps` hashes above `link`, one at least."""
    return len(link) == 32 and 1 <= steps <= MAX_LINKS and follow(link, steps) == known
