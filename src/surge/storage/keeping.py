"""`network.files` as a keeper uses it: what is stored stays stored, for callers without an event loop.

network.files.status()
network.files.audit("scan.tif")
network.files.keep(stop)
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from surge.buyer.accounts import Lease
from surge.buyer.background import Background
from surge.buyer.client import Client
from surge.core.text import counted
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.storage import charges, delegating
from surge.storage.charges import Bundle, Charge
from surge.storage.client import Storage
from surge.storage.delegating import Delegated
from surge.storage.keeper import Keeper, Kept
from surge.storage.keeper_journal import KEEPER, Audit, KeeperJournal, Work

T = TypeVar("T")

LEASE: Final = hashlib.sha256(b"surge keeper").digest()
"""Names the right of one process to pay and to mend for a wallet."""

STOP_SECONDS: Final = 0.5
"""Between looks at whether a keeper was told to stop."""

Told = Callable[[Sequence[Audit], Sequence[Work]], None]
"""Hears what a round saw and did."""


class Keeping(ABC):
    """The part of `Files` that keeps. Use `Files`."""

    _client: Client
    _background: Background
    _bundle: Bundle | None = None
    _keeper: Keeper | None = None

    @abstractmethod
    def _call(self, work: Callable[[Storage], Coroutine[Any, Any, T]]) -> T:
        """Do something with the owner's storage, on the loop in the background."""

    @property
    def _owner(self) -> Address | None:
        return None if self._bundle is None else self._bundle.owner

    def act_for(self, bundle: str | Path) -> None:
        """Keep what is in a delegate's bundle, instead of this wallet's own. Before anything else; the wallet is the bundle's.

        Raises `InvalidInput` for a bundle of another network or wallet.
        """
        found = charges.read(Path(bundle))
        if found.network != self._client.home.network.network_id:
            raise InvalidInput(f"{bundle} is for another network: name that with --network", path=str(bundle))
        if found.signer.address != self._client.wallet.address:
            raise InvalidInput(f"{bundle} has a wallet of its own: connect with that", path=str(bundle))
        self._bundle = found

    def _kept(self, work: Callable[[Keeper], Coroutine[Any, Any, T]], *, alone: bool = False) -> T:
        """Have the keeper do something; `alone` for what only one process may do at a time."""

        async def run(storage: Storage) -> T:
            if self._keeper is None:
                journal = await asyncio.to_thread(KeeperJournal, self._client.home.folder / KEEPER)
                self._keeper = Keeper(storage, journal, lambda: self._charges(storage), lambda charge: self._forget(storage, charge))
            if not alone:
                return await work(self._keeper)
            lease = Lease(self._client.home.leases, LEASE)
            try:
                if not lease.held:
                    raise InvalidInput(
                        "a keeper of this wallet runs already: it does that by itself, and `surge storage log` shows what it did"
                    )
                return await work(self._keeper)
            finally:
                lease.release()

        return self._call(run)

    async def _charges(self, storage: Storage) -> list[Charge]:
        return list(self._bundle.charges) if self._bundle is not None else await charges.owned(storage)

    async def _forget(self, storage: Storage, charge: Charge) -> None:
        """Remove the name of something whose time is over, and its key with it."""
        if self._bundle is None:
            entry = (await storage.book.read()).get(charge.name)
            if entry is not None and entry.keys is not None and entry.keys.object == charge.keys.object:
                await storage.forget(charge.name, entry)

    def _close_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.journal.close()

    # What a keeper does

    def status(self) -> list[Kept]:
        """How everything is kept, as far as it was seen last."""
        return self._kept(lambda keeper: keeper.status())

    def audit(self, *names: str) -> list[Audit]:
        """Have every device prove what it holds of these names, or of all, and pay those that do; what each came to.

        While a keeper of this wallet runs nobody is paid: it does that.
        """
        pay = not Lease.is_taken(self._client.home.leases, LEASE)
        return self._kept(lambda keeper: keeper.audit(names, pay=pay), alone=pay)

    def repair(self, *names: str) -> list[Work]:
        """Look who is there, and mend what is due of these names, or of all; what was done. Raises `InvalidInput` while a keeper runs."""

        async def run(keeper: Keeper) -> list[Work]:
            return await keeper.named(await keeper.repair(names))

        return self._kept(run, alone=True)

    def challenge(self, name: str) -> list[Work]:
        """Settle challenges that are over, and challenge on the ledger what failed to prove, or is silent, and pledged; what was done."""

        async def run(keeper: Keeper) -> list[Work]:
            return await keeper.named(await keeper.challenging.go_on(await keeper.charges([name])))

        return self._kept(run)

    def log(self, name: str | None = None, count: int = 100) -> list[Work]:
        """What was done for an object, or for all, the newest first."""

        async def run(keeper: Keeper) -> list[Work]:
            found = None if name is None else (await keeper.charges([name]))[0].keys.object
            return await keeper.named(await keeper.journal.works(found, count))

        return self._kept(run)

    def audits(self, device: str | None = None, count: int = 100) -> list[Audit]:
        """What devices were seen to do, and were paid, the newest first, each with why."""
        return self._kept(lambda keeper: keeper.journal.audits(device, count))

    def keep(
        self, stop: threading.Event | None = None, *, rounds: int | None = None, challenges: bool = False, told: Told | None = None
    ) -> None:
        """Keep what is stored: audit and pay every period, mend what is lost. Until `stop` is set, or for so many rounds.

        Args:
            stop: what ends it; by default it goes on for as long as the process does.
            rounds: audits at most.
            challenges: whether holders that fail or are silent are challenged on the ledger, for a fee.
            told: hears what each round saw and did.

        Raises:
            InvalidInput: a keeper of this wallet runs already.
        """
        left = [rounds]

        async def run(keeper: Keeper) -> None:
            ended = asyncio.Event()
            keeper.challenges = challenges

            def heard(audits: Sequence[Audit], works: Sequence[Work]) -> None:
                if told is not None and (audits or works):
                    told(audits, works)
                if audits and left[0] is not None:
                    left[0] -= 1
                    if left[0] <= 0:
                        ended.set()

            async def watch(stop: threading.Event) -> None:
                while not await asyncio.to_thread(stop.wait, STOP_SECONDS):
                    pass
                ended.set()

            watching = asyncio.create_task(watch(stop or threading.Event()))
            try:
                await keeper.run(ended, heard)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

        self._kept(run, alone=True)

    # Who else does it

    def delegate(self, to: str | Path, *, cap: int, gas: int = delegating.GAS) -> Delegated:
        """Write a bundle with which another machine keeps what is stored now, and give its wallet `cap` wei, which is all it can spend.

        Raises `NotEnough` where this wallet has less.
        """
        return self._call(lambda storage: delegating.delegate(storage, Path(to), cap, gas))

    def undelegate(self) -> Delegated:
        """Take back what is in the delegate's wallet; its channels' deposits come back when it ends: `end_delegation` there."""
        return self._call(delegating.undelegate)

    def end_delegation(self) -> Delegated:
        """As the delegate: close its channels, and send the owner what is left."""
        if self._bundle is None:
            raise InvalidInput("this wallet is nobody's delegate")
        owner = self._bundle.owner
        return self._call(lambda storage: delegating.end(storage.client, owner))


def described(works: Sequence[Work]) -> str:
    """What was done, in a line."""
    kinds: dict[str, int] = {}
    for each in works:
        kinds[each.what] = kinds.get(each.what, 0) + 1
    return ", ".join(f"{counted(count, 'shard')} {what}" for what, count in kinds.items()) or "nothing was to be done"
