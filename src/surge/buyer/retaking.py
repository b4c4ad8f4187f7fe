"""Having the unchecked results of a device that was caught computed again, by others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from surge.buyer.audits import UNCHECKED, Doubted
from surge.buyer.journal import unpack_receipt
from surge.buyer.results import Piece
from surge.core.text import counted
from surge.errors import Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job
    from surge.buyer.peers import Peer

DRAIN_SECONDS = 30.0
"""How long what a caught device was paid for may take to be on disk."""


class Retaking:
    """For one job. `reopened` is told of every cut whose result is taken back."""

    def __init__(self, job: Job, reopened: Callable[[int], None]) -> None:
        self.corrected: list[tuple[int, int]] = []
        """(first, count) of items whose first result was wrong, and was given out."""
        self._job = job
        self._reopened = reopened
        self._given: list[Doubted] = []
        """Results that the user has and that are computed again."""
        self._under_way = 0

    @property
    def busy(self) -> bool:
        """Whether results are about to be taken back."""
        return self._under_way > 0

    def begin(self) -> None:
        """A device was caught, and `retake` follows: the job does not end before."""
        self._under_way += 1

    async def retake(self, peer: Peer, operator: str) -> None:
        """Reopen what a device gave unchecked. Its results must be on disk first, or they would come after their successors."""
        job = self._job
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await peer.payer.drain()
            rows = await job.journal.read(UNCHECKED, (job.plan.id, peer.device))
            doubted = [Doubted(number, first, count, unpack_receipt(receipt).result) for number, first, count, receipt in rows]
            await self._may_bill_again([each.number for each in doubted])
            again = [self._reopen(each, operator) for each in doubted]
            if again:
                job.desk.knows(again)
                job.say(f"{counted(len(again), 'unit')} of {peer.device} are computed again")
                await job.journal.doubt(job.plan.id, doubted, again)
        except TimeoutError:
            job.fail(Unavailable(f"what {peer.device} gave before it was caught could not be taken back: its deposit is used up"))
        finally:
            self._under_way -= 1
            job.poke()

    def was_given(self, piece: Piece, result: bytes) -> bool:
        """Whether the user has results of these items already, from a device that was caught since."""
        for each in self._given:
            if each.first <= piece.first < each.first + each.count:
                if each.count != piece.count or each.result != result:
                    self.corrected.append((piece.first, piece.count))
                return True
        return False

    async def _may_bill_again(self, numbers: Sequence[int]) -> None:
        """Others may have done these units too, as copies: they are asked again, and bill again."""
        job = self._job
        asked = await job.journal.read("SELECT channel, number, unit FROM tries WHERE job = ?", (job.plan.id,))
        wanted = set(numbers)
        for peer in job.lanes.peers.values():
            peer.payer.may_bill_again(unit for channel, number, unit in asked if number in wanted and channel == peer.terms.channel)

    def _reopen(self, each: Doubted, operator: str) -> tuple[int, int, int]:
        job = self._job
        job.progress.done -= each.count
        job.progress.again += each.count
        if not job.retract(each.first):
            self._given.append(each)
        self._reopened(each.number)
        return job.scheduler.reopen(each.first, each.count, operator)
