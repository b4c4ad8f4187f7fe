"""The providers of one job: finding them, preparing the job on each, and following what becomes of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from surge.buyer.agreements import Agreements
from surge.buyer.bounds import Bounds
from surge.buyer.calls import Refused, UnitCall
from surge.buyer.covering import Covering
from surge.buyer.cuts import Lane
from surge.buyer.endings import local_fault, setup_fault
from surge.buyer.peers import Peer
from surge.buyer.preparing import Preparation, Source
from surge.buyer.reach import Reach
from surge.buyer.sizes import DEPTH
from surge.buyer.treasury import is_over_budget
from surge.core.messages import NewPrices, Refusal
from surge.core.pricing import Prices, typical_amount
from surge.core.receipts import Receipt, Terms
from surge.errors import GuestFault, NotEnough, PeerFault, SurgeError, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job

Recruit = Callable[["Job", int, Sequence[str]], Awaitable[Sequence[Peer]]]
"""Finds so many more providers for a job, those named before others."""

CONNECT_SECONDS = 60.0
"""How long a provider may take to be reached for the first time."""

LOOK_AGAIN = 3.0
"""Seconds between looks for more providers while there are fewer than wanted."""

LOOK_PAUSE = 1.0
"""And at least so long between two, however often providers come and go."""

ATTEMPTS = 3
"""Times that preparing is tried on one provider."""

RESTED, REFUSALS = 64, 4096
"""Units that a provider may refuse in a row before it rests between them, and before it is given up: a window of them may be in flight."""


class Lanes:
    """The providers of one job. See `peers.Listener` for what it hears of them."""

    def __init__(self, job: Job, recruit: Recruit, contents: Mapping[bytes, tuple[int, Source]]) -> None:
        self.peers: dict[str, Peer] = {}
        """Providers that take part, prepared or not, by device."""
        self.left: dict[str, SurgeError] = {}
        """Providers that no longer take part, and why."""
        self._job = job
        self._recruit = recruit
        self.bounds = Bounds(contents)
        self.preparation = Preparation(job, self, contents)
        self.covering = Covering(job, self)
        self._agreements = Agreements(job)
        self._first: tuple[str, ...] = ()
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._poor: set[str] = set()
        """Providers whose setup the budget does not buy now."""
        self._local_endings = 0
        self.reach = Reach(job.plan, job.progress, self.peers, self.left, job.say)

    # What the job asks

    def room(self) -> dict[str, int]:
        """Units that each lane's window still takes."""
        for key, lane in self._job.scheduler.lanes.items():
            lane.most = self.covering.most_items(lane, self.peers[key]) if key in self.peers else lane.most
        return {key: peer.room for key, peer in self.peers.items()}

    def slots(self) -> int:
        """Units that all lanes together take at once."""
        return sum(DEPTH * lane.cores for lane in self._job.scheduler.lanes.values()) or 1

    def terms(self, key: str) -> Terms | None:
        """The terms under which this lane works for the job."""
        peer = self.peers.get(key)
        return None if peer is None else self._agreements.terms(peer)

    def prices(self, peer: Peer) -> Prices:
        """What this provider asks for the job."""
        return self._agreements.terms(peer).prices

    def withdraw(self, key: str, number: int) -> None:
        """The answer of this lane is no longer wanted."""
        if (peer := self.peers.get(key)) is not None:
            for call in peer.calls_of(self._job):
                if call.number == number:
                    peer.cancel(call)

    def is_prepared(self, key: str) -> bool:
        """Whether the job is ready to run there, so that its setup will not be asked for."""
        return key in self._job.scheduler.lanes and key not in self._preparing

    @property
    def any_prepared(self) -> bool:
        """Whether the job is ready to run anywhere."""
        return any(map(self.is_prepared, self._job.scheduler.lanes))

    def dismiss(self, key: str, error: SurgeError) -> None:
        """The lane takes no further part in this job."""
        if (peer := self.peers.pop(key, None)) is None:
            return
        self.left[key] = error
        self._agreements.left(key)
        self._poor.discard(key)
        if self in peer.listeners:
            peer.listeners.remove(self)
        for call in peer.calls_of(self._job):
            peer.cancel(call)
            self._job.purse.release((call.number, key))
        if (task := self._preparing.pop(key, None)) is not None and task is not asyncio.current_task():
            task.cancel()
        self._job.scheduler.lane_left(key)
        self._job.poke()
        self._changed.set()

    def leave(self) -> None:
        """The job has ended: what is under way is withdrawn, and still paid where it was done."""
        for task in self._preparing.values():
            task.cancel()
        for peer in self.peers.values():
            if self in peer.listeners:
                peer.listeners.remove(self)
            for call in peer.calls_of(self._job):
                peer.cancel(call)

    def refused(self, call: UnitCall, refusal: Refusal) -> None:
        """A unit was refused for a reason that can be mended. What was refused before the lane was last made ready is mended already."""
        key = call.lane
        lane, peer = self._job.scheduler.lanes.get(key), self.peers.get(key)
        if lane is None or peer is None:
            return
        lane.refusals += 1
        if lane.refusals > REFUSALS:
            return self.give_up(peer, Unavailable(f"{key} has refused {REFUSALS} units in a row", device=key, for_good=True))
        if lane.refusals > RESTED:
            lane.rests_until = time.monotonic() + LOOK_PAUSE / 4
        if refusal.code in ("missing", "deposit"):
            if call.stage == lane.stage and key not in self._preparing:
                lane.ready = False
                self.mend(key, self._add_deposit(peer, refusal) if refusal.code == "deposit" else self._prepare(peer, again=True))
        elif refusal.code == "price":
            agreed = self._agreements.are_new(peer)
            lane.ready = agreed and key not in self._preparing
            if not agreed and not self._agreements.may_come(peer) and not peer.calls_of(self._job):
                text = f"{key} asks for new prices that it does not name, or before it did a unit of the job"
                self.give_up(peer, Unavailable(text, device=key, for_good=True))
        elif refusal.code == "draining":
            peer.draining = True

    # Finding providers

    async def run(self) -> None:
        """Keep as many providers as are wanted, for as long as the job runs. Raises when there is none to be had."""
        wanted = self._job.plan.wishes.wanted
        first = True
        while True:
            self._changed.clear()
            if len(self.peers) < wanted:
                try:
                    found = await self._recruit(self._job, wanted - len(self.peers), self._first)
                except SurgeError as error:
                    if first or (isinstance(error, NotEnough) and not is_over_budget(error)):
                        raise
                    found = []
                    self.reach.missed = error if is_over_budget(error) else None
                first, self.reach.started = False, True
                for peer in found:
                    self._join(peer)
            await asyncio.sleep(LOOK_PAUSE)
            try:
                async with asyncio.timeout(LOOK_AGAIN if len(self.peers) < wanted else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _join(self, peer: Peer) -> None:
        if peer.device in self.peers:
            return
        self.peers[peer.device] = peer
        self._agreements.joined(peer)
        peer.listeners.append(self)
        self._prepare_soon(peer)

    # Preparing

    def _prepare_soon(self, peer: Peer) -> None:
        if peer.device not in self._preparing:
            self.mend(peer.device, self._prepare(peer))

    def mend(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a lane, which takes no part meanwhile."""
        task = asyncio.ensure_future(work)
        self._preparing[key] = task

        def done(finished: asyncio.Task[None]) -> None:
            if self._preparing.get(key) is finished:
                del self._preparing[key]
            if not finished.cancelled() and (error := finished.exception()) is not None:
                if isinstance(error, PeerFault | Unavailable) and (peer := self.peers.get(key)) is not None:
                    self.give_up(peer, error)
                else:
                    self._job.fail(error)

        task.add_done_callback(done)

    async def _prepare(self, peer: Peer, *, again: bool = False) -> None:
        """Bring the job to a provider: its image, its bundle, its setup. Afterwards it is given units."""
        for attempt in range(ATTEMPTS):
            try:
                if again and attempt == 0:
                    self.bounds.prepare_again(peer.device)
                await peer.wait_open(CONNECT_SECONDS)
                self._reclaim(peer)
                await self.preparation.provide(peer, [], {})
                if self._job.plan.is_python:
                    await self._set_up(peer)
                return self.made_ready(peer)
            except GuestFault as error:
                return self._job.fail(error)
            except NotEnough as error:
                return self.do_without(peer, error)
            except Refused as error:
                if not await self._may_retry(peer, error, last=attempt == ATTEMPTS - 1):
                    return
                await asyncio.sleep(0.3 * 4**attempt)
            except PeerFault as error:
                return self.give_up(peer, error)
            except Unavailable as error:
                if peer.gone is not None or attempt == ATTEMPTS - 1:
                    return self.give_up(peer, error)

    async def _set_up(self, peer: Peer) -> None:
        """Run the job's setup there, later if the budget has too little left for it just now and others work meanwhile."""
        while True:
            try:
                await self.preparation.set_up(peer)
                return self._poor.discard(peer.device)
            except NotEnough as error:
                self._poor.add(peer.device)
                if error.details.get("for_good") or not self._others(peer):
                    raise
            await asyncio.sleep(LOOK_AGAIN)

    def _others(self, peer: Peer) -> bool:
        """Whether the job has providers, besides this one, that it can pay."""
        return any(key != peer.device and key not in self._poor for key in self.peers)

    async def _may_retry(self, peer: Peer, error: Refused, *, last: bool) -> bool:
        """Whether a refusal to prepare may pass; if not, the provider is given up, or the job has failed."""
        key = peer.device
        self._local_endings += error.code == "local"
        if error.code == "guest" or (error.code == "local" and self._local_endings >= ATTEMPTS):
            # Nothing is signed: one that says so is believed when nobody else is there.
            fault = GuestFault(error.refusal.text, device=key) if error.code == "guest" else setup_fault(local_fault(error.refusal))
            if self._others(peer):
                self.give_up(peer, Unavailable(f"{key} cannot prepare the job: {fault}", device=key, for_good=True))
            else:
                self._job.fail(fault)
            return False
        if error.code == "deposit" and not await self._fund(peer, error.refusal):
            return False
        if error.code == "cover" and not await self.covering.raise_for(peer, error.refusal):
            return False
        passing = error.code in ("busy", "window", "local", "missing", "internal", "deposit", "price", "cancelled", "cover")
        if passing and not last:
            return True
        reason = Unavailable(f"{key} cannot prepare the job: {error}", device=key, for_good=error.code in ("invalid", "unknown", "storage"))
        self.give_up(peer, reason)
        return False

    def give_up(self, peer: Peer, error: SurgeError) -> None:
        """The job does without this provider; so does everybody here when it broke the protocol."""
        if isinstance(error, PeerFault):
            peer.drop(error)
        self._job.say(f"{peer.device} takes no part: {error}")
        self.dismiss(peer.device, error)

    def _reclaim(self, peer: Peer) -> None:
        """Ask a provider for what it was asked for before, ahead of anything else: answers that wait there fill its window."""
        if self._job.desk.may_have_answers(peer):
            self._lane(peer)
            self._job.desk.reclaim(peer)

    def made_ready(self, peer: Peer) -> None:
        """The job can be done there, or go on."""
        lane = self._lane(peer)
        lane.ready = peer.is_open
        lane.stage += 1
        self._reclaim(peer)
        self._job.poke()

    def _lane(self, peer: Peer) -> Lane:
        """The provider's lane; a new one gets no units yet."""
        key = peer.device
        if (lane := self._job.scheduler.lanes.get(key)) is None:
            lane = Lane(key, peer.cores, self._price(peer), peer.latency, ready=False)
            lane.operator, lane.engine = peer.operator or key, peer.terms.engine
            self._job.scheduler.lane_joined(lane)
            self._job.say(f"{key} takes part, cores: {peer.cores}")
        return lane

    def _price(self, peer: Peer) -> int:
        return typical_amount(self.prices(peer), self._job.plan.limits.memory)

    def restore(self, terms: Iterable[Terms], devices: Iterable[str], worked: Iterable[bytes]) -> None:
        """Go on from a journal: prices agreed on, the devices that were asked for units, and the channels on which some were done."""
        self._agreements.restore(terms, worked)
        self._first = tuple(devices)

    async def _add_deposit(self, peer: Peer, refusal: Refusal) -> None:
        """The provider says the deposit is too low for another unit."""
        if await self._fund(peer, refusal):
            self.made_ready(peer)

    async def _fund(self, peer: Peer, refusal: Refusal) -> bool:
        """Top up a deposit that is called too low. False where that cannot be: then the job does without this provider."""
        try:
            await self.bounds.fund(peer, refusal)
        except SurgeError as error:
            if isinstance(error, Unavailable):
                self.reach.deposit(error)
            self.do_without(peer, error)
            return False
        self.reach.deposit(None)
        return True

    def do_without(self, peer: Peer, error: SurgeError) -> None:
        """Give the provider up; where it is the last that can be paid, and money is what lacks, the job ends."""
        if isinstance(error, NotEnough) and not self._others(peer):
            self._job.fail(error)
        else:
            self.give_up(peer, error)

    # What peers say (see `peers.Listener`)

    def peer_opened(self, peer: Peer) -> None:
        """Its session is up again."""
        self.reach.seen()
        lane = self._job.scheduler.lanes.get(peer.device)
        if lane is not None and peer.device not in self._preparing:
            self._job.scheduler.lane_back(peer.device, time.monotonic())
        self._job.poke()

    def peer_away(self, peer: Peer) -> None:
        """Its session broke: it gets nothing new."""
        lane = self._job.scheduler.lanes.get(peer.device)
        if lane is not None:
            lane.ready = False

    def peer_gone(self, peer: Peer, error: SurgeError) -> None:
        """It is given up: its units go elsewhere."""
        self._job.say(f"{peer.device} is given up: {error}")
        if isinstance(error, NotEnough) and not self._others(peer):
            self._job.fail(error)
        calls = [call for call in peer.calls_of(self._job) if call.wanted]
        self.dismiss(peer.device, error)
        if isinstance(error, Unavailable) and not any(other.is_open for other in self.peers.values()):
            self._job.desk.keep_for(peer.terms.channel, calls)

    def peer_prices(self, peer: Peer, terms: Terms, message: NewPrices) -> None:
        """It quotes new prices for fuel."""
        if terms.job != self._job.plan.id:
            return
        try:
            if self._agreements.quote(peer, terms, message):
                self._weigh(peer)
        except PeerFault as error:
            peer.drop(error)

    def unit_done(self, receipt: Receipt) -> None:
        """A unit of the job was done on this channel: new prices that it quotes can be weighed."""
        self.bounds.worked(receipt.device)
        waits = self._agreements.worked(receipt.channel, receipt.device)
        if waits and (peer := self.peers.get(receipt.device)) is not None:
            self._weigh(peer)

    def _weigh(self, peer: Peer) -> None:
        """Agree to the prices that this provider quotes, or do without it."""
        try:
            self._agreements.weigh(peer)
        except Unavailable as error:
            self.give_up(peer, error)
            return
        if (lane := self._job.scheduler.lanes.get(peer.device)) is not None:
            lane.price = self._price(peer)
            lane.ready = peer.device not in self._preparing
        self._job.poke()

    def room_changed(self) -> None:
        """Its window may take more."""
        self._job.poke()
