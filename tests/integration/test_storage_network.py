"""A holder that is a process of its own, behind a real relay, paid on a real ledger: killed half way, filled up, and left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from cli_support import Place, until
from holder_support import PERIOD, PRICE, Shard, seed
from network_support import COIN, Town
from surge.buyer.auditor import audit_transfer
from surge.buyer.calls import Refused
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.purse import Purse
from surge.buyer.treasury import Bearer
from surge.core.messages import Answer, encode_body
from surge.core.messages import storage as m
from surge.core.messages.fields import wei_bytes
from surge.core.pricing import transfer_amount
from surge.core.receipts import ReceiptKind
from surge.core.storage.pledges import Pledge, Release
from surge.core.storage.tree import verify_range
from surge.core.types import ZERO
from surge.errors import Unavailable
from surge.storage.service import pledge_domain
from surge.wallet import KeySigner, Keystore

pytestmark = pytest.mark.timeout(300)

KEEPER = KeySigner(bytes(31) + b"\x07")


class Process:
    """`surge provide --storage`, beside a town."""

    def __init__(self, place: Place, town: Town) -> None:
        self.place, self.town = place, town
        self.folder = place.work / "holder"
        keys = Keystore(self.folder / "wallet")
        self.device = keys.load_or_create("device")
        for key in (self.device, keys.load_or_create("operator")):
            town.call(town.ledger.transfer(town.treasury, key.address, native=COIN))
        self.log = place.work / "holder.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *args: str) -> None:
        words = ("provide", "--network", self.town.file, "--data", self.folder, "--yes", *args)
        with self.log.open("ab") as log:
            self.process = self.place.start(*words, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == b"ready", self.log.read_text()[-2000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.left(30)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.left(60)

    def left(self, seconds: float) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        code = self.process.wait(seconds)
        self.process.stdout.close()
        self.process = None
        return code


class Buyer:
    """A real buyer's peer at one holder."""

    def __init__(self, network: Any, device: str) -> None:
        self.network, self.device = network, device
        self.peer: Peer = self.do(self._peer())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.network._background.call(work)

    async def _peer(self) -> Peer:
        market = await self.network._client.market()
        signed = next(each for each in await market.offers() if each.offer.device == self.device)
        assert signed.offer.storage == PRICE
        peer = await market.peer(signed, Bearer(ZERO, Purse(None), lambda: True))
        peer.service = "storage"
        await peer.wait_open(30.0)
        return peer

    def back(self) -> None:
        """Wait until the holder, which was away, is there again: a peer that stays away for long is given up, and another one dialled."""

        def there() -> bool:
            try:
                self.peer = self.do(self._peer())
            except Unavailable:
                return False
            return self.peer.is_open

        until(there, 60, "the session to be there again")

    def ask(self, method: str, body: Any) -> Answer:
        return self.do(self.peer.question(method, encode_body(body), seconds=60.0))

    async def _keep(self, shard: Shard) -> bytes:
        peer, root, size = self.peer, shard.tree.root, len(shard.data)
        cost = transfer_amount(peer.terms.prices, size)
        async with peer.payer.intents.asking(ReceiptKind.TRANSFER, root, ZERO, size, cost):
            answer = await peer.question("keep", encode_body(m.Keep(shard.deal)), seconds=60.0)
            assert answer.receipt is not None
            receipt, digest = audit_transfer(answer.receipt, root, size, peer.terms.prices, peer.payer.party)
            peer.pay(Paid(receipt, answer.receipt.signature, digest, True, None, ZERO, ()))
        return m.decode_pledged(answer.body).signature


@pytest.fixture
def town(tmp_path: Path, python_image: Path) -> Iterator[Town]:
    with Town(tmp_path / "town", providers=0, relays=2) as town:
        yield town


@pytest.fixture
def holder(tmp_path: Path, python_image: Path, town: Town) -> Iterator[Process]:
    made = Process(Place(tmp_path / "place", python_image), town)
    try:
        yield made
    finally:
        made.stop()


def shown(buyer: Buyer, shard: Shard, number: int) -> bool:
    (proof,) = m.decode_proofs(buyer.ask("prove", m.Prove(seed(number), [shard.deal])).body).proofs
    return shard.shows(seed(number), proof)


def test_a_shard_survives_its_holders_kill_and_is_handed_back_when_it_leaves(town: Town, holder: Process) -> None:
    lends = ("--storage", "64M", "--storage-price", "0.002")
    shard = Shard.made(3_000_000)
    writes = shard.writes()
    holder.start(*lends)
    with surge.connect(town.file) as network:
        buyer, began = Buyer(network, holder.device.address), int(time.time())
        begun = shard.open(began, keeper=KEEPER.address, penalty=wei_bytes(0))
        assert m.decode_here(buyer.ask("open", begun).body).leaves == 0
        for write in writes[:4]:
            buyer.ask("write", write)
        holder.kill()
        holder.start(*lends)
        buyer.back()
        here = m.decode_here(buyer.ask("open", begun).body).leaves
        assert here == 28, "what was acknowledged is there"
        for write in shard.writes(first=here):
            buyer.ask("write", write)
        signature = buyer.do(buyer._keep(shard))
        keys = Keystore(holder.folder / "wallet")
        domain = pledge_domain(town.network)
        parties = (holder.device.address, keys.address("operator"), begun.owner, KEEPER.address)
        pledge = Pledge(shard.deal, *parties, shard.tree.root, len(shard.data), began, began + PERIOD, 0)
        pledge.verify(domain, signature)

        holder.kill()
        holder.start(*lends)
        buyer.back()
        assert shown(buyer, shard, 1)
        leaves = m.decode_leaves(buyer.ask("read", m.Read(shard.deal, 40, 6)).body)
        assert verify_range(shard.tree.root, len(shard.data), 40, leaves.data, leaves.proof)
        with pytest.raises(Refused, match="no room for 64200000 bytes"):
            buyer.ask("open", Shard.made(1, seed=2).open(int(time.time()), size=64_200_000))

        def stands() -> bool:
            return "it keeps 1 shard (0.00 GB of 0.07 GB lent)" in holder.place.surge("earnings", "--data", holder.folder).err

        until(stands, 60, "its status to be written")
        holder.stop()
        holder.start("--leave")
        buyer.back()
        assert m.decode_listed(buyer.ask("list", m.ListDeals(b"", 9)).body).leaving
        assert shown(buyer, shard, 2)
        dropped = buyer.ask("drop", m.Drop(shard.deal, KEEPER.sign(Release(shard.deal).digest(domain))))
        assert dropped.receipt is not None
        assert (dropped.receipt.kind, dropped.receipt.quantity) == (8, len(shard.data))
        assert holder.left(90) == 0, "it leaves by itself"
