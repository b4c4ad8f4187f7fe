"""A buyer's peer on a provider in memory, for retainers."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from provider_support import DEVICE, NETWORK, Bench
from provider_world import OPERATOR, State, key
from surge.buyer.accounts import acknowledgement_since, open_payer
from surge.buyer.auditor import Party
from surge.buyer.journal import ChannelRow, Journal
from surge.buyer.peers import Peer
from surge.buyer.retaining import Retaining
from surge.core import offers
from surge.core import retainers as rules
from surge.core.receipts import Terms
from surge.core.types import ZERO
from surge.provider import retainers as service
from surge.provider.retainers import Retainers
from surge.provider.turns import Turns

PRICE = 3600 * 1000
"""Wei for a core over an hour: a thousand a second."""


@dataclass
class Clock:
    """Time that passes when the test says so, in place of the module `time` too."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def __call__(self) -> float:
        return self.now


@dataclass
class Holder:
    """A provider that holds cores, and buyers."""

    folder: Path
    cores: int = 2
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.bench = Bench(self.folder)
        self.bench.config = replace(self.bench.config, cores=self.cores, retainer=PRICE)
        self.turns = Turns(self.cores)
        self.retainers = Retainers(self.turns, self.cores, PRICE)
        self.bench.services = [self.bench.works, self.retainers]

    def slow(self, monkeypatch: Any) -> None:
        """Have the provider's time pass with the clock."""
        monkeypatch.setattr(service, "time", self.clock)

    async def pass_by(self, held: Retaining, seconds: int) -> None:
        """Let time pass, with a retainer's pings."""
        for _ in range(seconds // rules.PING_SECONDS):
            self.clock.now += rules.PING_SECONDS
            await held._ping()

    @asynccontextmanager
    async def peer(self, number: int = 60) -> AsyncIterator[Peer]:
        """A buyer's peer, its session open."""
        bench, session, wallet = self.bench, key(number), key(number + 1).address
        channel = hashlib.sha256(b"retainer %d" % number).digest()
        bench.ledger.channels.setdefault(channel, State(wallet, OPERATOR, DEVICE.address, session.address))
        assert bench.relays.offer is not None
        offer = offers.decode(bench.relays.offer).offer
        terms = Terms(channel, ZERO, offer.digest(), offer.engine, offer.prices, offer.window, offer.audit_seconds, offer.offline_seconds)
        journal = Journal(self.folder / f"buyer-{number}.db")
        rows = await journal.channels()
        row = (
            rows[0] if rows else ChannelRow(channel, DEVICE.address, OPERATOR, session.address, terms.encode(), 10**18, "open", time.time())
        )
        if not rows:
            await journal.save_channel(row)

        async def lacking(count: int) -> tuple[bytes, int]:
            return await acknowledgement_since(journal, channel, count)

        async def dial() -> Any:
            return bench.relays.dial(session.address)

        payer = await open_payer(journal, row, Party(channel, DEVICE.address, wallet, NETWORK.channels_domain), session)
        peer = Peer(DEVICE.address, self.cores, terms, payer, dial, lacking)
        tasks = [asyncio.create_task(peer.run()), asyncio.create_task(payer.run())]
        try:
            await peer.wait_open(10.0)
            yield peer
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await journal.close()
