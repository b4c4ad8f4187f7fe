"""A chain with the contracts on it: deployed once, then copied, so that each test has one of its own in a fraction of a second."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from surge.core.keccak import keccak256
from surge.core.log import ReceiptLog
from surge.core.network import NetworkFile, RelayAddress
from surge.core.parameters import EMBEDDED, Parameters
from surge.core.receipts import Acknowledgement, Receipt, Voucher
from surge.ledger import Deployed, EmbeddedLedger, Ledger, deploy
from surge.wallet import KeySigner

COIN = 10**18

UNBONDED = replace(EMBEDDED, min_bond=0)
"""A network whose operators are paid everything at once."""

UNJUDGED = replace(UNBONDED, court=None, emissions=None, storage=None)
"""One without a court, challenges and emissions."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The address of an endpoint that answers so."""
    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Liar:
    """A node that passes everything on, but for what it lies about."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.lies: dict[str, Any] = {}
        """What it answers, by method; or what makes the answer of the call."""
        self.swallows = False
        self.holds = False
        """Whether it takes transactions and passes none on."""
        self.kept: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        call = await request.json()
        if self.swallows and call["method"] == "eth_sendRawTransaction":
            self.kept.append(call["params"][0])
            error = {"code": -32000, "message": "temporarily refused"}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        if self.holds and call["method"] == "eth_sendRawTransaction":
            self.kept.append(raw := call["params"][0])
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": "0x" + keccak256(bytes.fromhex(raw[2:])).hex()})
        if call["method"] in self.lies:
            lie = self.lies[call["method"]]
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": lie(call) if callable(lie) else lie})
        async with aiohttp.ClientSession() as session, session.post(self.target, json=call) as response:
            return web.json_response(await response.json())


@contextlib.asynccontextmanager
async def mining(ledger: EmbeddedLedger) -> AsyncIterator[asyncio.Task[None]]:
    """The ledger, mining; stopped afterwards whatever happened to it."""
    await ledger.start()
    run = asyncio.create_task(ledger.run())
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await ledger.stop()


async def found(folder: Path, parameters: Parameters = UNBONDED) -> Deployed:
    """Make a chain in `folder` with the contracts on it."""
    ledger = EmbeddedLedger(folder, free_port())
    async with mining(ledger):
        treasury = KeySigner.from_mnemonic(ledger.genesis.mnemonic)
        return await deploy([ledger.url], ledger.genesis.chain_id, treasury, folder / "deploy.db", embedded=True, parameters=parameters)


_FOUNDED: dict[Parameters, tuple[dict[str, bytes], Deployed]] = {}
"""The files of a chain for each set of parameters, and what is deployed on it."""


async def founded(folder: Path, parameters: Parameters) -> Deployed:
    """`found`, but what another test of this process founded with these parameters is copied."""
    if parameters in _FOUNDED:
        files, deployed = _FOUNDED[parameters]
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return deployed
    deployed = await found(folder, parameters)
    _FOUNDED[parameters] = {name: (folder / name).read_bytes() for name in ("genesis.json", "state.json")}, deployed
    return deployed


@dataclass
class Chain:
    """A chain, its network file and a treasury that holds everything."""

    embedded: EmbeddedLedger
    network: NetworkFile
    treasury: KeySigner
    ledger: Ledger
    run: asyncio.Task[None]

    async def buyer(self, tokens: int = 100 * COIN, native: int = COIN) -> KeySigner:
        """A wallet with money."""
        signer = KeySigner.random()
        await self.ledger.transfer(self.treasury, signer.address, tokens=tokens, native=native)
        return signer


def network_of(embedded: EmbeddedLedger, deployed: Deployed, *rpc: str, confirmations: int = 1) -> NetworkFile:
    """The network file of a chain."""
    relay = RelayAddress("nats://127.0.0.1:1", deployed.token.address)
    urls = rpc or (embedded.url,)
    return NetworkFile(
        name="t",
        kind="embedded",
        chain_id=embedded.genesis.chain_id,
        rpc=urls,
        relays=(relay,),
        confirmations=confirmations,
        **deployed.contracts,
    )


@contextlib.asynccontextmanager
async def chain_in(folder: Path, template: Path, deployed: Deployed) -> AsyncIterator[Chain]:
    """A copy of the template chain, running."""
    await asyncio.to_thread(shutil.copytree, template, folder)
    embedded = EmbeddedLedger(folder, free_port())
    async with mining(embedded) as run:
        network = network_of(embedded, deployed)
        ledger = await Ledger.connect(network, folder / "tx.db")
        try:
            yield Chain(embedded, network, KeySigner.from_mnemonic(embedded.genesis.mnemonic), ledger, run)
        finally:
            await ledger.close()


class Work:
    """A channel's receipts and vouchers, as two sides would make them."""

    def __init__(self, network: NetworkFile, channel: bytes, buyer: KeySigner, device: KeySigner, session: KeySigner) -> None:
        self.domain = network.channels_domain
        self.channel, self.buyer, self.device, self.session = channel, buyer, device, session
        self.log = ReceiptLog()
        self.receipts: list[Receipt] = []
        self.amount = 0

    def voucher(self, units: int, price: int) -> tuple[Voucher, bytes]:
        """Do so many more units, all accepted; the voucher for everything so far."""
        for _ in range(units):
            number = len(self.receipts)
            receipt = Receipt(
                1, self.device.address, self.buyer.address, self.channel, number, b"a" * 32, b"b" * 32, 10**9, price, 1_800_000_000
            )
            self.receipts.append(receipt)
            self.log.append(Acknowledgement(self.channel, number, receipt.digest(self.domain), True, price).digest(self.domain))
            self.amount += price
        voucher = Voucher(self.channel, self.amount, self.log.size, self.log.root())
        return voucher, self.session.sign(voucher.digest(self.domain))


async def opened(chain: Chain, amount: int = 10 * COIN, floor: int = COIN // 100) -> tuple[Work, KeySigner]:
    """A channel to a fresh operator; the operator has gas and no tokens."""
    buyer, operator = await chain.buyer(), await chain.buyer(tokens=0)
    device, session = KeySigner.random(), KeySigner.random()
    channel = await chain.ledger.open_channel(
        buyer,
        provider=operator.address,
        device=device.address,
        session_key=session.address,
        amount=amount,
        floor=floor,
        challenge_seconds=60,
    )
    return Work(chain.network, channel, buyer, device, session), operator


def elsewhere(network: NetworkFile, *rpc: str) -> NetworkFile:
    """The same network by other endpoints."""
    return replace(network, rpc=rpc)
