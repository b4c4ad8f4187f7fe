"""A unit that was paid while nobody here waited for its answer: what came of it is in the journal, and it is not asked for again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from surge.buyer.calls import UnitCall
from surge.buyer.cuts import Assign
from surge.buyer.endings import error_of, guest_fault, outcome_of
from surge.buyer.peers import Peer
from surge.buyer.results import Piece
from surge.core.units import Status

if TYPE_CHECKING:
    from surge.buyer.job import Job

DRAIN_SECONDS = 10.0
"""How long what was paid may take to be on disk, before the unit's cut is given to anybody."""

REST = 1.0
"""Seconds that the lane rests then."""

_OUTCOME = "SELECT outcome FROM receipts WHERE channel = ? AND subject = ? AND accepted AND outcome IS NOT NULL"


async def recall(job: Job, one: Assign, peer: Peer, call: UnitCall) -> None:
    """Tell the job what came of a unit that was paid on this channel.

    1. What is paid is on disk soon.
    2. An answer that several should give is not taken from there; nor is one that is not there, as it was not believed or was taken back
       since: the device is asked again, and may bill it again.
    3. The unit's result is the cut's, and so is its bad ending.
    """
    channel, subject = peer.terms.channel, call.asked.subject
    # 1
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await peer.payer.drain()
    except TimeoutError:
        job.scheduler.released(one.number, one.lane, now=time.monotonic(), rest=REST)
        return job.poke()
    row = await job.journal.result(job.plan.id, one.first)
    ends = [outcome_of(data) for (data,) in await job.journal.read(_OUTCOME, (channel, subject))]
    bad = [each for each in ends if each.status not in ((Status.FINISHED,) if job.plan.is_python else (Status.FINISHED, Status.EXITED))]
    job.scheduler.released(one.number, one.lane)
    cut = job.scheduler.cuts.get(one.number)
    if cut is None:
        return job.poke()
    # 2
    if cut.wanted > 1 or cut.answered or not (bad or (row is not None and row.count == cut.count)):
        peer.payer.may_bill_again([subject])
    # 3
    elif row is not None and row.count == cut.count:
        error = None if row.error is None else error_of(row.error)
        job.answers.recalled(one.number, Piece(row.first, row.count, row.value, error))
    else:
        job.answers.replay_endings({one.number: guest_fault(bad[0], b"", "")}, {one.number} if call.lowered else ())
    job.poke()
