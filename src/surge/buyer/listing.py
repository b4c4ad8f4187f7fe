"""What a network knows of the past and the present: jobs, receipts, channels, offers, as plain rows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from surge.buyer import cases, exporting, records
from surge.buyer.accounts import Lease
from surge.buyer.audited import JobAudits, job_audits, job_operators
from surge.buyer.background import Background
from surge.buyer.bonded import Bond, Bonded
from surge.buyer.client import Client
from surge.buyer.journal import CLOSED, CLOSING, RUNNING, STOPPED, Journal
from surge.buyer.judge import Whom
from surge.buyer.offered import offer_row, standing_row, whom_of
from surge.buyer.options import Asked, check_known, limits_of, wishes_of
from surge.buyer.records import JobRecord
from surge.buyer.statements import Report
from surge.core.receipts import Receipt
from surge.core.types import Address, address
from surge.core.units import Limits
from surge.errors import InvalidInput, SurgeError, Unavailable
from surge.ledger import Redemption

LEDGER_SECONDS = 15.0
"""How long a listing waits for the ledger's past."""


class Listing:
    """The part of a network that looks things up. Use `Network`."""

    def __init__(self, client: Client, background: Background) -> None:
        self._client = client
        self._background = background

    @property
    def _journal(self) -> Journal:
        """The journal. Raises `InvalidInput` once the network is closed."""
        self._background.check_open()
        return self._client.journal

    # Jobs

    def jobs(self) -> list[JobRecord]:
        """Every job of this wallet, the newest first."""
        return [self._seen(record) for record in records.list_jobs(self._journal)]

    def job(self, named: str) -> JobRecord:
        """The job whose id begins with these hex digits."""
        return self._seen(records.find_job(self._journal, named))

    def _seen(self, record: JobRecord) -> JobRecord:
        """A job as it is: one whose process died was never told that it stopped."""
        dead = record.state == RUNNING and not Lease.is_taken(self._client.home.leases, bytes.fromhex(record.id))
        return replace(record, state=STOPPED) if dead else record

    def job_providers(self, named: str) -> list[dict[str, Any]]:
        """Who worked on a job: `provider`, `units`, `gigafuel`, `pay` in wei."""
        return records.job_providers(self._journal, self.job(named).id)

    def job_log(self, named: str) -> list[dict[str, Any]]:
        """What happened to a job: `time` (Unix seconds) and `text`."""
        return records.job_log(self._journal, self.job(named).id)

    def audits(self, named: str) -> JobAudits:
        """What was checked of a job's results: who was checked how often and why, and who gave a wrong one.

        Where the ledger is away, nobody's bond is known, and nothing is held against anybody.
        """
        record, own = self.job(named), self._client.home.own_operators()

        async def bonds() -> dict[Address, Bond]:
            await self._client.flush()
            found: dict[Address, Bond] = {}
            with contextlib.suppress(SurgeError, TimeoutError):
                async with asyncio.timeout(LEDGER_SECONDS):
                    strangers = [each for each in job_operators(self._journal, record) if each not in own]
                    if strangers:
                        bonded = Bonded((await self._client.ledger()).bonds, own, court=self._client.home.network.court is not None)
                        found.update([(each, await bonded.of(each)) for each in strangers])
            return found

        known = self._background.call(bonds())
        return job_audits(self._journal, record, own, known)

    # Receipts

    def receipts(self, job: str | None = None) -> list[dict[str, Any]]:
        """Every receipt this wallet answered, or those of one job, the newest first."""
        self._background.call(self._client.flush())
        found = records.list_receipts(self._journal, None if job is None else self.job(job).id)
        rows = [
            {
                "receipt": each.id,
                "kind": each.receipt.kind,
                "job": each.job[:12],
                "device": each.receipt.device,
                "quantity": each.receipt.quantity,
                "amount": each.amount,
                "accepted": each.accepted,
                "finished": each.receipt.finished_at,
            }
            for each in found
        ]
        return sorted(rows, key=lambda row: -row["finished"])

    def receipt(self, named: str) -> dict[str, Any]:
        """Everything a receipt says, and the answer to it."""
        found = self._receipt(named)
        names: tuple[str, ...] = Receipt.__slots__
        return {
            "receipt": found.id,
            **{name: getattr(found.receipt, name) for name in names},
            "accepted": found.accepted,
            "acknowledged": found.amount,
            "index": found.index,
            "job": found.job,
            "signature": found.signature,
        }

    def export_case(self, named: str, output: str | Path, *, inputs: bool = False) -> Path:
        """Write a case file: the receipt, the answer to it and its proof, for someone else to verify.

        With `inputs` it also holds the unit's code and input, so that anyone can replay it. Raises `Unavailable` when no voucher
        that covers the receipt was redeemed yet.
        """
        record = self._receipt(named)
        case = self._background.call(exporting.export_case(self._client, record, inputs=inputs))
        return exporting.write(case, Path(output))

    def replay(self, named: str, *, rpc: Sequence[str] = ()) -> Report:
        """Verify a receipt, then run its unit again on this machine and compare result and fuel, bit for bit.

        The ledger is asked through `rpc`, or the network's own endpoints; the report says where it could not be.
        """
        record = self._receipt(named)
        return self._background.call(cases.replay_own(self._client, record, rpc))

    def _receipt(self, named: str) -> records.ReceiptRecord:
        self._background.call(self._client.flush())
        return records.find_receipt(self._journal, named)

    # Channels

    def channels(self) -> list[dict[str, Any]]:
        """The wallet's channels: deposit, what is vouched for, the floor and what was paid out, in wei, and the state.

        A channel that ends pays its provider the larger of what is vouched for and the floor. `returns_at` is when the rest of one that
        is closing can be had, in Unix seconds.
        """

        async def read() -> list[dict[str, Any]]:
            treasury = await self._client.treasury()
            await treasury.reconcile()
            rows = await self._client.journal.channels()
            found = []
            for row, state in zip(rows, await treasury.states(rows), strict=True):
                entry = {
                    "channel": row.id.hex(),
                    "device": row.device,
                    "deposit": row.deposit,
                    "vouched": row.amount,
                    "floor": 0,
                    "redeemed": 0,
                    "receipts": row.count,
                    "state": row.state,
                    "returns_at": 0,
                }
                if not isinstance(state, SurgeError):
                    entry["deposit"], entry["floor"], entry["redeemed"] = state.deposit, state.floor, state.redeemed
                    entry["state"] = "closed" if state.closed else "closing" if state.closing_at else row.state
                    entry["returns_at"] = 0 if state.closed else state.closing_at
                found.append(entry)
            return found

        return self._background.call(read())

    def open_channel(self, device: str, amount: int) -> bytes:
        """Deposit `amount` wei for a provider; returns the channel's id."""

        async def work() -> bytes:
            market, treasury = await self._client.market(), await self._client.treasury()
            for signed in await market.offers():
                if signed.offer.device == address(device):
                    return await treasury.open_for(signed.offer, amount)
            raise Unavailable(f"{device} offers nothing now", device=device)

        return self._background.call(work())

    def close_channel(self, named: str) -> dict[str, Any]:
        """Close a channel: together with its provider if it answers, otherwise one-sidedly. The rest of the deposit returns.

        `how` is "together"; or "alone", with `why`: then it is closed once more after `returns_at` (Unix seconds), which is "finished" and
        brings the rest back. Raises `Unavailable` before that time.
        """

        async def work() -> dict[str, Any]:
            treasury = await self._client.treasury()
            await treasury.reconcile()
            row = records.find_channel(await self._client.journal.channels(), named)
            (state,) = await treasury.states([row])
            if not isinstance(state, SurgeError) and (state.closed or state.closing_at):  # whoever began it
                row = replace(row, state=CLOSED if state.closed else CLOSING)
                if row.state == CLOSING and state.closing_at > time.time():
                    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.closing_at))
                    raise Unavailable(f"the channel 0x{row.id.hex()} is closing: close it again after {at}", returns_at=state.closing_at)
            how, transaction, why = await self._client.close_channel(row)
            returns_at = 0
            if how == "alone":
                (state,) = await treasury.states([row])
                returns_at = 0 if isinstance(state, SurgeError) else state.closing_at
            return {"channel": row.id.hex(), "how": how, "transaction": transaction, "why": why, "returns_at": returns_at}

        return self._background.call(work())

    def redemptions(self, named: str) -> list[Redemption]:
        """What a channel's provider has redeemed on the ledger, oldest first."""

        async def read() -> list[Redemption]:
            row = records.find_channel(await self._client.journal.channels(), named)
            ledger = await self._client.ledger()
            return await ledger.redemptions(row.id)

        return self._background.call(read())

    # Providers

    def providers(self, **asked: Unpack[Asked]) -> list[dict[str, Any]]:
        """Who offers work now, in the order in which a job tries them: all that the offer says (`surge.buyer.offered.offer_row`).

        `standing` says how the device stands with this wallet; `excluded_by` what of `asked`, or of a job that asks for nothing, keeps it
        out, and is empty where nothing does.
        """
        check_known(asked)
        wishes, memory = wishes_of(asked), limits_of(asked).memory

        async def read() -> list[dict[str, Any]]:
            await self._client.flush()
            market = await self._client.market()
            rows = await market.judged(wishes, memory, patience=LEDGER_SECONDS)
            return [
                offer_row(signed.offer, memory, failed, held, market.judge.bond(signed.offer.operator)) for signed, failed, held in rows
            ]

        return self._background.call(read())

    offers = providers
    """The older name of `providers`."""

    def provider(self, named: str) -> list[dict[str, Any]]:
        """How a device stands, and why, or each device of an operator (`surge.buyer.offered.standing_row`). Raises `InvalidInput`.

        The first digits of an address are enough where they are those of one who offers work, or whom this wallet has a channel with.
        """

        async def read() -> list[dict[str, Any]]:
            await self._client.flush()
            market, ledger = await self._client.market(), await self._client.ledger()
            memory = Limits().memory
            offered, channels = [each.offer for each in await market.offers()], await self._client.journal.channels()
            known = {name for each in offered for name in (each.device, each.operator)}
            whose = whom_of(named, known | {name for row in channels for name in (row.device, row.operator)})
            offers = {each.device: each for each in offered if whose in (each.device, each.operator)}
            devices = {each.device: Whom.of(each) for each in offers.values()}
            for row in channels:
                if whose in (row.device, row.operator):
                    devices.setdefault(address(row.device), Whom(address(row.device), address(row.operator)))
            if not devices and (operator := await ledger.operator_of(whose)) is not None:
                devices[whose] = Whom(whose, operator)
            if not devices:
                registered = [each for each in await ledger.members() if each.kind == "device" and each.operator == whose]
                devices = {each.address: Whom(each.address, whose) for each in registered}
            if not devices:
                raise InvalidInput(f"nobody knows {whose}: no device of that address, or of that operator, offers work or is registered")
            held = await market.judge.standings(devices.values(), patience=LEDGER_SECONDS)
            since = await market.judge.read_since()
            rows = []
            for device, whom in devices.items():
                bond = market.judge.bond(whom.operator)
                offer = offer_row(offers[device], memory, None, held[device], bond) if device in offers else None
                rows.append(standing_row(whom, held[device], offer, bond, since))
            return sorted(rows, key=lambda row: -row["standing"])

        return self._background.call(read())

    def wait_for_providers(self, count: int, seconds: float) -> None:
        """Wait until `count` providers offer work. Raises `Unavailable` after `seconds`."""

        async def work() -> None:
            market = await self._client.market()
            await market.wait_for(count, seconds)

        if count < 1:
            raise InvalidInput("wait for at least one provider", count=count)
        self._background.call(work())
