"""A buyer's jobs for its tests, over providers in memory."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from made_up_provider import DOMAIN, IMAGE, FakeProvider
from surge.buyer.accounts import acknowledgement_since, open_payer
from surge.buyer.auditor import Party
from surge.buyer.checker import Checks
from surge.buyer.evidence import Evidence
from surge.buyer.intake import Intake
from surge.buyer.job import Job
from surge.buyer.journal import ChannelRow, Journal
from surge.buyer.peers import Peer
from surge.buyer.pieces import cut
from surge.buyer.plan import MAP, Plan, Wishes, job_seed
from surge.buyer.purse import Purse
from surge.buyer.results import Progress, Results
from surge.buyer.scheduler import Scheduler
from surge.buyer.spool import Spool
from surge.core import values
from surge.core.messages.fields import MAX_CHUNK
from surge.core.units import Limits
from surge.errors import NotEnough


class Bed:
    """Jobs of one buyer over fake providers, in one event loop. The consumer reads from a thread."""

    def __init__(self, folder: Path, providers: Sequence[FakeProvider]) -> None:
        self.folder = folder
        self.providers = list(providers)
        self.journal = Journal(folder / "buyer.db")
        self.peers: dict[str, Peer] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.jobs: dict[bytes, Job] = {}
        """Who works on a job now."""
        self.evidence: Evidence | None = None
        """What was seen of devices; None for a buyer that audits nothing."""
        self.checks: Checks | None = None
        """Who runs units again for it."""
        self.operators: dict[str, str] = {}
        """Whom devices are said to belong to; each to itself where nothing is said."""
        self.floors: list[int] = []
        """Floors that channels were raised to."""
        self.is_broke = False
        """Whether the wallet has nothing left for deposits."""

    async def peer(self, provider: FakeProvider) -> Peer:
        """The peer of a provider, its channel known to the journal."""
        if provider.device in self.peers and self.peers[provider.device].gone is None:
            return self.peers[provider.device]
        rows = [row for row in await self.journal.channels() if row.id == provider.channel_id]
        if not rows:
            row = ChannelRow(
                provider.channel_id, provider.device, "0x" + "22" * 20, provider.session.address, provider.terms().encode(),
                provider.deposit, "open", time.time(), floor=provider.floor,
            )  # fmt: skip
            await self.journal.save_channel(row)
        else:
            row = rows[0]
        party = Party(row.id, provider.device, provider.buyer, DOMAIN)

        async def top_up(needed: int) -> int:
            if self.is_broke:
                raise NotEnough("the wallet is empty")
            provider.channel.deposit = provider.deposit = 2 * provider.deposit
            return provider.deposit

        async def raise_floor(floor: int, job: bytes) -> int:
            if self.is_broke:
                raise NotEnough("the wallet is empty")
            assert floor > provider.floor
            self.floors.append(floor)
            provider.floor = floor
            provider.covers = None if provider.covers is None else 4 * provider.covers
            return provider.deposit

        payer = await open_payer(self.journal, row, party, provider.session, top_up=top_up, raise_floor=raise_floor)

        async def lacking(count: int) -> tuple[bytes, int]:
            return await acknowledgement_since(self.journal, row.id, count)

        peer = Peer(provider.device, provider.cores, provider.terms(), payer, provider.dial, lacking)
        peer.operator = self.operators.get(provider.device, provider.device)
        self.peers[provider.device] = peer
        self.tasks += [asyncio.create_task(peer.run()), asyncio.create_task(payer.run())]
        return peer

    async def recruit(self, job: Job, count: int, first: Sequence[str]) -> list[Peer]:
        """The providers that the job does not have yet."""
        free = [one for one in self.providers if one.device not in job.lanes.peers and one.device not in job.lanes.left]
        return [await self.peer(one) for one in free[:count]]

    def plan(self, function: str = "f", **changes: Any) -> Plan:
        """A job's plan over a bundle that every provider knows."""
        fields: dict[str, Any] = {
            "kind": MAP, "name": function, "salt": hashlib.sha256(str(len(self.tasks)).encode()).digest(), "image": IMAGE,
            "image_size": 0, "bundle": b"b" * 32, "bundle_size": 0, "setup": b"setup", "function": function, "style": 0,
            "seed": job_seed(0), "limits": Limits(), "chunk": 0, "wishes": Wishes(),
        }  # fmt: skip
        for provider in self.providers:
            provider.blobs[b"b" * 32] = b""
        return Plan(**{**fields, **changes})

    async def start(
        self, plan: Plan, items: Any, *, errors: str = "raise", total: int | None = None, contents: Mapping[bytes, bytes] | None = None
    ) -> tuple[Job, Results]:
        """A running job and its results. `contents` by hash, to be uploaded to whom they are missing."""
        loop = asyncio.get_running_loop()
        await self.journal.create_job(plan, total)
        progress = Progress(total=total)
        job: Job
        intake = Intake(items, values.dumps, lambda: loop.call_soon_threadsafe(job.poke))
        results = Results(
            plan.id.hex(), progress, errors=errors,
            cancel=lambda: loop.call_soon_threadsafe(lambda: job.cancel(by_reader=True)),
            consumed=lambda upto: loop.call_soon_threadsafe(job.consumed, upto),
            dropped=lambda: None,
        )  # fmt: skip
        job = Job(
            plan, self.journal, intake, results.arrivals, self.recruit,
            contents={key: (len(data), lambda data=data: cut([data], MAX_CHUNK)) for key, data in (contents or {}).items()},
            scheduler=Scheduler(chunk=plan.chunk, wall_seconds=plan.limits.wall_ms / 1000, copies=plan.wishes.copies),
            spool=Spool(plan.id, self.journal), purse=Purse(plan.wishes.budget), progress=progress,
            ahead=None if total is None else 1 << 40, evidence=self.evidence, checks=self.checks,
        )  # fmt: skip
        self._run(job, intake)
        return job, results

    async def map(self, plan: Plan, items: Any, **options: Any) -> list[Any]:
        """All results of a job."""
        job, results = await self.start(plan, items, **options)
        found = await asyncio.wait_for(asyncio.to_thread(list, results), 30)
        await asyncio.wait_for(job.settled.wait(), 10)
        return found

    async def kill(self) -> None:
        """Stop in the middle of everything, as a killed process does; what is on disk stays."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for provider in self.providers:
            provider.cut()
        await self.journal.close()

    async def resume(self, job_id: bytes, *, errors: str = "raise", budget: int | None = None) -> tuple[Job, Results]:
        """Go on with a job of the journal, as `Client.resume` does."""
        from surge.buyer import records
        from surge.buyer.restoring import restored

        record = records.find_job(self.journal, job_id.hex())
        saved = await records.load(self.journal, record)
        loop = asyncio.get_running_loop()
        progress = Progress(total=record.total)
        job: Job
        results = Results(
            record.id, progress, errors=errors,
            cancel=lambda: loop.call_soon_threadsafe(lambda: job.cancel(by_reader=True)),
            consumed=lambda upto: loop.call_soon_threadsafe(job.consumed, upto),
            dropped=lambda: None,
        )  # fmt: skip
        intake = Intake((), values.dumps, lambda: loop.call_soon_threadsafe(job.poke))
        job = await restored(
            self.journal, saved, intake, results.arrivals, self.recruit, contents={}, progress=progress, budget=budget,
            evidence=self.evidence, checks=self.checks,
        )  # fmt: skip
        self._run(job, intake)
        return job, results

    def _run(self, job: Job, intake: Intake) -> None:
        self.jobs[job.plan.id] = job
        job.current = lambda: self.jobs[job.plan.id]
        intake.start()
        self.tasks.append(asyncio.create_task(job.run()))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for provider in self.providers:
            for task in list(provider.tasks):
                task.cancel()
        await self.journal.close()
