"""Bonds as the contract calculates them: shares of a pool, and the hash chains that operators register.

>>> bought(5, 0, 0)
5000
>>> worth(5000, 5, 5000)
5
"""

from __future__ import annotations

from surge.core.keccak import keccak256

VIRTUAL = 1_000
"""Shares of every pool that belong to nobody, for a wei that belongs to nobody."""

WHOLE = 10_000
"""Basis points of a whole."""

MAX_SKIP = 1_024
"""Links that the contract hashes over in one call."""


def bought(amount: int, assets: int, shares: int) -> int:
    """The shares that `amount` wei buy in a pool of so many wei and shares, rounded down."""
    return amount * (shares + VIRTUAL) // (assets + 1)


def worth(part: int, assets: int, shares: int) -> int:
    """What so many of a pool's shares are worth in wei, rounded down."""
    return part * (assets + 1) // (shares + VIRTUAL)


def shares_for(amount: int, assets: int, shares: int) -> int:
    """The fewest shares of a pool that are worth `amount` wei."""
    return -(-amount * (shares + VIRTUAL) // (assets + 1))


def link(secret: bytes, length: int, number: int) -> bytes:
    """A link of the chain of `length` hashes over `secret`; the anchor is number 0, and hashed `number` times a link gives it.

    The contract numbers cases from 1 after those that came before the anchor: the link of the first is number 1. Raises `ValueError` past
    the chain's end, where the secret itself lies.
    """
    if not 0 <= number <= length:
        raise ValueError(f"a chain of {length} links has no link {number}")
    for _ in range(length - number):
        secret = keccak256(secret)
    return secret
