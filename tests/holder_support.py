"""A holder of shards on a provider in memory, and a buyer that drives it by hand."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from provider_support import DEVICE, NETWORK, OPERATOR, Bench, Client, key
from surge.core.eip712 import Domain
from surge.core.messages import Answer, Refusal, SignedReceipt, encode_body
from surge.core.messages import storage as m
from surge.core.messages.fields import wei_bytes
from surge.core.storage.layout import TRANSFER_LEAF
from surge.core.storage.pledges import Pledge, Release
from surge.core.storage.tree import Tree, transfer_leaves, verify
from surge.core.types import Address
from surge.provider.daemon import Provider
from surge.storage.proving import leaf_asked
from surge.storage.service import Storage, StorageConfig

PRICE = 2 * 10**15
"""Wei for a gigabyte over a month."""

DOMAIN = Domain("Surge challenges", 31337, Address("0x" + "55" * 20))
KEEPER, OWNER = key(900), key(901)
ROOM = 64 << 20
PERIOD = 600


@dataclass
class Clock:
    """Time that passes when the test says so."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now

    @property
    def whole(self) -> int:
        return int(self.now)


@dataclass(frozen=True)
class Shard:
    """A shard and its deal."""

    data: bytes
    deal: bytes
    tag: bytes
    tree: Tree

    @classmethod
    def made(cls, size: int = 200_000, seed: int = 1) -> Shard:
        draw = random.Random(seed)
        data = draw.randbytes(size)
        return cls(data, draw.randbytes(32), draw.randbytes(32), Tree.of(data))

    def open(self, now: int, **changes: Any) -> m.Open:
        """The call that begins its deal."""
        begun = m.Open(
            self.deal, len(self.data), self.tree.root, OWNER.address, KEEPER.address, self.tag, wei_bytes(PRICE), wei_bytes(1000),
            now, now + PERIOD, now + 100 * PERIOD,
        )  # fmt: skip
        fields = {name: getattr(begun, name) for name in begun.__struct_fields__}
        return m.Open(**{**fields, **changes})

    def writes(self, first: int = 0, count: int = m.MOST_LEAVES) -> list[m.Write]:
        """The calls that bring it, from a leaf on."""
        leaves = range(first, transfer_leaves(len(self.data)), count)
        return [m.Write(self.deal, at, self.data[at * TRANSFER_LEAF : (at + count) * TRANSFER_LEAF]) for at in leaves]

    def pledge(self, since: int, until: int) -> Pledge:
        """What its holder is to sign."""
        parties = (DEVICE.address, OPERATOR, OWNER.address, KEEPER.address)
        return Pledge(self.deal, *parties, self.tree.root, len(self.data), since, until, 1000)

    def release(self, signer: Any = KEEPER) -> bytes:
        """The keeper's word that it is not wanted any more."""
        return bytes(signer.sign(Release(self.deal).digest(DOMAIN)))

    def shows(self, seed: bytes, proof: m.Proof | None) -> bool:
        """Whether a proof answers a seed."""
        leaf = leaf_asked(seed, self.deal, len(self.data))
        return proof is not None and verify(self.tree.root, len(self.data), leaf, proof.leaf, proof.path)


class User(Client):
    """A buyer that uses the storage service."""

    async def use(self, method: str, body: Any) -> Answer | Refusal:
        """Call and wait."""
        data = body if isinstance(body, bytes) else encode_body(body)
        answer = await self.ask(data, method, "storage")
        assert isinstance(answer, Answer | Refusal)
        return answer

    async def done(self, method: str, body: Any) -> Answer:
        """Call, and see that it is done."""
        answer = await self.use(method, body)
        assert isinstance(answer, Answer), answer
        return answer

    async def refused(self, method: str, body: Any, code: str, match: str = "") -> Refusal:
        """Call, and see that it is refused."""
        answer = await self.use(method, body)
        assert isinstance(answer, Refusal), answer
        assert (answer.code, match in answer.text) == (code, True), answer
        return answer

    async def owes(self, method: str, body: Any) -> tuple[bytes, SignedReceipt]:
        """Call, and take the receipt."""
        answer = await self.done(method, body)
        assert answer.receipt is not None
        return answer.body, answer.receipt

    async def put(self, shard: Shard, now: int, *, pay: bool = True, **changes: Any) -> bytes:
        """Have a shard kept; the pledge's signature."""
        await self.done("open", shard.open(now, **changes))
        for write in shard.writes():
            await self.done("write", write)
        body, receipt = await self.owes("keep", m.Keep(shard.deal))
        if pay:
            await self.acknowledge(receipt)
        return m.decode_pledged(body).signature

    async def shown(self, seed: bytes, *shards: Shard) -> list[m.Proof | None]:
        """The holder's proofs."""
        return m.decode_proofs((await self.done("prove", m.Prove(seed, [each.deal for each in shards]))).body).proofs


class Holder:
    """A provider that lends disk beside its made-up work."""

    def __init__(self, folder: Path, config: StorageConfig | None = None) -> None:
        self.folder = folder
        self.bench = Bench(folder)
        self.clock = Clock()
        self.config = config or StorageConfig(ROOM, PRICE, spare=0)
        self.storage: Storage

    def made(self) -> Storage:
        """The service, not started."""
        parties: Any = {"device": DEVICE, "operator": OPERATOR, "domain": DOMAIN, "channels": NETWORK.channels_domain}
        return Storage(self.folder / "storage", self.config, clock=self.clock, **parties)

    @property
    def now(self) -> int:
        return self.clock.whole

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Provider]:
        """The provider, its offer standing."""
        self.storage = self.made()
        self.bench.services = [self.bench.works, self.storage]
        async with self.bench.running() as provider:
            yield provider

    async def start(self) -> Provider:
        """The provider, until it is killed."""
        self.storage = self.made()
        self.bench.services = [self.bench.works, self.storage]
        provider = await self.bench.provider().__aenter__()
        await provider.ready(10.0)
        return provider

    async def user(self, number: int = 50) -> User:
        """A buyer with its channel open."""
        user = User(self.bench, number)
        await user.open()
        return user

    async def killed(self, provider: Provider) -> None:
        """End the provider as kill -9 would, the service with it."""
        looking = self.storage._looking
        assert looking is not None
        looking.cancel()
        await self.bench.kill(provider)
        self.storage.shelf.index.close()

    def paths(self, suffix: str = "") -> list[Path]:
        """Files of shards on its disk."""
        return sorted(path for path in (self.folder / "storage" / "shards").glob("*/*") if path.suffix == suffix)


def seed(number: int = 1) -> bytes:
    """A seed of proofs."""
    return hashlib.sha256(b"seed %d" % number).digest()


__all__ = ["Clock", "Holder", "Shard", "User", "replace", "seed"]
