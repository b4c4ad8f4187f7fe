"""Units of which a provider does no more before it is paid: what of them it is certain to get is not enough (`core.exposure`).

A provider says so with the code `cover`, before it begins or where it stopped. The buyer does what helps: it waits for receipts that it
holds to be answered, asks for fewer items at once, or raises the floor of the channel, and asks again. Who needs long units of a provider
that does not know it thus pledges more to it, step by step; work that is paid counts towards the floor.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import TYPE_CHECKING

from surge.buyer.bounds import LOOK_SECONDS, LOOKS
from surge.buyer.calls import UnitCall, said_in
from surge.buyer.cuts import Cut, Lane
from surge.buyer.peers import Peer
from surge.buyer.purse import in_surge
from surge.buyer.sizes import DOUBT
from surge.core.messages import Refusal
from surge.core.pricing import unit_amount
from surge.core.types import GIGA
from surge.errors import LedgerError, NotEnough, PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job
    from surge.buyer.lanes import Lanes

RISE = 4
"""A floor is raised so many times at once: what is stopped on the way to a unit's price is a third of it more at most."""

RAISES = 12
"""Times that a job raises one channel's floor, from nothing to a unit's price at its limit; who asks for more is given up."""

FIRST_FUEL = 10 * GIGA
"""What a unit is taken to need of which nothing is known."""

ROUNDS = 4
"""Units for each core that are covered at once: one runs, others wait for vouchers, and each has more set aside than it takes."""

REST_SECONDS = 0.3
"""How long a lane rests that waits for receipts to be answered."""


