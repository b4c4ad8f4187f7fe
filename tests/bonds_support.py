"""Bonds under test: a judge that slashes, some stakers, and the calls as each of them."""

from __future__ import annotations

from typing import Any

from contracts_support import OPERATOR, OWNER, UNBONDING, Place, boa, key
from surge.core.types import Address
from surge.wallet import KeySigner

ETHER = 10**18

ALICE, BOB, CAROL, JUDGE = (key(200 + number) for number in range(4))
"""Two or three who stake behind the operator, and who slashes."""


class Bonds:
    """The contract, called by one or the other."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.contract = place.bonds

    def judge(self) -> None:
        """Name the judge."""
        with boa.env.prank(OWNER.address):
            self.contract.set_slasher(JUDGE.address)

    def by(self, who: KeySigner | Address, function: str, *args: Any) -> Any:
        """A call by somebody."""
        with boa.env.prank(who if isinstance(who, str) else who.address):
            return getattr(self.contract, function)(*args)

    def stake(self, who: KeySigner, amount: int, behind: KeySigner = OPERATOR) -> int:
        """Stake; returns the shares."""
        return int(self.by(who, "stake", behind.address, amount))

    def unstake(self, who: KeySigner, shares: int, behind: KeySigner = OPERATOR) -> int:
        """Unstake; returns the ticket."""
        return int(self.by(who, "unstake", behind.address, shares))

    def leave(self, who: KeySigner, behind: KeySigner = OPERATOR) -> int:
        """Unstake everything; returns the ticket."""
        return self.unstake(who, self.shares(who, behind), behind)

    def withdraw(self, who: KeySigner, ticket: int) -> int:
        """Take what is ready; returns what was paid."""
        return int(self.by(who, "withdraw", ticket))

    def shares(self, who: KeySigner, behind: KeySigner = OPERATOR) -> int:
        return int(self.contract.position(behind.address, who.address)[0])

    def worth(self, who: KeySigner, behind: KeySigner = OPERATOR) -> int:
        """What somebody's active stake is worth."""
        return int(self.contract.position(behind.address, who.address)[1])

    def claimable(self, who: KeySigner, behind: KeySigner = OPERATOR) -> int:
        return int(self.contract.claimable(behind.address, who.address))

    def reserve(self, amount: int, who: KeySigner = OPERATOR) -> int:
        return int(self.by(JUDGE, "reserve", who.address, amount))

    def release(self, amount: int, who: KeySigner = OPERATOR) -> None:
        self.by(JUDGE, "release", who.address, amount)

    def slash(self, amount: int, payees: dict[str, int] | None = None, who: KeySigner = OPERATOR) -> None:
        """Reserve and take an amount."""
        assert self.reserve(amount, who) == amount
        self.by(JUDGE, "slash", who.address, amount, list(payees or {}), list((payees or {}).values()))

    def pool(self, who: KeySigner = OPERATOR) -> Any:
        return self.contract.pool(who.address)

    def held(self) -> int:
        """Wei of the token that the contract holds."""
        return self.place.balance(self.contract.address)


def wait(seconds: int = UNBONDING) -> None:
    """Let so many seconds go by."""
    boa.env.time_travel(seconds=seconds)


def now() -> int:
    """Unix seconds of the chain."""
    return int(boa.env.evm.patch.timestamp)
