"""A job out of its journal, ready to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from surge.buyer.checker import Checks
from surge.buyer.endings import error_of, guest_fault, outcome_of
from surge.buyer.ends import Feed, Sink
from surge.buyer.evidence import Evidence
from surge.buyer.job import Job
from surge.buyer.journal import RUNNING, Journal, TryRow
from surge.buyer.lanes import Recruit
from surge.buyer.preparing import Source
from surge.buyer.purse import Purse
from surge.buyer.records import Saved, job_providers, setup_took
from surge.buyer.results import Piece, Progress
from surge.buyer.scheduler import Scheduler
from surge.buyer.spool import Spool
from surge.buyer.stored import StoredFiles


async def restored(
    journal: Journal,
    saved: Saved,
    feed: Feed,
    sink: Sink,
    recruit: Recruit,
    *,
    contents: Mapping[bytes, tuple[int, Source]],
    progress: Progress,
    budget: int | None,
    evidence: Evidence | None = None,
    checks: Checks | None = None,
    stored: StoredFiles | None = None,
) -> Job:
    """A job as its journal leaves it, ready to run: `sink` has the results that are there. Its deadline was for its first run."""
    before = saved.record.plan
    plan = replace(before, wishes=replace(before.wishes, deadline_ms=None, budget=budget))
    copies = plan.wishes.copies
    scheduler = Scheduler(chunk=plan.chunk, wall_seconds=plan.limits.wall_ms / 1000, numbers_from=saved.numbers, copies=copies)
    scheduler.items_arrived(saved.record.spooled)
    scheduler.restore(saved.done, saved.cuts)
    progress.done, progress.price, progress.fuel = scheduler.done_items, saved.record.price, saved.record.fuel
    for each in await asyncio.to_thread(job_providers, journal, saved.record.id):
        progress.units[each["provider"]], progress.pay[each["provider"]] = each["units"], each["pay"]
    tries: dict[bytes, list[TryRow]] = {}
    for row in saved.tries:
        if row.number in scheduler.cuts and row.number not in saved.bad:
            tries.setdefault(row.channel, []).append(row)
    job = Job(
        plan,
        journal,
        feed,
        sink,
        recruit,
        contents=contents,
        scheduler=scheduler,
        spool=Spool(plan.id, journal, count=saved.record.spooled),
        purse=Purse(budget, spent=saved.record.price, floors=await journal.floors(plan.id)),
        progress=progress,
        tries=tries,
        evidence=evidence,
        checks=checks,
        stored=stored,
    )
    if (took := await setup_took(journal, plan.id)) is not None:
        job.purse.setup_takes(took)
    job.lanes.restore(saved.terms, [row.device for row in await journal.channels() if row.id in tries], saved.worked)
    for one in await journal.results(plan.id):
        sink.put(Piece(one.first, one.count, one.value, None if one.error is None else error_of(one.error)))
    job.answers.replay_endings({number: guest_fault(outcome_of(data), b"", "") for number, data in saved.bad.items()}, saved.lowered)
    await journal.set_job(plan.id, RUNNING)
    return job
