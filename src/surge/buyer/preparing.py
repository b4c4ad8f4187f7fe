"""Bringing a job to a provider: its image compiled, its bundle and inputs uploaded, its setup run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from surge.buyer.auditor import audit_compile, audit_transfer
from surge.buyer.calls import Refused
from surge.buyer.endings import guest_fault, setup_fault
from surge.buyer.orphans import pay_setup
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.purse import in_surge
from surge.buyer.records import setup_before
from surge.buyer.work import make_setup
from surge.core.messages import Answer, Prepare, UnitDone, decode_prepared, decode_unit_done, encode_body
from surge.core.messages.fields import wei
from surge.core.pricing import Prices, compile_amount, transfer_amount
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.units import Status
from surge.errors import NotEnough, PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.job import Job
    from surge.buyer.lanes import Lanes

Source = Callable[[], Iterator[bytes]]
"""Gives a content's bytes in chunks, from the start."""

PREPARE_SECONDS = 600.0
"""How long preparing may take: compiling a large module is minutes."""

UPLOAD_SECONDS = 600.0
"""How long one content may take to upload."""

ROUNDS = 3
"""Times that a provider may say it misses something, apart from what it is being sent for others."""


class Preparation:
    """Prepares providers for one job. `contents` are its bundle and image: (size, source) by SHA-256."""

    def __init__(self, job: Job, lanes: Lanes, contents: Mapping[bytes, tuple[int, Source]]) -> None:
        self._job = job
        self._lanes = lanes
        self._contents = contents
        self._exploring = asyncio.Lock()

    async def provide(self, peer: Peer, inputs: Sequence[tuple[bytes, int]], sources: Mapping[bytes, Source]) -> None:
        """See that the provider has the image compiled, the bundle, and these inputs; upload what it misses.

        Inputs come when the image is there: then nothing is asked that would have to be compiled.
        """
        plan = self._job.plan
        asks_to_compile = plan.image_size > 0 and not inputs
        body = Prepare(
            job=plan.id,
            image=plan.image,
            image_size=plan.image_size,
            bundle=plan.bundle or b"",
            bundle_size=plan.bundle_size,
            contents=list(inputs),
        )
        known = {content: (size, sources[content]) for content, size in inputs} | dict(self._contents)
        rounds = 0
        while rounds < ROUNDS:
            prices = self._lanes.prices(peer)
            async with self._compiling(peer, prices) if asks_to_compile else nullcontext():
                answer = await peer.question("prepare", encode_body(body), seconds=PREPARE_SECONDS)
                if answer.receipt is not None:
                    self._lanes.bounds.compiled(peer.device)
                    audited = audit_compile(answer.receipt, plan.image, peer.terms.engine, plan.image_size, prices, peer.payer.party)
                    self.pay(peer, *audited, answer.receipt.signature)
            missing = decode_prepared(answer.body).missing
            if not missing:
                return
            if len(set(missing)) < len(missing):
                raise PeerFault(f"{peer.device} asks for a content twice in one breath", missing=missing)
            ours = False
            for content in missing:
                if content not in known:
                    raise PeerFault(f"{peer.device} asks for a content that the job does not have", content=content)
                if not await peer.uploads.arrives(content):
                    ours = True
                    with peer.uploads.sending(content):
                        await self._send(peer, content, *known[content], prices)
            rounds += ours
        raise Unavailable(f"{peer.device} keeps asking for what it was sent", device=peer.device)

    async def _send(self, peer: Peer, content: bytes, size: int, source: Source, prices: Prices) -> None:
        """Upload a content, unless it has come there in another way by now."""
        bounds = self._lanes.bounds
        bounds.check_sending(peer.device, content)
        try:
            async with self.asking(peer, ReceiptKind.TRANSFER, content, size, transfer_amount(prices, size)):
                wire = await peer.upload(content, size, source, UPLOAD_SECONDS)
                bounds.sent(peer.device, content)
                if wire is not None:
                    self.pay(peer, *audit_transfer(wire, content, size, prices, peer.payer.party), wire.signature)
        except Refused as error:
            if error.code != "unknown":
                raise

    async def set_up(self, peer: Peer) -> None:
        """Run the job's setup there, unless its snapshot is there already.

        With a budget, the first setup of a job runs alone: it may cost all that is left, and shows what the others take.
        """
        if self._job.purse.explores:
            async with self._exploring:
                if self._job.purse.explores:
                    return await self._set_up(peer)
        return await self._set_up(peer)

    async def _set_up(self, peer: Peer) -> None:
        """The setup itself.

        1. The answer is audited like a unit's; what was done is paid, whatever came out, also when the job ends before it comes. Only what
           nobody waited for any longer can be more than the budget has left then: that is refused.
        2. A setup that ended badly ends the job, as it would end so everywhere; where this machine can, it looks whether that is so.
        """
        job, plan = self._job, self._job.plan
        prices = self._lanes.prices(peer)
        channel = peer.terms.channel
        before = await setup_before(job.journal, plan.id, channel)
        allowance = job.purse.allow_setup(prices, plan.limits, channel, alone=not self._lanes.any_prepared, before=before)
        if allowance is None:
            left = job.purse.left_on(channel)
            left_here = f"the budget has {in_surge(left or 0)} left for {peer.device}"
            text = f"{left_here}, which do not buy the job's setup there: give it a larger one"
            raise NotEnough(text, left=left)
        body, asked = make_setup(plan, peer.terms.engine, allowance.limits, prices)
        key = ("setup", peer.device)

        def pay(answer: Answer) -> UnitDone:
            job.purse.release(key)
            done = decode_unit_done(answer.body)
            if answer.receipt is not None:
                payer = job.current()
                left = payer.purse.left_on(channel)
                affords = left is None or wei(answer.receipt.amount) <= left
                audited = pay_setup(peer, asked, done, answer.receipt, plan.id, affords=affords)
                if audited is not None:
                    payer.paid(audited.receipt)
                    payer.auditing.setup_said(peer, audited.receipt, audited.digest)
            return done

        job.purse.reserve(key, allowance.reserved, channel)
        try:
            asked = await job.remember_setup(channel, asked)
            # 1
            done = pay(await peer.question("setup", body, seconds=plan.limits.wall_ms / 1000 + 60, bills=True, late=pay))
            outcome = done.outcome()
        finally:
            job.purse.release(key)
        # 2
        if outcome.status is Status.OUT_OF_FUEL and allowance.lowered:
            job.purse.setup_takes(outcome.fuel + 1)
            raise NotEnough(
                f"the budget does not buy the job's setup at {peer.device}: it needs more than {outcome.fuel} fuel; give it a larger one",
                fuel=outcome.fuel,
                for_good=True,
            )
        if outcome.status is not Status.FINISHED:
            if await job.auditing.denies_failure(peer, outcome.status, allowance.limits.fuel):
                raise Unavailable(f"{peer.device} gave a wrong ending of the job's setup", device=peer.device, for_good=True)
            raise setup_fault(guest_fault(outcome, done.output, done.detail))
        job.purse.setup_takes(outcome.fuel)

    def _compiling(self, peer: Peer, prices: Prices) -> AbstractAsyncContextManager[None]:
        plan = self._job.plan
        return self.asking(peer, ReceiptKind.COMPILE, plan.image, plan.image_size, compile_amount(prices, plan.image_size))

    @asynccontextmanager
    async def asking(self, peer: Peer, kind: ReceiptKind, subject: bytes, size: int, amount: int) -> AsyncIterator[None]:
        """While something is asked that is billed once: its price is set aside. Raises `NotEnough` when the budget lacks it."""
        purse, key, channel = self._job.purse, object(), peer.terms.channel
        left = purse.left_on(channel)
        if left is not None and amount > left:
            raise NotEnough(
                f"the budget has {in_surge(left)} left, and preparing a provider costs {in_surge(amount)}", left=left, amount=amount
            )
        purse.reserve(key, amount, channel)
        try:
            async with peer.payer.intents.asking(kind, subject, self._job.plan.id, size, amount):
                yield
        finally:
            purse.release(key)

    def pay(self, peer: Peer, receipt: Receipt, digest: bytes, signature: bytes) -> None:
        """Pay what was asked; what comes again is answered and not paid."""
        accepted = peer.payer.intents.is_open(receipt, self._job.plan.id)
        paid = Paid(receipt, signature, digest, accepted, None, self._job.plan.id, ())
        if peer.pay(paid) and accepted:
            self._job.paid(receipt)
