"""Gas on the embedded ledger: of each unit settled, the same for one unit a voucher as for ten thousand; and of a case before the court."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from benchmarks.rows import Row
from court_ledger_support import SALT, SECRET, TRUE, dispute, wait
from ledger_support import COIN, Chain, chain_in, found
from surge.core.receipts import Voucher
from surge.ledger import Ledger, answers
from surge.wallet import KeySigner


def measure() -> Iterator[Row]:
    """Rows for each number of units a voucher and whether a redemption's gas is constant; for a case with 5 and with 15 jurors."""
    costs, transfer = asyncio.run(_settling())
    for units, gas in costs.items():
        ratio = transfer / (gas / units)
        yield Row(f"gas per unit settled, {units:,} units a voucher", gas / units, "gas", "one ERC-20 transfer a task", transfer, ratio)
    spread = max(costs.values()) / min(costs.values())
    yield Row("gas of a redemption, largest over smallest", spread, "ratio", aim="constant per redemption (within 1 %)", met=spread <= 1.01)
    for jurors in (5, 15):
        gas, opening, verdict, seconds = asyncio.run(_trying(jurors))
        yield Row(f"gas of a case from open to verdict, {jurors} jurors", gas, "gas")
        yield Row(f"of it the opening, {jurors} jurors", opening, "gas")
        yield Row(f"of it the verdict, {jurors} jurors", verdict, "gas")
        yield Row(f"time of a case on the embedded ledger, {jurors} jurors that answer at once", seconds, "s")


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Chain]:
    """A chain of its own with the contracts."""
    with tempfile.TemporaryDirectory() as name:
        template = Path(name) / "template"
        async with chain_in(Path(name) / "chain", template, await found(template)) as chain:
            yield chain


async def _settling() -> tuple[dict[int, int], int]:
    session, device = KeySigner.random(), KeySigner.random()
    async with running() as chain:
        ledger, treasury = chain.ledger, chain.treasury
        channel = await ledger.open_channel(
            treasury,
            provider=device.address,
            device=device.address,
            session_key=session.address,
            amount=10**20,
            floor=0,
            challenge_seconds=60,
        )

        async def redeem(amount: int, count: int) -> int:
            await wait(chain, 1)  # a channel notes the second of its last redemption: the same one again would be written for less
            voucher = Voucher(channel, amount, count, count.to_bytes(32, "big"))
            (done,) = await ledger.redeem(treasury, [(voucher, session.sign(voucher.digest(ledger.network.channels_domain)))])
            return await ledger.gas_used(done.transaction)

        # The first writes slots that were empty: every channel pays that once, and every operator for the fees of an epoch.
        await redeem(10**15, 1)
        costs, count, amount = {}, 1, 10**15
        for units in (1, 100, 10_000):
            count, amount = count + units, amount + units * 10**15
            costs[units] = await redeem(amount, count)
        other = KeySigner.random().address
        await ledger.transfer(treasury, other, tokens=1)
        (again,) = await ledger.transfer(treasury, other, tokens=1)
        return costs, await ledger.gas_used(again)


async def _trying(jurors: int) -> tuple[int, int, int, float]:
    """Gas of a case that convicts, of its opening and of its verdict; and the seconds it took."""
    async with running() as chain:
        made = await dispute(chain, jurors + 3)
        ledger, court = chain.ledger, chain.ledger.court
        await ledger._calls.approve(made.buyer, "court", 10 * COIN)
        start, began = await last_block(ledger), time.monotonic()
        case = await made.open(jurors)
        opened = await last_block(ledger)
        await court.answer(made.operator, case, made.link(1))
        jury = await court.draw(made.buyer, case, SECRET)
        for who in jury:
            await court.commit(made.jurors[who], case, SALT, TRUE)
        for who in jury:
            await court.reveal(made.jurors[who], case, SALT, TRUE)
        revealed = await last_block(ledger)
        await court.advance(made.buyer, case)
        seconds, end = time.monotonic() - began, await last_block(ledger)
        return (
            await gas_between(ledger, start, end),
            await gas_between(ledger, start, opened),
            await gas_between(ledger, revealed, end),
            seconds,
        )


async def last_block(ledger: Ledger) -> int:
    number: int = await ledger._endpoints.call("eth_blockNumber", read=answers.quantity)
    return number


async def gas_between(ledger: Ledger, after: int, until: int) -> int:
    """Gas of the blocks after one, until another: nobody else sends anything here."""
    total = 0
    for number in range(after + 1, until + 1):
        total += await ledger._endpoints.call(
            "eth_getBlockByNumber", hex(number), False, read=lambda answer: answers.quantity(answer["gasUsed"])
        )
    return total
