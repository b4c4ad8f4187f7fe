"""Carriage composed: a relay that is paid, and a device that pays its relays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from surge.core.carriage import FREE_WINDOW
from surge.core.network import NetworkFile, RelayAddress
from surge.core.pricing import Prices, transfer_amount
from surge.core.signing import Signer
from surge.core.types import Address

if TYPE_CHECKING:
    from surge.buyer.fares import Fares
    from surge.ledger import Ledger
    from surge.provider.daemon import Provider
    from surge.relay.client import Relays
    from surge.relay.server import RelayServer
    from surge.wallet import Keystore

log = logging.getLogger("surge.cli")

PATIENCE = 30.0
"""Seconds that a relay's own connection to itself may take."""


class RelayRegistry:
    """The registry for those who look for relays: it keeps them apart from devices."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def operator_of(self, device: Address) -> Address | None:
        """The operator that runs a relay, or None."""
        found = await self._ledger.relay(device)
        return None if found is None else found.operator


WINDOW = 64
"""Statements of one wallet's devices that may wait for an acknowledgement: what is carried unpaid is bounded in bytes."""


@contextlib.asynccontextmanager
async def paid(
    server: RelayServer, *, network: NetworkFile, ledger: Ledger, identity: Signer, operator: Address, gas: Signer, price: int, data: Path
) -> AsyncIterator[Provider]:
    """While a relay that runs, `metered`, asks `price` wei for 10^9 bytes carried: it offers that on its own board, under its identity.

    Args:
        server: the relay.
        network: which network.
        ledger: its ledger.
        identity: the relay's key, which signs receipts.
        operator: who is paid; the registry must name the relay as its.
        gas: pays for redemptions.
        price: wei.
        data: folder of its journal.
    """
    from surge.provider.carriage import Carriage
    from surge.provider.config import ProviderConfig, Rates
    from surge.provider.daemon import Provider
    from surge.relay.client import Relays

    opening = transfer_amount(Prices(0, 0, price, 0, 1), FREE_WINDOW)
    config = ProviderConfig(
        rates=Rates(gigafuel=0, memory=0, transfer=price, compile=0),
        window=WINDOW,
        window_max=WINDOW,
        opening=max(1, opening),
        max_sessions=server.limits.connections,
        upload_window=1,
    )
    here = RelayAddress(server.url, server.identity)
    relays = await Relays.connect([here], identity, network=network.network_id, timeout=PATIENCE, tls=server.own_tls())
    try:
        async with Provider(
            network=network,
            ledger=ledger,
            relays=relays,
            device=identity,
            operator=operator,
            data=data,
            services=[Carriage(server, data / "carriage.db", price)],
            config=config,
            gas=gas,
            operator_of=RelayRegistry(ledger).operator_of,
        ) as provider:
            await provider.ready()
            yield provider
    finally:
        await relays.close()


@contextlib.asynccontextmanager
async def paying(
    provider: Provider,
    *,
    network: NetworkFile,
    ledger: Ledger,
    relays: Relays,
    device: Signer,
    wallet: Signer,
    keys: Keystore,
    data: Path,
    most: int,
) -> AsyncIterator[Fares]:
    """While a device that lends pays the relays that ask for pay, `most` wei for 10^9 bytes at most, from `wallet`.

    Args:
        provider: the device; it is told which relays are not paid.
        network: which network.
        ledger: its ledger.
        relays: the device's connections.
        device: signs what it counted.
        wallet: opens and fills the channels.
        keys: where the channels' keys are kept.
        data: folder of the journal.
        most: wei.
    """
    from surge.buyer.fares import SERVICE, Fares
    from surge.buyer.journal import Journal
    from surge.buyer.judge import Judge
    from surge.buyer.market import Market
    from surge.buyer.treasury import Treasury

    journal = await asyncio.to_thread(Journal, data / "buyer.db")
    try:
        treasury = Treasury(network.channels_domain, ledger, wallet, keys, journal, data)
        market = Market(network, RelayRegistry(ledger), relays, treasury, journal, Judge(journal, ledger, None), service=SERVICE)
        fares = Fares(market, relays, device, data, most=most, left=provider.offering.renew)
        provider.unpaid_relays = lambda: fares.troubles
        running = asyncio.create_task(fares.run(), name="paying relays")
        running.add_done_callback(_tell)
        try:
            yield fares
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await fares.close()
    finally:
        await journal.close()


def _tell(task: asyncio.Task[None]) -> None:
    """Relays are paid no more: the device lends on, and who runs it hears why."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("relays are paid no more: %s", error, exc_info=error)


async def run_paid(
    server: RelayServer,
    network: NetworkFile,
    data: Path,
    keys: Keystore,
    identity: Signer,
    operator: str | None,
    price: int,
    stop: asyncio.Task[None],
) -> None:
    """Be a relay that is paid, until `stop` is done. Without the key of `operator` its own pays for redemptions."""
    from surge.cli.children import say_ready
    from surge.cli.places import passphrase
    from surge.core.types import address
    from surge.ledger import Ledger

    own = None if operator else keys.load_or_create("operator", passphrase())
    async with contextlib.AsyncExitStack() as stack:
        ledger = await Ledger.connect(network, data / "transactions.db", patience=PATIENCE)
        stack.push_async_callback(ledger.close)
        sending = asyncio.create_task(ledger.run(), name="sending transactions again")
        stack.callback(sending.cancel)
        provider = await stack.enter_async_context(
            paid(
                server,
                network=network,
                ledger=ledger,
                identity=identity,
                operator=own.address if own else address(operator or ""),
                gas=own or identity,
                price=price,
                data=data / "paid",
            )
        )
        ended = asyncio.Event()
        working = asyncio.create_task(provider.run(ended), name="being paid")
        say_ready()
        try:
            done, _ = await asyncio.wait((stop, working, sending), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            ended.set()
            await asyncio.gather(working, return_exceptions=True)
