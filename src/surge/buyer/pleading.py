"""Disputes of a wallet: opened from its receipts, and followed by whichever of its processes is online."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from surge.buyer import cases, docket, exporting, records
from surge.buyer.accounts import Lease
from surge.buyer.courier import Courier
from surge.buyer.disputes import Disputes, check_claim
from surge.buyer.docket import OPEN, OPENING, Dispute
from surge.buyer.records import ReceiptRecord
from surge.buyer.verdicts import costs
from surge.core.court import SIZES
from surge.core.receipts import FUELLED, ReceiptKind
from surge.core.storage.stored import parts_of
from surge.core.units import result_hash
from surge.errors import InvalidInput, SurgeError

if TYPE_CHECKING:
    from surge.buyer.client import Client

log = logging.getLogger("surge.buyer")

FOLLOW_PAUSE: Final = 1.0
"""Seconds between looks at a dispute that another process follows."""

RETRY_SECONDS: Final = 5.0
"""Seconds before a dispute is gone on with after the ledger was away."""


async def disputes_of(client: Client) -> Disputes:
    """The wallet's disputes. Raises `InvalidInput` where the network has no court."""
    network = client.home.network
    if network.court is None:
        raise InvalidInput(f"the network {network.name} has no court: nothing can be disputed there")
    ledger, relays = await client.ledger(), await client.relays()
    return Disputes(
        network=network,
        court=ledger.court,
        address=network.court.address,
        wallet=client.wallet,
        journal=client.journal,
        folder=client.home.folder / "disputes",
        courier=Courier(network, ledger, relays, client.wallet),
        looked=client.looks.done,
    )


async def open_dispute(
    client: Client,
    record: ReceiptRecord,
    result: bytes | None,
    fuel: int | None,
    *,
    jurors: int,
    most: int | None,
    worth: int | None,
    fuel_limit: int | None = None,
) -> Dispute:
    """Open a case about a receipt of the journal; one that is open already goes on. Without a claim the unit is run again here first.

    A claim that is what came out here is carried to the largest jury, unless `most` names another; any other ends with the first.

    Raises `InvalidInput` for a receipt of a job whose inputs no juror may see, and whatever `Disputes.open` raises.
    """
    if record.receipt.kind not in FUELLED:
        raise InvalidInput(f"the receipt {record.id[:12]} is for no unit that ran: there is nothing to dispute", receipt=record.id)
    digest = bytes.fromhex(record.id)
    before = next((each for each in docket.listed(client.journal) if each.receipt == digest), None)
    if before is not None and before.state in (OPENING, OPEN):
        return before
    if record.job and not records.find_job(client.journal, record.job).plan.wishes.disputable:
        raise InvalidInput(
            f"the job {record.job[:12]} was started with disputable=False: none of its code or input is sent to jurors", job=record.job
        )
    disputes = await disputes_of(client)
    case = await exporting.export_case(client, record, inputs=True)
    if case.unit is not None and parts_of(case.unit.entry):
        raise InvalidInput(
            f"the unit of the receipt {record.id[:12]} reads stored files, which jurors have no way to read: such results are not "
            "disputed; copies=2 has every one of them compared before it is paid",
            receipt=record.id,
        )
    if result is None or fuel is None:
        if case.unit is None:
            raise InvalidInput(f"the receipt {record.id[:12]} is for no unit that ran: there is nothing to dispute", receipt=record.id)
        outcome = await cases.outcome_again(case.unit, case.contents, setup=record.receipt.kind == ReceiptKind.SETUP)
        result, fuel = result_hash(outcome), outcome.fuel
        most = most or SIZES[-1]
    check_claim(case, result, fuel, jurors, most)
    limit = await _limit(client, record, fuel_limit)
    return await disputes.open(case, result, fuel, jurors=jurors, worth=worth, most=most, fuel_limit=limit)


async def _limit(client: Client, record: ReceiptRecord, fuel_limit: int | None) -> int:
    """What jurors are given time for, where the unit's own limit is not more."""
    took = await records.setup_took(client.journal, bytes.fromhex(record.job)) if record.job else None
    return max(fuel_limit or 0, took or 0)


async def cost_of(
    client: Client, record: ReceiptRecord, *, jurors: int, most: int | None, worth: int | None, fuel_limit: int | None
) -> list[str]:
    """What opening a case like this would take, in sentences. Raises `InvalidInput` where there is nothing to dispute, `Unavailable`."""
    await disputes_of(client)
    case, _ = await exporting.case_of(client, record)
    if record.receipt.kind not in FUELLED or case.unit is None:
        raise InvalidInput(f"the receipt {record.id[:12]} is for no unit that ran: there is nothing to dispute", receipt=record.id)
    parameters = await (await client.ledger()).court.parameters()
    limit = max(case.unit.limits.fuel, await _limit(client, record, fuel_limit))
    risked = int(parameters.max_worth(limit, jurors)) if worth is None else worth
    return costs(parameters, limit, jurors, most or jurors, risked)


async def follow(client: Client, dispute: Dispute) -> Dispute:
    """Follow a dispute until it is over; another process that does so already is waited for."""
    while dispute.state in (OPENING, OPEN):
        if dispute.receipt not in client.following:
            lease = Lease(client.home.leases, dispute.receipt)
            if not lease.held:
                await asyncio.sleep(FOLLOW_PAUSE)
                dispute = await docket.of(client.journal, dispute.receipt)
                client.looks.done()
                continue
            client.following[dispute.receipt] = asyncio.create_task(_followed(client, dispute, lease), name=f"dispute {dispute.id[:12]}")
        dispute = await asyncio.shield(client.following[dispute.receipt])
    return dispute


async def _followed(client: Client, dispute: Dispute, lease: Lease) -> Dispute:
    try:
        return await (await disputes_of(client)).follow(await docket.of(client.journal, dispute.receipt))
    finally:
        client.following.pop(dispute.receipt, None)
        lease.release()


async def go_on(client: Client) -> None:
    """Follow every dispute that is not over, in the background: a deadline that is missed costs money."""
    waiting = [each for each in await asyncio.to_thread(docket.listed, client.journal) if each.state in (OPENING, OPEN)]
    async with asyncio.TaskGroup() as group:
        for dispute in waiting:
            group.create_task(to_its_end(client, dispute))


async def to_its_end(client: Client, dispute: Dispute) -> None:
    """Follow a dispute, and go on whenever the ledger is back."""
    while True:
        try:
            await follow(client, dispute)
            return
        except SurgeError as error:
            log.warning("the dispute about %s cannot be followed now: %s", dispute.id[:12], error)
        client.looks.done()
        await asyncio.sleep(RETRY_SECONDS)
