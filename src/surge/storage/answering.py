"""Answering on the ledger: who is challenged for a pledge shows the leaf there before the deadline, or its keeper's release.

Anyone may challenge a pledge, for a fee that goes to whoever answers well. Silence costs a part of the operator's bond, so a holder looks
several times within a deadline, and answers from what its shelf has.
"""

from __future__ import annotations

import asyncio
import logging
import time

from surge.core.signing import Signer
from surge.core.storage.deals import SKEW, NotAgreed
from surge.core.types import Address
from surge.errors import LedgerError, NotEnough, Unavailable
from surge.ledger.challenges import Challenge, Challenges
from surge.storage.shelf import Shelf

log = logging.getLogger("surge.storage")

LOOKS = 20
"""Looks at the ledger within a deadline."""

QUICKEST, SLOWEST = 0.5, 300.0
"""Seconds between looks, at least and at most."""

AT_ONCE = 16
"""Challenges that are answered at once: one by one, each takes a block, and who opens enough of them outruns the holder."""

COLLECT_SECONDS = 600.0
"""Seconds between looks at what the contract owes."""


class Answering:
    """Watches for challenges against the pledges of one device.

    Args:
        ledger: the network's challenges.
        shelf: what the device has; started by whoever owns it.
        device: whose pledges these are; it pays for answers.
        operator: whose bond answers for them.
    """

    def __init__(self, ledger: Challenges, shelf: Shelf, device: Signer, operator: Address) -> None:
        self._ledger, self._shelf, self._device, self._operator = ledger, shelf, device, operator
        self._warned: set[int] = set()
        self._pause = QUICKEST
        """Seconds between looks."""

    async def run(self, operator: Signer | None = None) -> None:
        """Answer until cancelled; with the operator's key, also collect the fees."""
        collected = -COLLECT_SECONDS
        while True:
            try:
                self._pause = min(SLOWEST, max(QUICKEST, (await self._ledger.parameters()).deadline_seconds / LOOKS))
                await self.look()
                if operator is not None and time.monotonic() > collected + COLLECT_SECONDS:
                    collected = time.monotonic()
                    await self._ledger.collect(operator)
            except (Unavailable, LedgerError) as error:
                log.warning("whether shards are asked for on the ledger cannot be seen now: %s", error)
            await asyncio.sleep(self._pause)

    async def until_free(self) -> None:
        """Wait until nothing that was dropped here can be challenged any more, while `run` shows its keepers' releases.

        A release does not end a pledge: a device that goes with its last shard could be challenged for it, and lose.
        """
        while True:
            if await self._is_free():
                return
            await asyncio.sleep(self._pause)

    async def _is_free(self) -> bool:
        now = time.time() - SKEW
        if now <= self._shelf.index.bound():
            return False
        try:
            found = await self._ledger.against(self._operator)
        except (Unavailable, LedgerError) as error:
            log.info("whether a challenge waits is not known: %s", error)
            return False
        return not any(each.pledge.device == self._device.address and each.deadline > now for each in found)

    async def look(self) -> None:
        """Answer every challenge of this device that waits, the first deadlines first."""
        waiting = iter([each for each in await self._ledger.against(self._operator) if each.pledge.device == self._device.address])

        async def answer_on() -> None:
            for challenge in waiting:
                await self._try(challenge)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(answer_on())

    async def _try(self, challenge: Challenge) -> None:
        """Answer a challenge; what keeps it from that keeps it from no other."""
        try:
            await self._answer(challenge)
        except NotEnough as error:
            log.error("challenge %d waits, and costs a part of the bond after its deadline: %s", challenge.number, error)
        except (LedgerError, Unavailable) as error:  # another was quicker, or the time is over: the next look says
            log.info("challenge %d: %s", challenge.number, error)

    async def _answer(self, challenge: Challenge) -> None:
        deal, number = challenge.pledge.deal, challenge.number
        try:
            leaf, path = await asyncio.to_thread(self._shelf.prove, deal, challenge.index)
        except NotAgreed as error:
            released = self._shelf.index.released(deal)
            if released is not None:
                await self._ledger.release(self._device, challenge, released.signature)
                log.warning("challenge %d: its keeper's release is shown", number)
            elif number not in self._warned:
                self._warned.add(number)
                log.error("challenge %d about deal %s cannot be answered: %s", number, deal.hex(), error)
            return
        await self._ledger.answer(self._device, challenge, leaf, path)
        log.warning("challenge %d: the leaf is shown", number)
