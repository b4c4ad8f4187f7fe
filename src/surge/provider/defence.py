"""Standing up for one's operator: whoever is accused must show the next link of its hash chain in time, or it loses.

The links follow from a key that the device keeps, so they can be shown while the operator's own key is away; showing one takes nobody's
signature but that of whoever pays the gas.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from surge.core.bonds import MAX_SKIP
from surge.core.court import Phase
from surge.core.hash_chain import HashChain, Registered, chain_of
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, LedgerError, Unavailable
from surge.provider.court import CaseState, Periods

log = logging.getLogger("surge.provider")

LINKS: Final = MAX_SKIP
"""Links of a chain: as far as one call to the contract looks."""

FEW: Final = 64
"""Links left, at which another chain is registered: cases that are open keep theirs."""

LOOKS: Final = 60
"""Looks at the ledger within the time that the accused has."""

REGISTER_SECONDS: Final = 600.0
"""Seconds between looks at whether the operator's chain is registered and has links left."""

QUICKEST, SLOWEST = 0.5, 30.0
"""Seconds between looks, at least and at most."""


class AccusedCase(CaseState, Protocol):
    """A case as the accused looks at it."""

    @property
    def ordinal(self) -> int:
        """Which link is asked for."""
        ...


class AccusedPeriods(Periods, Protocol):
    """The court's periods, as the accused needs them."""

    @property
    def answer_seconds(self) -> int:
        """To show the link."""
        ...


class CourtOfAccused(Protocol):
    """What the accused asks of the court."""

    async def parameters(self) -> AccusedPeriods:
        """The court's periods."""
        ...

    async def against(self, operator: Address) -> Sequence[int]:
        """Cases that were ever opened against an operator."""
        ...

    async def case(self, case: int, /) -> AccusedCase:
        """A case."""
        ...

    async def answer(self, signer: Signer, case: int, link: bytes, /) -> str:
        """Show the link of a case."""
        ...


class Anchors(Protocol):
    """What the accused asks of the bonds."""

    async def anchors(self, operator: Address) -> Sequence[Registered]:
        """The heads that an operator registered, the oldest first."""
        ...

    async def ordinals(self, operator: Address) -> int:
        """The last ordinal that was given out for an operator."""
        ...

    async def set_anchor(self, signer: Signer, head: bytes) -> str:
        """Register another chain."""
        ...


class Defence:
    """Watches for cases against an operator.

    Args:
        court: the court.
        bonds: the bonds.
        operator: who may be accused.
        gas: pays for showing links.
        seed: the seed of the operator's chain with this number, 32 bytes, secret.
    """

    def __init__(self, court: CourtOfAccused, bonds: Anchors, operator: Address, gas: Signer, seed: Callable[[int], bytes]) -> None:
        self._court, self._bonds, self._operator, self._gas, self._seed = court, bonds, operator, gas, seed
        self._over: set[int] = set()
        self._warned: set[int] = set()

    async def register(self, operator: Signer) -> bool:
        """See that the operator's chain is registered, and has links left; whether another one was registered now."""
        registered = await self._bonds.anchors(self._operator)
        newest = registered[-1] if registered else None
        used = await self._bonds.ordinals(self._operator)
        if newest is not None and self._chain(newest, len(registered)) is not None and used - newest.base < LINKS - FEW:
            return False
        await self._bonds.set_anchor(operator, HashChain(self._seed(len(registered)), LINKS).head)
        return True

    async def run(self, operator: Signer | None = None) -> None:
        """Show links as they are asked for, until cancelled; with the operator's key, also see that its chain has links left."""
        pause, registered = QUICKEST, -math.inf
        while True:
            try:
                if operator is not None and time.monotonic() > registered + REGISTER_SECONDS:
                    registered = time.monotonic()
                    await self.register(operator)
                pause = min(SLOWEST, max(QUICKEST, (await self._court.parameters()).answer_seconds / LOOKS))
                await self.look()
            except (Unavailable, LedgerError) as error:
                log.warning("whether the operator is accused cannot be seen now: %s", error)
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Show the link in every case that waits for one."""
        for number in await self._court.against(self._operator):
            if number in self._over:
                continue
            try:
                case = await self._court.case(number)
            except InvalidInput:  # the chain lost its block
                continue
            if case.phase == Phase.OVER:
                self._over.add(number)
            elif case.phase == Phase.ANSWER:
                await self._answer(number, case.ordinal)

    async def _answer(self, number: int, ordinal: int) -> None:
        registered = await self._bonds.anchors(self._operator)
        found = chain_of(ordinal, registered)
        chain = None if found is None else self._chain(found, len(registered))
        if found is None or chain is None or ordinal - found.base > LINKS:
            if number not in self._warned:
                self._warned.add(number)
                log.error("the operator is accused in case %d, and its hash chain is not kept here: show the link from where it is", number)
            return
        try:
            await self._court.answer(self._gas, number, chain.link(ordinal - found.base))
            log.warning("the operator is accused in case %d; its link is shown", number)
        except LedgerError as error:  # shown by another device, or the time is over: the next look says
            log.info("case %d: %s", number, error)

    def _chain(self, registered: Registered, most: int) -> HashChain | None:
        """The chain with this head, if it is one of ours."""
        chains = (HashChain(self._seed(number), LINKS) for number in range(most + 1))
        return next((chain for chain in chains if chain.head == registered.head), None)
