"""Whether operators have their bond, as the ledger says: looked up seldom, and never read as missing because an endpoint is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Protocol

from surge.core.types import Address, Wei
from surge.errors import SurgeError

log = logging.getLogger("surge.buyer")

AGAIN_SECONDS = 30.0
"""After which an operator that had no bond is looked up again: its first pay may have become one."""


class Stakes(Protocol):
    """`ledger.bonds`."""

    async def own_stake(self, operator: Address) -> Wei:
        """Wei of an operator's own active stake."""
        ...

    async def min_bond(self) -> Wei:
        """Wei that an operator needs."""
        ...


class Bonded:
    """Knows who has a bond. `own` are operators whose keys are on this machine: they are not asked for one."""

    def __init__(self, stakes: Stakes, own: Collection[str] = ()) -> None:
        self._stakes = stakes
        self._own = frozenset(own)
        self._bonded: set[str] = set()
        self._looked: dict[str, float] = {}
        self._least: Wei | None = None

    async def has(self, operator: Address) -> bool:
        """Whether an operator has its bond. Where the ledger does not answer, nothing is held against anybody."""
        if operator in self._own or operator in self._bonded:
            return True
        now = time.monotonic()
        if now - self._looked.get(operator, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return False
        try:
            if self._least is None:
                self._least = await self._stakes.min_bond()
            found = self._least == 0 or await self._stakes.own_stake(operator) >= self._least
        except SurgeError as error:
            log.info("whether %s has its bond is not known: %s", operator, error)
            return True
        if found:
            self._bonded.add(operator)
        else:
            self._looked[operator] = now
        return found
