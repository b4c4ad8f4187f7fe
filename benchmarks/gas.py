"""Gas on the embedded ledger: of each unit settled, the same for one unit a voucher as for ten thousand; and of a case before the court."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.rows import Row
from surge.core.court import EMBEDDED as COURT
from surge.core.court import Answer
from surge.core.keccak import keccak256
from surge.core.log import ReceiptLog
from surge.core.network import NetworkFile, RelayAddress
from surge.core.parameters import EMBEDDED
from surge.core.pricing import Prices
from surge.core.receipts import Acknowledgement, DeviceConsent, Receipt, Signed, Terms, Voucher
from surge.core.types import ZERO
from surge.ledger import EmbeddedLedger, Ledger, answers, deploy
from surge.wallet import KeySigner

COIN = 10**18


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
async def _running() -> AsyncIterator[tuple[Ledger, KeySigner]]:
    """A chain of its own with the contracts, and its treasury."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chain = EmbeddedLedger(folder / "ledger", port)
        await chain.start()
        mining = asyncio.create_task(chain.run())
        treasury = KeySigner.from_mnemonic(chain.genesis.mnemonic)
        parameters = replace(EMBEDDED, min_bond=0)
        made = await deploy((chain.url,), chain.genesis.chain_id, treasury, folder / "t.db", embedded=True, parameters=parameters)
        network = NetworkFile(
            name="bench",
            kind="embedded",
            chain_id=chain.genesis.chain_id,
            rpc=(chain.url,),
            relays=(RelayAddress("nats://127.0.0.1:1", treasury.address),),
            confirmations=1,
            **made.contracts,
        )
        ledger = await Ledger.connect(network, folder / "t.db")
        try:
            yield ledger, treasury
        finally:
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
            await ledger.close()
            await chain.stop()


async def _settling() -> tuple[dict[int, int], int]:
    session, device = KeySigner.random(), KeySigner.random()
    async with _running() as (ledger, treasury):
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
    engine, limit, secret, salt = b"\x0e" * 32, 10**11, keccak256(b"secret"), keccak256(b"salt")
    right, wrong = Answer(b"\x01" * 32, 7 * 10**9, b"\x11" * 32), Answer(b"\x02" * 32, 8 * 10**9, b"\x22" * 32)
    async with _running() as (ledger, treasury):
        network = ledger.network

        async def person(tokens: int) -> KeySigner:
            signer = KeySigner.random()
            await ledger.transfer(treasury, signer.address, tokens=tokens, native=COIN)
            return signer

        async def sit() -> KeySigner:
            juror = await person(COURT.seat_stake)
            await ledger.bonds.stake(juror, juror.address, COURT.seat_stake)
            await ledger.court.enlist(juror, seats=1, engines=[engine], memory=1 << 30, fuel_cap=limit, key=salt)
            return juror

        sitting = {each.address: each for each in [await sit() for _ in range(jurors + 3)]}
        buyer, operator = await person(100 * COIN), await person(100 * COIN)
        device, session, link = KeySigner.random(), KeySigner.random(), keccak256(b"chain")
        await ledger.bonds.stake(operator, operator.address, 20 * COIN)
        await ledger.bonds.set_anchor(operator, keccak256(link))
        consent = DeviceConsent(operator.address, device.address, 0).digest(network.registry_domain)
        await ledger.register_device(operator, device.address, "", device.sign(consent))
        channel = await ledger.open_channel(
            buyer,
            provider=operator.address,
            device=device.address,
            session_key=session.address,
            amount=COIN,
            floor=0,
            challenge_seconds=60,
        )
        domain = network.channels_domain
        receipt = Receipt(1, device.address, buyer.address, channel, 0, b"a" * 32, wrong.result, wrong.fuel, 100, 5)
        log = ReceiptLog([Acknowledgement(channel, 0, receipt.digest(domain), True, 100).digest(domain)])
        voucher = Voucher(channel, 100, 1, log.root())
        await ledger.redeem(buyer, [(voucher, session.sign(voucher.digest(domain)))])
        terms = Terms(channel, ZERO, ZERO, engine, Prices(1, 1, 1, 1, 10**9), 1, 60, 60)
        court = ledger.court
        await ledger._calls.approve(buyer, "court", 10 * COIN)
        start, began = await _block(ledger), time.monotonic()
        case = await court.open(
            buyer,
            Signed(receipt, device.sign(receipt.digest(domain))),
            terms,
            device.sign(terms.digest(domain)),
            accepted=True,
            amount=100,
            index=0,
            path=log.inclusion(0),
            result=right.result,
            fuel=right.fuel,
            memory=1 << 20,
            fuel_limit=limit,
            jurors=jurors,
            worth=COURT.max_worth(limit, jurors),
            secret=secret,
        )
        opened = await _block(ledger)
        await court.answer(operator, case, link)
        jury = await court.draw(buyer, case, secret)
        for who in jury:
            await court.commit(sitting[who], case, salt, right)
        for who in jury:
            await court.reveal(sitting[who], case, salt, right)
        revealed = await _block(ledger)
        await court.advance(buyer, case)
        seconds, end = time.monotonic() - began, await _block(ledger)
        return await _gas(ledger, start, end), await _gas(ledger, start, opened), await _gas(ledger, revealed, end), seconds


async def _block(ledger: Ledger) -> int:
    number: int = await ledger._endpoints.call("eth_blockNumber", read=answers.quantity)
    return number


async def _gas(ledger: Ledger, after: int, until: int) -> int:
    """Gas of the blocks after one, until another: nobody else sends anything here."""
    total = 0
    for number in range(after + 1, until + 1):
        total += await ledger._endpoints.call(
            "eth_getBlockByNumber", hex(number), False, read=lambda answer: answers.quantity(answer["gasUsed"])
        )
    return total
