"""Bringing a job to a provider: its image compiled, its bundle and inputs uploaded, its setup run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from surge.buyer.auditor import audit_compile, audit_transfer
from surge.buyer.endings import guest_fault
from surge.buyer.orphans import pay_setup
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.work import make_setup
from surge.core.messages import Prepare, decode_prepared, decode_unit_done, encode_body
from surge.core.pricing import compile_amount, transfer_amount
from surge.core.receipts import Receipt
from surge.core.units import Status
from surge.errors import GuestFault, NotEnough, PeerFault, Unavailable

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
"""Times that a provider may say it misses something."""


class Preparation:
    """Prepares providers for one job. `contents` are its bundle and image: (size, source) by SHA-256."""

    def __init__(self, job: Job, lanes: Lanes, contents: Mapping[bytes, tuple[int, Source]]) -> None:
        self._job = job
        self._lanes = lanes
        self._contents = contents

    async def provide(self, peer: Peer, inputs: Sequence[tuple[bytes, int]], sources: Mapping[bytes, Source]) -> None:
        """See that the provider has the image compiled, the bundle, and these inputs; upload what it misses."""
        plan = self._job.plan
        body = Prepare(
            job=plan.id,
            image=plan.image,
            image_size=plan.image_size,
            bundle=plan.bundle or b"",
            bundle_size=plan.bundle_size,
            contents=list(inputs),
        )
        known = {content: (size, sources[content]) for content, size in inputs} | dict(self._contents)
        for _ in range(ROUNDS):
            answer = await peer.question("prepare", encode_body(body), seconds=PREPARE_SECONDS)
            prices = self._lanes.prices(peer)
            if answer.receipt is not None:
                self._afford(compile_amount(prices, plan.image_size))
                receipt, digest = audit_compile(answer.receipt, plan.image, peer.terms.engine, plan.image_size, prices, peer.payer.party)
                self._pay(peer, receipt, answer.receipt.signature, digest)
            missing = decode_prepared(answer.body).missing
            if not missing:
                return
            for content in missing:
                if content not in known:
                    raise PeerFault(f"{peer.device} asks for a content that the job does not have", content=content)
                size, source = known[content]
                self._afford(transfer_amount(prices, size))
                wire = await peer.upload(content, size, source, UPLOAD_SECONDS)
                if wire is not None:
                    receipt, digest = audit_transfer(wire, content, size, prices, peer.payer.party)
                    self._pay(peer, receipt, wire.signature, digest)
        raise Unavailable(f"{peer.device} keeps asking for what it was sent", device=peer.device)

    async def set_up(self, peer: Peer) -> None:
        """Run the job's setup there, unless its snapshot is there already.

        1. The answer is audited like a unit's; what was done is paid, whatever came out.
        2. A setup that ended badly ends the job: it would end so everywhere.
        """
        job, plan = self._job, self._job.plan
        prices = self._lanes.prices(peer)
        allowance = job.purse.allow_setup(prices, plan.limits, self._lanes.wanted())
        if allowance is None:
            raise NotEnough(f"the budget does not buy the job's setup at {peer.device}", left=job.purse.left)
        body, asked = make_setup(plan, peer.terms.engine, allowance.limits, prices)
        key = ("setup", peer.device)
        job.purse.reserve(key, allowance.reserved)
        asked = await job.remember_setup(peer.terms.channel, asked)
        try:
            answer = await peer.question("setup", body, seconds=plan.limits.wall_ms / 1000 + 60, bills=True)
            # 1
            done = decode_unit_done(answer.body)
            outcome = done.outcome()
            if answer.receipt is not None:
                receipt = pay_setup(peer, asked, done, answer.receipt, plan.id)
                if receipt is not None:
                    job.paid(receipt)
        finally:
            job.purse.release(key)
        # 2
        if outcome.status is Status.OUT_OF_FUEL and allowance.lowered:
            raise NotEnough(f"the budget does not buy the job's setup: it needs more than {outcome.fuel} fuel", fuel=outcome.fuel)
        if outcome.status is not Status.FINISHED:
            fault = guest_fault(outcome, done.output, done.detail)
            raise GuestFault(f"the module's top level failed: {fault.message}", **fault.details)

    def _afford(self, amount: int) -> None:
        left = self._job.purse.left
        if left is not None and amount > left:
            raise NotEnough(f"the budget has {left} wei left, and preparing a provider costs {amount}", left=left, amount=amount)

    def _pay(self, peer: Peer, receipt: Receipt, signature: bytes, digest: bytes) -> None:
        paid = Paid(receipt, signature, digest, True, None, self._job.plan.id, ())
        if peer.pay(paid):
            self._job.paid(receipt)
