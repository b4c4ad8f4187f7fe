"""Who has which tokens: every account of the model, in whole grains."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from surge.errors import InternalFault
from surge.simulate.devices import Array


@dataclass(slots=True)
class Books:
    """The accounts. Tokens only move between them, are burnt, or are minted by emission: `check` finds whatever else happened."""

    supply: int
    """Grains minted at the founding."""
    cap: int
    """Grains there may ever be."""
    market: int
    """Held by whoever trades: what buyers buy from and providers sell to."""
    treasury: int
    """Held by the founder, and not sold."""
    own: Array
    """Staked by each operator behind itself."""
    behind: Array
    """Staked by others behind each operator."""
    idle: int = 0
    """Stakers' tokens that are staked behind nobody, those that are leaving included."""
    leaving: int = 0
    """Operators' own stake that is leaving."""
    sink: int = 0
    """Protocol fees since they were last spent."""
    burnt: int = 0
    """Burnt by slashes."""
    minted: int = 0
    """Minted by emission."""
    free: dict[int, int] = field(default_factory=dict)
    """How much of what is leaving is free on which day."""

    def leave(self, amount: int, day: int) -> None:
        """Operators' stake begins to leave; it was taken off their accounts. It is free on that day, and sold."""
        if amount:
            self.leaving += amount
            self.free[day] = self.free.get(day, 0) + amount

    def release(self, day: int) -> None:
        """What is free today is sold."""
        amount = self.free.pop(day, 0)
        self.leaving -= amount
        self.market += amount

    def total(self) -> int:
        """Grains in all accounts, the burnt ones included."""
        stakes = int(self.own.sum()) + int(self.behind.sum())
        return self.market + self.treasury + stakes + self.idle + self.leaving + self.sink + self.burnt

    def check(self) -> None:
        """Raises `InternalFault` when tokens came from nowhere or went nowhere, an account is overdrawn, or the cap is passed."""
        lost = self.supply + self.minted - self.total()
        if lost:
            raise InternalFault(f"{lost} grains are missing from the model's books")
        if min(self.market, self.idle, self.leaving, self.sink) < 0 or np.any(self.own < 0) or np.any(self.behind < 0):
            raise InternalFault("an account of the model is overdrawn")
        if self.supply + self.minted > self.cap:
            raise InternalFault("the model minted more than the cap allows")
