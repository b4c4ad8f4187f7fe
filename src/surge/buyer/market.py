"""Finding providers: offers from every relay, what excludes them, and a peer for each one chosen.

A device is believed about nothing that can be checked: its operator is looked up in the registry, its prices bind it by its
signature, and its speed is measured.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from surge.buyer.accounts import acknowledgement_since
from surge.buyer.bonded import UNASKED, Bond, Bonded
from surge.buyer.calls import COMPUTE
from surge.buyer.doors import Link
from surge.buyer.journal import OPEN, ChannelRow, Journal
from surge.buyer.judge import Judge, Whom
from surge.buyer.operators import Operators, Registry
from surge.buyer.peers import Peer
from surge.buyer.plan import Plan, Wishes
from surge.buyer.purse import Purse
from surge.buyer.treasury import Account, Bearer, Treasury, is_over_budget
from surge.buyer.watch import Watch
from surge.core import canonical
from surge.core.asking import most_opening
from surge.core.choosing import in_order
from surge.core.messages import VERSION
from surge.core.network import NetworkFile
from surge.core.offers import Constraints, Match, Offer, SignedOffer, cheapest, excluded_by, match
from surge.core.standing import Standing
from surge.core.types import Address
from surge.errors import LedgerError, NoProvider, NotEnough, PeerFault, SurgeError, Unavailable
from surge.relay.board import OfferQuery

if TYPE_CHECKING:
    from surge.relay.client import Relays

log = logging.getLogger("surge.buyer")

OPEN_SECONDS = 20.0
"""How long a session may take to open when a channel is to be closed."""

FLUSH_SECONDS = 5.0
"""How long a listing waits for what is being written."""

POLL_SECONDS = 0.25
"""Seconds between two looks at the boards, where somebody waits for offers."""


class Market:
    """The providers of a network, as one wallet sees them."""

    def __init__(
        self,
        network: NetworkFile,
        registry: Registry,
        relays: Relays,
        treasury: Treasury,
        journal: Journal,
        judge: Judge,
        *,
        bonded: Bonded | None = None,
        service: str = COMPUTE,
    ) -> None:
        self._service = service
        self._bonded = bonded
        self.peers: dict[Address, Peer] = {}
        """Providers with a session or on their way to one."""
        self.accounts: dict[Address, Account] = {}
        self.on_opened: Callable[[Peer], None] | None = None
        """Told of every session that opened."""
        self.judge = judge
        self._network = network
        self._context = canonical.encode({"version": VERSION, "network_id": network.network_id})
        self._relays = relays
        self._treasury = treasury
        self._journal = journal
        self._operators = Operators(registry)
        self._banned: dict[Address, str] = {}
        self._locks: dict[Address, asyncio.Lock] = {}
        self._tasks: dict[Address, list[asyncio.Task[None]]] = {}

    # Offers

    async def offers(self, service: str | None = None) -> list[SignedOffer]:
        """What is offered now of a service, or of the market's own, by devices whose operators the registry confirms."""
        found = await self._relays.offers(OfferQuery(service=service or self._service))
        found = [signed for signed in found if signed.offer.network == self._network.network_id]
        return await self._operators.confirmed(found)

    async def matching(self, plan: Plan, excluded: Iterable[str] = (), wanted: int = 0, *, alone: bool = True) -> Match:
        """The offers that pass a job's wishes, in the order in which it tries them for `wanted` places, and what excluded the others.

        `alone`: whether the job has nobody yet.
        """
        memory, offers = plan.limits.memory, await self.offers()
        found = match(offers, self._constraints(offers, plan.wishes, memory, excluded))
        held = await self.judge.standings(Whom.of(signed.offer) for signed in found.chosen)
        chosen = in_order(found.chosen, held, memory, wanted=wanted, lot=plan.id, alone=alone)
        useless = len(found.chosen) - len(chosen)
        return Match(tuple(chosen), {**found.excluded, "standing": useless} if useless else found.excluded)

    async def judged(self, wishes: Wishes, memory: int, *, patience: float | None = None) -> list[tuple[SignedOffer, str | None, Standing]]:
        """Every offer in the order of `in_order`: what keeps it from a job with these wishes, None where nothing does, and its standing.

        What the ledger shows is waited for `patience` seconds (see `Judge.standings`).
        """
        offers = await self.offers()
        constraints = self._constraints(offers, wishes, memory)
        held = await self.judge.standings((Whom.of(signed.offer) for signed in offers), patience=patience)
        ordered = in_order(offers, held, memory)
        known = {signed.offer.device for signed in ordered}
        useless = cheapest([signed for signed in offers if signed.offer.device not in known], memory)
        failed = {signed.offer.device: excluded_by(signed.offer, constraints) for signed in offers}
        return [(signed, failed[signed.offer.device], held[signed.offer.device]) for signed in ordered] + [
            (signed, failed[signed.offer.device] or "standing", held[signed.offer.device]) for signed in useless
        ]

    def _constraints(self, offers: Iterable[SignedOffer], wishes: Wishes, memory: int, excluded: Iterable[str] = ()) -> Constraints:
        """What a job asks. A channel's floor is no more than some times what is usual, except with those whom the user named."""
        named = isinstance(wishes.providers, tuple)
        return Constraints(
            service=self._service,
            max_price=wishes.max_price,
            region=wishes.region,
            providers=frozenset(Address(each) for each in wishes.providers) if isinstance(wishes.providers, tuple) else frozenset(),
            excluded=frozenset(Address(each) for each in (*self._banned, *excluded)),
            memory=memory,
            max_opening=None if named else most_opening(signed.offer for signed in offers),
            relays=frozenset(self._relays.connected),
        )

    # Peers

    async def recruit(
        self, plan: Plan, count: int, purse: Purse, *, has: Collection[str], without: Iterable[str], first: Iterable[str] = ()
    ) -> Sequence[Peer]:
        """Up to `count` more providers for a job that `has` some and goes `without` others. Raises `NoProvider` when no offer passes.

        Those named in `first` come before others and, with a budget, those to whom a channel is open. A provider that cannot be had (its
        channel, its session) is passed over for the next; so is one whose channel would cost a floor that the budget does not allow, and
        `NotEnough` is raised only where the job has nobody.
        """
        found = await self.matching(plan, [*has, *without], count, alone=not has)
        if not found.chosen:
            hint = "ask for less, or try again when others offer" if found.excluded else "try again, or lend a device with `surge provide`"
            raise NoProvider(f"no provider passes what the job asks: {found.explain()}; {hint}", excluded=dict(found.excluded))
        wanted = set(first)
        candidates = sorted(found.chosen, key=lambda signed: signed.offer.device not in wanted)
        peers: list[Peer] = []
        reasons: list[SurgeError] = []
        tight = purse.budget is not None
        opened = {row.device for row in await self._journal.channels(state=OPEN)} if tight else set()
        free = [each for each in candidates if each.offer.device in opened]
        others = [each for each in candidates if each.offer.device not in opened]
        bearer = Bearer(plan.id, purse, lambda: not has and not peers)
        while (free or others) and len(peers) < count:
            # How much may go into the first channel's floor differs from what may go into further ones.
            room = 1 if tight and not (free or has or peers) else count - len(peers)
            waiting = free or others
            batch, waiting[:room] = waiting[:room], []
            for answer in await asyncio.gather(*(self.peer(signed, bearer) for signed in batch), return_exceptions=True):
                if isinstance(answer, Peer):
                    peers.append(answer)
                elif isinstance(answer, SurgeError):
                    log.info("a provider cannot be had: %s", answer)
                    reasons.append(answer)
                else:
                    raise answer
        if not peers and not (has and all(is_over_budget(error) for error in reasons)):
            raise next((error for error in reasons if isinstance(error, NotEnough)), reasons[0])
        return peers

    async def peer(self, signed: SignedOffer, bearer: Bearer) -> Peer:
        """The peer behind an offer: its channel open on the ledger, its session being dialled."""
        offer = signed.offer
        async with self._locks.setdefault(offer.device, asyncio.Lock()):
            known = self.peers.get(offer.device)
            if known is not None and known.gone is None:
                known.bond = await self._bond_of(offer)
                return known
            if known is not None:
                await self.forget(offer.device)
            try:
                account = await self._treasury.account(signed, bearer)
            except LedgerError as error:
                if isinstance(error, NotEnough):
                    raise
                raise Unavailable(f"no channel to {offer.device} could be opened: {error}", device=offer.device) from error
            peer = self._start(offer, account)
            peer.bond = await self._bond_of(offer)
            return peer

    async def _bond_of(self, offer: Offer) -> Bond:
        return UNASKED if self._bonded is None else await self._bonded.of(offer.operator)

    async def channel_peer(self, row: ChannelRow) -> tuple[Account, Peer]:
        """An open channel and a session on it, to close it. Raises `Unavailable`, `PeerFault`."""
        device = Address(row.device)
        known, account = self.peers.get(device), self.accounts.get(device)
        if known is not None and known.gone is None and account is not None and account.row.id == row.id:
            return account, known
        if known is not None and known.gone is None and len(known.listeners) > 1:
            raise Unavailable(f"another channel to {device} is in use here", device=device)
        for signed in await self.offers():
            if signed.offer.device == device:
                if known is not None:
                    await self.forget(device)
                account = await self._treasury.account_of(signed, row)
                peer = self._start(signed.offer, account)
                await peer.wait_open(OPEN_SECONDS)
                return account, peer
        raise Unavailable(f"{device} offers nothing now", device=device)

    async def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many providers offer work."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            found = await self.offers()
            if len(found) >= count:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"of {count} providers, {len(found)} offered work within {seconds:.0f} s", found=len(found))
            await asyncio.sleep(POLL_SECONDS)

    def _start(self, offer: Offer, account: Account) -> Peer:
        session_key = account.payer.signer

        async def dial() -> Link:
            # A relay is reached through itself, whatever it is called elsewhere.
            relays = [*offer.relays, offer.device]
            return await self._relays.dial(offer.device, identity=session_key, context=self._context, relays=relays)

        async def lacking(count: int) -> tuple[bytes, int]:
            return await acknowledgement_since(self._journal, account.row.id, count)

        peer = Peer(offer.device, offer.cores, account.terms, account.payer, dial, lacking, self._service)
        peer.operator = offer.operator
        peer.watch = Watch(self.judge.seen.noting(offer.device), cores=offer.cores, speed=offer.prices.speed)
        peer.listeners.append(_Opened(self))
        peer.on_orphan = self.on_opened
        self.peers[offer.device] = peer
        self.accounts[offer.device] = account
        tasks = [asyncio.create_task(peer.run(), name=f"peer {offer.device}"), asyncio.create_task(self._pay(peer, account))]
        self._tasks[offer.device] = tasks
        return peer

    async def _pay(self, peer: Peer, account: Account) -> None:
        """Run the account; what stops it stops the peer."""
        try:
            await account.payer.run()
        except SurgeError as error:
            peer.drop(error)

    def gone(self, peer: Peer, error: SurgeError) -> None:
        """A peer was given up. One that broke the protocol is not used again."""
        if isinstance(error, PeerFault):
            self._banned[peer.device] = str(error)
            account = self.accounts.get(peer.device)
            if account is not None:
                self._journal.channel_broken_soon(account.row.id)

    async def flush(self) -> None:
        """Wait until everything answered so far is on disk; a deposit that must be topped up first is not waited for."""
        alive = [peer for peer in self.peers.values() if peer.gone is None]
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await asyncio.gather(*(peer.payer.drain() for peer in alive))
        except TimeoutError:
            log.info("some receipts wait for a deposit")

    async def forget(self, device: Address) -> None:
        """End the session with a provider and give its channel back; it is found again when it is wanted."""
        self.peers.pop(device, None)
        account = self.accounts.pop(device, None)
        tasks = self._tasks.pop(device, [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if account is not None:
            account.lease.release()

    async def close(self, patience: float) -> None:
        """Wait for what is under way to be answered and paid, then end every session."""
        alive = [peer for peer in self.peers.values() if peer.gone is None]
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*(peer.quiet() for peer in alive))
        except TimeoutError:
            log.info("some providers did not answer in time; what they did is settled when their channel is used next")
        for device in list(self.peers):
            await self.forget(device)
        await self.judge.close()


class _Opened:
    """Listens to a peer for the market."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def peer_opened(self, peer: Peer) -> None:
        """See `peers.Listener`."""
        peer.watch.opened()
        if self._market.on_opened is not None:
            self._market.on_opened(peer)

    def peer_away(self, peer: Peer) -> None:
        """See `peers.Listener`."""
        peer.watch.away()

    def peer_gone(self, peer: Peer, error: SurgeError) -> None:
        """See `peers.Listener`."""
        peer.watch.gone(broke=isinstance(error, PeerFault))
        self._market.gone(peer, error)

    def peer_prices(self, peer: Peer, terms: object, message: object) -> None:
        """See `peers.Listener`."""

    def room_changed(self) -> None:
        """See `peers.Listener`."""
