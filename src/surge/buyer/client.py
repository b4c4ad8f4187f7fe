"""The buyer as a whole, asynchronous: one wallet on one network, its channels, its providers, its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surge.buyer import pleading
from surge.buyer.accounts import Lease
from surge.buyer.bonded import Bonded
from surge.buyer.calls import Refused
from surge.buyer.checker import Checker
from surge.buyer.docket import Dispute, Looks
from surge.buyer.ends import Feed, Sink
from surge.buyer.evidence import Evidence
from surge.buyer.home import Home, dials_directly
from surge.buyer.job import Job
from surge.buyer.journal import CANCELLED, CLOSED, CLOSING, OPEN, OPENING, ChannelRow, Journal
from surge.buyer.judge import Judge
from surge.buyer.market import Market
from surge.buyer.orphans import Orphans
from surge.buyer.payments import Payments
from surge.buyer.peers import Peer
from surge.buyer.plan import Plan
from surge.buyer.preparing import Source
from surge.buyer.purse import Purse
from surge.buyer.records import Saved
from surge.buyer.restoring import restored
from surge.buyer.results import Progress
from surge.buyer.retaining import Retaining, retain
from surge.buyer.scheduler import Scheduler
from surge.buyer.sizes import AIM_SECONDS
from surge.buyer.spool import Spool
from surge.buyer.stored import StoredFiles
from surge.buyer.treasury import Treasury
from surge.buyer.trust import require_trusted
from surge.core.messages.fields import MAX_CHUNK
from surge.core.signing import Signer
from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.wallet import KeySigner

if TYPE_CHECKING:
    from surge.ledger import Ledger
    from surge.relay.client import Relays

log = logging.getLogger("surge.buyer")

RELAYS_WANTED = 1
"""Relays that must answer before anything starts; all that are named are used, and a buyer merges their offers."""

QUIET_SECONDS = 5.0
"""How long closing waits for what is under way to be answered and paid."""

LEDGER_PATIENCE = 10.0
"""Seconds to wait for the ledger when connecting."""

BUSY_SECONDS = 60.0
"""How long a channel's closing waits for units that were begun there, as after a job that was stopped."""

BUSY_PAUSE = 0.25
"""Seconds between asking whether they have ended."""

WATCH_SECONDS = 1.0
"""Seconds between looks at whether another process cancelled a job."""