class Covering:
    """What one job does where a provider's cover ends."""

    def __init__(self, job: Job, lanes: Lanes) -> None:
        self._job = job
        self._lanes = lanes
        self._raised: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()

    def refused(self, call: UnitCall, refusal: Refusal) -> None:
        """A unit was not begun, or stopped.

        1. A device that says it did more than it had the time for is given up: it would have floors raised for nothing.
        2. What is known of the unit now is kept, and it is given back; in two parts where one item at least is covered.
        3. Receipts that are held while their results are checked will raise the cover: they are waited for, or paid early.
        4. Otherwise the floor is raised.
        """
        job, lanes, key = self._job, self._lanes, call.lane
        covered, _, fuel = _figures(refusal)
        cut, lane, peer = job.scheduler.cuts.get(call.number), job.scheduler.lanes.get(key), lanes.peers.get(key)
        # 1
        if peer is not None and self._is_too_soon(call, cut, fuel):
            text = f"{key} says that it stopped a unit at {fuel / GIGA:.3g} gigafuel, for which it had no time"
            job.scheduler.released(call.number, key)
            return lanes.give_up(peer, Unavailable(text, device=key, for_good=True))
        # 2
        splits = False
        if cut is not None:
            cut.least = max(cut.least, min(fuel, call.asked.limits.fuel))
            splits = cut.count > 1 and not fuel and 0 < self._price(peer, (job.purse.item_fuel or 0)) <= covered
        job.answers.apply(job.scheduler.uncovered(call.number, key, split=splits), [])
        if lane is None or peer is None or not call.wanted or call.stage != lane.stage or not lanes.is_prepared(key):
            return
        # 3
        if splits or peer.payer.held:
            peer.lacks_cover = bool(peer.payer.held)
            lane.rests_until = time.monotonic() + REST_SECONDS
            return
        # 4
        lane.ready = False
        lanes.mend(key, self._raise(peer, refusal, cut))

    def most_items(self, lane: Lane, peer: Peer) -> float:
        """Items of a unit of which the provider does as many before it is paid as run, and wait for their vouchers; infinite if unknown.

        What it covers is reckoned as for who never left a receipt unanswered: the floor, or what was vouched for.
        """
        each = self._price(peer, self._job.purse.item_fuel or 0)
        return max(peer.payer.floor, peer.payer.amount) / each / (ROUNDS * lane.cores) if each else math.inf

    def _is_too_soon(self, call: UnitCall, cut: Cut | None, fuel: int) -> bool:
        attempt = None if cut is None else cut.tries.get(call.lane)
        if attempt is None or attempt.again:
            return False
        return (time.monotonic() - attempt.started) * call.asked.prices.speed * DOUBT < fuel

    def _price(self, peer: Peer | None, fuel: int) -> int:
        """Wei for a unit of the job that takes so much fuel and moves nothing; 0 where nobody is asked."""
        if peer is None:
            return 0
        limits = self._job.plan.limits
        return unit_amount(self._lanes.prices(peer), min(fuel, limits.fuel), limits.memory, 0)

    async def _raise(self, peer: Peer, refusal: Refusal, cut: Cut | None) -> None:
        if await self.raise_for(peer, refusal, cut):
            self._lanes.made_ready(peer)

    async def raise_for(self, peer: Peer, refusal: Refusal, cut: Cut | None = None) -> bool:
        """Raise the floor, so that more is covered. False where that cannot be: then the job does without the provider.

        1. A provider that has not seen the last rise yet is given a moment.
        2. The floor rises `RISE`-fold, at least by what the unit lacks, and by no more than the unit costs at its limit.
        3. The budget bears what the floor pays beyond what work on the channel has earned; it may bear less of a rise than was wished.
        """
        job, payer, key = self._job, peer.payer, peer.device
        covered, seen, _ = _figures(refusal)
        # 1
        if seen < payer.floor:
            self._unseen[key] += 1
            if self._unseen[key] > LOOKS:
                raise PeerFault(f"{key} does not see the floor that its channel has", floor=payer.floor)
            await asyncio.sleep(LOOK_SECONDS)
            return True
        self._unseen.pop(key, None)
        self._raised[key] += 1
        if self._raised[key] > RAISES:
            raise Unavailable(f"{key} keeps asking for a higher floor", device=key, for_good=True)
        # 2
        limits = job.plan.limits
        most = unit_amount(self._lanes.prices(peer), limits.fuel, limits.memory, job.plan.image_size + limits.output)
        fuel = max((job.purse.item_fuel or 0) * (1 if cut is None else cut.count), 0 if cut is None else 2 * cut.least)
        least = max(1, min(most, self._price(peer, fuel or FIRST_FUEL)) - covered)
        before = max(payer.floor, payer.amount)
        more = max(least, min(RISE * payer.floor - before, most - covered))
        # 3
        try:
            left = job.purse.left
            if left is not None and left < more:
                if left < least:
                    raise NotEnough(
                        f"the budget has {in_surge(max(left, 0))} left: {key} does {in_surge(covered)} more before it is paid, and a unit "
                        f"takes more, so that the floor of its channel would have to rise by {in_surge(least)}: "
                        f"{job.plan.advice('with a larger --budget goes on with it')}",
                        left=left,
                        needed=least,
                    )
                more = left
            job.purse.bind(peer.terms.channel, more)
            try:
                await payer.raise_floor(before + more, job.plan.id)
            except BaseException:
                job.purse.bind(peer.terms.channel, -more)
                raise
        except NotEnough as error:
            self._lanes.do_without(peer, error)
            return False
        except (LedgerError, Unavailable) as error:
            self._lanes.do_without(peer, Unavailable(f"the floor of the channel to {key} was not raised: {error}", device=key))
            return False
        text = (
            f"a unit takes more than {key} does before it is paid, so the floor of the channel to it is {in_surge(before + more)} now: "
            "what it is paid at least, for all work on the channel together"
        )
        job.say(text)
        job.progress.tell_once(text)
        return True


def _figures(refusal: Refusal) -> tuple[int, int, int]:
    """(wei covered yet, the channel's floor in wei, the fuel at which the unit was stopped) by the provider; 0 for what it does not say."""
    said = said_in(refusal)

    def figure(name: str) -> int:
        value = said.get(name)
        return value if type(value) is int and value >= 0 else 0

    return figure("covered"), figure("floor"), figure("fuel")
