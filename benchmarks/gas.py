"""Gas for each unit settled, on the embedded ledger: the same for one unit a voucher as for ten thousand."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.rows import Row
from surge.core.network import NetworkFile, RelayAddress
from surge.core.parameters import EMBEDDED
from surge.core.receipts import Voucher
from surge.ledger import EmbeddedLedger, Ledger, deploy
from surge.wallet import KeySigner


def measure() -> Iterator[Row]:
    """One row for each number of units a voucher, and one that says whether a redemption's gas is constant."""
    costs, transfer = asyncio.run(_measure())
    for units, gas in costs.items():
        ratio = transfer / (gas / units)
        yield Row(f"gas per unit settled, {units:,} units a voucher", gas / units, "gas", "one ERC-20 transfer a task", transfer, ratio)
    spread = max(costs.values()) / min(costs.values())
    yield Row("gas of a redemption, largest over smallest", spread, "ratio", aim="constant per redemption (within 1 %)", met=spread <= 1.01)


async def _measure() -> tuple[dict[int, int], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chain = EmbeddedLedger(folder / "ledger", port)
        await chain.start()
        mining = asyncio.create_task(chain.run())
        treasury = KeySigner.from_mnemonic(chain.genesis.mnemonic)
        session, device = KeySigner.random(), KeySigner.random()
        parameters = replace(EMBEDDED, min_bond=0)
        made = await deploy((chain.url,), chain.genesis.chain_id, treasury, folder / "t.db", embedded=True, parameters=parameters)
        relay = RelayAddress("nats://127.0.0.1:1", device.address)
        network = NetworkFile(
            name="bench",
            kind="embedded",
            chain_id=chain.genesis.chain_id,
            rpc=(chain.url,),
            relays=(relay,),
            confirmations=1,
            **made.contracts,
        )
        ledger = await Ledger.connect(network, folder / "t.db")
        try:
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
                (done,) = await ledger.redeem(treasury, [(voucher, session.sign(voucher.digest(network.channels_domain)))])
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
        finally:
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
            await ledger.close()
            await chain.stop()