class Client:
    """Open it with `await Client.open(home)`; it goes online when something needs that."""

    def __init__(self, home: Home, wallet: Signer, journal: Journal, *, direct: bool = True) -> None:
        self.home = home
        self.wallet = wallet
        self.journal = journal
        self.jobs: dict[bytes, Job] = {}
        self.following: dict[bytes, asyncio.Task[Dispute]] = {}
        """Disputes that this process follows, by receipt."""
        self.looks = Looks()
        """Who waits for news of disputes."""
        self._ledger: Ledger | None = None
        self._relays: Relays | None = None
        self._direct = direct
        self._market: Market | None = None
        self._treasury: Treasury | None = None
        self._orphans: Orphans | None = None
        self._evidence: Evidence | None = None
        self.stored: StoredFiles | None = None
        """The wallet's stored files, which units may read; whoever puts a network together says it."""
        self.checker = Checker(self.content, lambda: self.stored)
        self._held: set[Retaining] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_online = asyncio.Lock()

    @classmethod
    async def open(cls, home: Home, wallet: str | Signer | None = None, *, direct: bool | None = None) -> Client:
        """Open the wallet and the journal; `direct` as for `surge.connect`.

        Raises `InvalidInput` when there is no wallet, or the network is not trusted.
        """
        signer = home.key(wallet) if wallet is None or isinstance(wallet, str) else wallet
        place = home.of(signer.address)
        journal = await asyncio.to_thread(Journal, place.journal)
        return cls(place, signer, journal, direct=dials_directly() if direct is None else direct)

    # The network

    async def ledger(self) -> Ledger:
        """The ledger, its contracts recognised. Raises `InvalidInput` for a network that is not trusted."""
        await self.online()
        assert self._ledger is not None
        return self._ledger

    async def market(self) -> Market:
        """The providers."""
        await self.online()
        assert self._market is not None
        return self._market

    async def treasury(self) -> Treasury:
        """The channels."""
        await self.online()
        assert self._treasury is not None
        return self._treasury

    async def relays(self) -> Relays:
        """The relays, under a login of this process alone."""
        await self.online()
        assert self._relays is not None
        return self._relays

    async def online(self) -> None:
        """Reach the ledger and the relays, once."""
        async with self._going_online:
            if self._market is not None:
                return
            from surge.ledger import Ledger, verify_contracts
            from surge.relay.client import Relays

            home = self.home
            require_trusted(home.file, home.network)
            await asyncio.to_thread(home.check_running)
            ledger = await Ledger.connect(home.network, home.transactions, patience=LEDGER_PATIENCE)
            try:
                await verify_contracts(home.network)
                # A login of its own: the relay learns nothing of the wallet, and two processes on one wallet do not share an address.
                login = KeySigner.random()
                relays = await Relays.connect(
                    home.network.relays, login, network=home.network.network_id, minimum=RELAYS_WANTED, direct=self._direct
                )
            except BaseException:
                await ledger.close()
                raise
            self._ledger, self._relays = ledger, relays
            self.spawn(ledger.run(), "ledger")
            self._treasury = Treasury(home.network.channels_domain, ledger, self.wallet, home.keystore(), self.journal, home.folder)
            judge = Judge(self.journal, ledger, await asyncio.to_thread(Payments.opened, home.payments))
            bonded = Bonded(ledger.bonds, home.own_operators(), court=home.network.court is not None)
            self._market = Market(home.network, ledger, relays, self._treasury, self.journal, judge, bonded=bonded)
            await self._treasury.reconcile()
            self._orphans = Orphans(self.journal, self.jobs.get, await self._seen_so_far())
            self._market.on_opened = self._peer_opened
            self.spawn(pleading.go_on(self), "disputes")

    def _peer_opened(self, peer: Peer) -> None:
        assert self._orphans is not None
        if peer.orphans:
            self.spawn(self._orphans.settle(peer), f"orphans of {peer.device}")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Have something done in the background, until the client is closed."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("%s ended: %s", task.get_name(), error)

    # Jobs

    def content(self, digest: bytes) -> Path | None:
        """Where a bundle or an image lies here; None if it does not."""
        for suffix in (".zip", ".wasm"):
            path = self.home.contents / f"{digest.hex()}{suffix}"
            if path.is_file():
                return path
        return None

    def contents_of(self, plan: Plan) -> Mapping[bytes, tuple[int, Source]]:
        """What providers may miss for a job: its bundle, and its image if it is not the pinned one."""
        found: dict[bytes, tuple[int, Source]] = {}
        wanted = [(plan.bundle, plan.bundle_size)] if plan.bundle else []
        if plan.image_size:
            wanted.append((plan.image, plan.image_size))
        for digest, size in wanted:
            path = self.content(digest)
            if path is None:
                raise InvalidInput(f"the job's content sha256:{digest.hex()} is no longer in {self.home.contents}", digest=digest)
            found[digest] = (size, _file_source(path))
        return found

    async def start(
        self,
        plan: Plan,
        feed: Feed,
        sink: Sink,
        progress: Progress,
        *,
        ahead: int | None = None,
        in_order: bool = True,
        aim: float = AIM_SECONDS,
    ) -> Job:
        """A new job, durable before this returns."""
        contents = self.contents_of(plan)
        lease = self._lease(plan)
        await self.journal.create_job(plan, progress.total)
        job = Job(
            plan,
            self.journal,
            feed,
            sink,
            self._recruit,
            contents=contents,
            scheduler=Scheduler(chunk=plan.chunk, wall_seconds=plan.limits.wall_ms / 1000, aim=aim, copies=plan.wishes.copies),
            spool=Spool(plan.id, self.journal),
            purse=Purse(plan.wishes.budget),
            progress=progress,
            ahead=ahead,
            in_order=in_order,
            evidence=await self._seen_so_far(),
            checks=self.checker,
            stored=self.stored,
        )
        return self._run(job, lease)

    async def resume(self, saved: Saved, feed: Feed, sink: Sink, progress: Progress, *, budget: int | None) -> Job:
        """Go on with a job: results that are there are given out, units that were asked are asked again first."""
        lease = self._lease(saved.record.plan)
        job = await restored(
            self.journal,
            saved,
            feed,
            sink,
            self._recruit,
            contents=self.contents_of(saved.record.plan),
            progress=progress,
            budget=budget,
            evidence=await self._seen_so_far(),
            checks=self.checker,
            stored=self.stored,
        )
        return self._run(job, lease)

    async def _seen_so_far(self) -> Evidence:
        """What was seen of devices so far."""
        if self._evidence is None:
            evidence = Evidence(self.journal, self.home.own_operators())
            await evidence.load()
            self._evidence = self._evidence or evidence
        return self._evidence

    def _run(self, job: Job, lease: Lease) -> Job:
        self.jobs[job.plan.id] = job
        job.current = lambda: self.jobs.get(job.plan.id, job)

        def end() -> None:
            self.jobs.pop(job.plan.id, None)
            lease.release()

        async def run() -> None:
            watching = asyncio.create_task(self._watch(job))
            try:
                await job.run()
            finally:
                watching.cancel()
                end()

        job.on_end = end

        self.spawn(run(), f"job {job.plan.id.hex()[:12]}")
        return job

    def _lease(self, plan: Plan) -> Lease:
        """The right to work on a job: one process at a time."""
        lease = Lease(self.home.leases, plan.id)
        if not lease.held:
            raise InvalidInput(f"the job {plan.id.hex()[:12]} is running already", job=plan.id.hex())
        return lease

    async def _watch(self, job: Job) -> None:
        """See whether another process cancels the job."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            rows = await self.journal.read("SELECT state FROM jobs WHERE id = ?", (job.plan.id,))
            if rows and rows[0][0] == CANCELLED:
                job.cancel()

    async def _recruit(self, job: Job, count: int, first: Sequence[str]) -> Sequence[Peer]:
        market = await self.market()
        return await market.recruit(job.plan, count, job.purse, has=job.lanes.peers, without=job.lanes.reach.left_for_good(), first=first)

    async def retain(self, wanted: int | Sequence[str], *, cores: int, seconds: float, max_price: int | None) -> list[Retaining]:
        """Hold devices from now on, until their time is over or they are stopped. Raises what kept one from being held."""
        begun = await retain(await self.market(), wanted, cores=cores, seconds=seconds, max_price=max_price)
        for each in begun:
            self._held.add(each)
            self.spawn(each.run(), f"retainer of {each.peer.device}")
        return begun

    async def flush(self) -> None:
        """Wait until everything answered so far is on disk."""
        if self._market is not None:
            await self._market.flush()

    async def close_channel(self, row: ChannelRow) -> tuple[str, str, str]:
        """Close a channel, together if its provider answers; ("together", "alone" or "finished", transaction, why it was alone)."""
        treasury, market = await self.treasury(), await self.market()
        if row.state == CLOSING:
            return "finished", await treasury.finish_close(row), ""
        if row.state == OPENING:
            raise Unavailable(f"the channel 0x{row.id.hex()} is not on the ledger yet: close it when it is", channel=row.id)
        if row.state == CLOSED:
            raise InvalidInput(f"the channel 0x{row.id.hex()} is closed already", channel=row.id)
        until, why = asyncio.get_running_loop().time() + BUSY_SECONDS, "it broke the protocol before"
        while row.state == OPEN:
            try:
                account, peer = await market.channel_peer(row)
                transaction = await treasury.close_together(account, peer)
                await market.forget(peer.device)
                return "together", transaction, ""
            except (Unavailable, PeerFault, Refused) as error:
                if isinstance(error, Refused) and error.code in ("busy", "window") and asyncio.get_running_loop().time() < until:
                    await asyncio.sleep(BUSY_PAUSE)
                    continue
                log.info("the channel 0x%s is closed alone: %s", row.id.hex(), error)
                why = str(error)
                break
        return "alone", await treasury.start_close(row), why

    async def close(self) -> None:
        """Stop jobs, which can be resumed; settle what is under way; leave."""
        for held in self._held:
            held.stop()
        running = list(self.jobs.values())
        for job in running:
            job.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await asyncio.gather(*(job.settled.wait() for job in running), *(held.over() for held in self._held))
        if self._market is not None:
            await self._market.close(QUIET_SECONDS)
        tasks = [*self._tasks, *self.following.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.checker.close()
        if self._relays is not None:
            await self._relays.close()
        if self._ledger is not None:
            await self._ledger.close()
        await self.journal.close()


def _file_source(path: Path) -> Source:
    """A file in chunks as messages carry them."""

    def pieces() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                while piece := file.read(MAX_CHUNK):
                    yield piece
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error

    return pieces
