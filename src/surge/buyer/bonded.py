"""What bond operators have, as the ledger says: looked up seldom, and never read as missing because an endpoint is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from surge.core.types import Address, Wei
from surge.errors import SurgeError

log = logging.getLogger("surge.buyer")

AGAIN_SECONDS = 30.0
"""After which an operator is looked up again: its first pay may have become its bond, or its bond may have gone."""


class Anchored(Protocol):
    """What is behind an operator."""

    @property
    def anchor(self) -> bytes:
        """32 bytes: the head of its hash chain; zero if it has none."""
        ...


class Stakes(Protocol):
    """`ledger.bonds`."""

    async def pool(self, operator: Address) -> Anchored:
        """What is behind an operator."""
        ...

    async def own_stake(self, operator: Address) -> Wei:
        """Wei of an operator's own active stake."""
        ...

    async def min_bond(self) -> Wei:
        """Wei that an operator needs."""
        ...


@dataclass(frozen=True, slots=True)
class Bond:
    """What an operator stands to lose."""

    amount: int | None
    """Wei of its own stake; None where that is not known, or not asked for."""
    enough: bool
    """Whether that is the network's least bond, and can be lost: the court tries nobody who registered no hash chain."""


UNASKED = Bond(None, enough=True)
"""Of operators of one's own, and where the ledger does not answer: nothing is held against anybody."""


class Bonded:
    """Knows who has a bond. `own` are operators whose keys are on this machine: they are not asked for one. `court`: there is one."""

    def __init__(self, stakes: Stakes, own: Collection[str] = (), *, court: bool = False) -> None:
        self._stakes = stakes
        self._court = court
        self._own = frozenset(own)
        self._known: dict[str, tuple[Bond, float]] = {}
        self._least: Wei | None = None

    async def of(self, operator: Address) -> Bond:
        """An operator's bond."""
        if operator in self._own:
            return UNASKED
        now = time.monotonic()
        known, looked = self._known.get(operator, (UNASKED, -AGAIN_SECONDS))
        if now - looked < AGAIN_SECONDS:
            return known
        try:
            if self._least is None:
                self._least = await self._stakes.min_bond()
            amount = await self._stakes.own_stake(operator) if self._least else 0
            tried = not self._least or not self._court or any((await self._stakes.pool(operator)).anchor)
        except SurgeError as error:
            log.info("what bond %s has is not known: %s", operator, error)
            return known
        bond = Bond(amount, amount >= self._least and tried) if self._least else UNASKED
        self._known[operator] = (bond, now)
        return bond
