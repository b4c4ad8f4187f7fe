"""Making cases out of a journal: a receipt of one's own, with what it takes to check it."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from surge.buyer import casefile, signed_terms
from surge.buyer.casefile import Case
from surge.buyer.journal import SETUP
from surge.buyer.plan import Plan
from surge.buyer.records import ReceiptRecord
from surge.buyer.spool import Spool
from surge.buyer.statements import is_price
from surge.buyer.work import NOTHING, unit_input
from surge.core.channels import Answered
from surge.core.log import ReceiptLog
from surge.core.messages.fields import MAX_INLINE
from surge.core.receipts import Signed, Terms, Voucher
from surge.core.types import ZERO
from surge.core.units import UnitSpec, unit_id
from surge.errors import InvalidInput, PeerFault, Unavailable

if TYPE_CHECKING:
    from surge.buyer.client import Client


async def export_case(client: Client, record: ReceiptRecord, *, inputs: bool) -> Case:
    """The case of an answered receipt. Redeems the channel's voucher first, if no redemption covers the receipt yet, or
    records it, if the device gave the channel up.
    """
    channel = record.receipt.channel
    ledger = await client.ledger()
    state = await ledger.channel(channel)
    if state.count <= record.index:
        rows = await client.journal.read("SELECT amount, count, root, signature FROM channels WHERE id = ?", (channel,))
        amount, count, root, signature = rows[0]
        voucher = Voucher(channel, int(amount), count, root)
        if state.closed:
            await ledger.record(client.wallet, voucher, signature)
        else:
            await ledger.redeem(client.wallet, [(voucher, signature)])
        state = await ledger.channel(channel)
        if state.count <= record.index:
            raise Unavailable("the receipt's voucher is not redeemed on the ledger yet: try again later", channel=channel)
    case, items = await case_of(client, record, state.count)
    if case.root != state.root:
        raise PeerFault("the ledger holds another log of the channel than this journal", channel=channel)
    if not inputs or case.unit is None:
        return case
    return casefile.with_contents(case, await contents_of(client, case.unit, items))


async def case_of(client: Client, record: ReceiptRecord, count: int | None = None) -> tuple[Case, bytes]:
    """The case of an answered receipt in the log's first `count` leaves, or in all under the last voucher; and its unit's input."""
    receipt = record.receipt
    leaves = await client.journal.read("SELECT leaf FROM receipts WHERE channel = ? ORDER BY number", (receipt.channel,))
    log = ReceiptLog(leaf for (leaf,) in leaves)
    if count is None:
        ((count,),) = await client.journal.read("SELECT count FROM channels WHERE id = ?", (receipt.channel,))
        assert count is not None, "no column is"
    if count > log.size:
        raise PeerFault("the ledger holds another log of the channel than this journal", channel=receipt.channel)
    agreed = await _agreed(client, record)
    unit, items = await _unit_of(client, record, {terms.engine for terms, _ in agreed}) or (None, b"")
    drafts = [
        Case(
            network=client.home.network,
            terms=terms,
            signed=Signed(receipt, record.signature),
            answer=Answered(record.index, receipt.sequence, record.accepted, record.amount, leaves[record.index][0]),
            count=count,
            root=log.root(count),
            path=tuple(log.inclusion(record.index, count)),
            unit=unit,
            outcome=record.outcome,
            carried=len(items) if len(items) <= MAX_INLINE else 0,
            terms_signature=signature,
        )
        for terms, signature in agreed
    ]
    return next((each for each in drafts if is_price(each)), drafts[0]), items


async def _agreed(client: Client, record: ReceiptRecord) -> list[tuple[Terms, bytes | None]]:
    """The terms that may hold for a receipt, with the device's signature where it was kept: those of its job first, the newest first.

    Which of them it was billed at, its price says: a channel has new terms with every offer, and a job from its second unit on at most.
    """
    channel, job = record.receipt.channel, bytes.fromhex(record.job) or None
    signed = await signed_terms.of_channel(client.journal, channel)
    found: list[tuple[Terms, bytes | None]] = [(terms, by) for terms, by in signed if terms.job == job]
    found += [(terms, by) for terms, by in signed if terms.job == ZERO]
    for query, values in (
        ("SELECT terms FROM job_terms WHERE channel = ? AND job = ?", (channel, job)),
        ("SELECT terms FROM channels WHERE id = ?", (channel,)),
    ):
        found += [(Terms.decode(terms), None) for (terms,) in await client.journal.read(query, values)]
    return found


async def _unit_of(client: Client, record: ReceiptRecord, engines: set[bytes]) -> tuple[UnitSpec, bytes] | None:
    """The unit that a receipt is for, which ran on one of these engines, and its input; None for what is no unit."""
    receipt = record.receipt
    rows = await client.journal.read(
        "SELECT tries.job, number, fuel, plan FROM tries JOIN jobs ON jobs.id = tries.job WHERE channel = ? AND unit = ?",
        (receipt.channel, receipt.subject),
    )
    if not rows:
        return None
    job, number, fuel, data = rows[0]
    plan = Plan.decode(data)
    entry, items, digest = b"", b"", NOTHING
    if number != SETUP:
        ((first, count),) = await client.journal.read("SELECT first, count FROM cuts WHERE job = ? AND number = ?", (job, number))
        entry, items = unit_input(plan, first, await Spool(job, client.journal).load(first, count))
        digest = hashlib.sha256(items).digest()
    limits = replace(plan.limits, fuel=fuel)
    specs = [plan.spec(engine, entry, digest, limits) for engine in engines]
    return next((each for each in specs if unit_id(each) == receipt.subject), specs[0]), items


async def contents_of(client: Client, unit: UnitSpec, items: bytes) -> dict[bytes, bytes]:
    """The bytes that running the unit needs: its input, its bundle, its module unless that is the pinned image."""
    found = {unit.items: items}
    for digest in (unit.bundle, None if unit.setup else unit.image):
        if digest is not None:
            path = client.content(digest)
            if path is None:
                raise Unavailable(f"the content sha256:{digest.hex()} is no longer here", digest=digest)
            found[digest] = await asyncio.to_thread(path.read_bytes)
    return found


def write(case: Case, output: Path) -> Path:
    """Write a case file. Raises `InvalidInput` where it cannot be written."""
    try:
        output.write_bytes(casefile.encode(case))
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written ({error.strerror}): name another place", path=str(output)) from error
    return output
