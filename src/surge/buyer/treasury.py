"""Channels: reusing those that are open, opening new ones, topping them up, closing them.

A channel belongs to one process at a time (`accounts.Lease`), so that two jobs on one wallet never sign two logs of one
channel. Session keys are fresh for each channel and stay in the keystore.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from surge.buyer.accounts import Lease, open_payer
from surge.buyer.auditor import Party
from surge.buyer.journal import BROKEN, CLOSED, CLOSING, OPEN, OPENING, ChannelRow, Journal
from surge.buyer.payer import Payer
from surge.buyer.peers import Peer
from surge.buyer.purse import Purse, in_surge
from surge.core.channels import channel_id
from surge.core.eip712 import Domain
from surge.core.messages import CloseChannel, encode
from surge.core.messages.fields import wei_bytes
from surge.core.offers import Offer, SignedOffer
from surge.core.pricing import unit_amount
from surge.core.receipts import Close, Terms
from surge.core.signing import Signer, recover
from surge.core.types import ZERO, Address
from surge.core.units import Limits
from surge.errors import InvalidInput, LedgerError, NotEnough, PeerFault, SurgeError, Unavailable
from surge.wallet import Keystore

if TYPE_CHECKING:
    from surge.ledger import ChannelState, Ledger

log = logging.getLogger("surge.buyer")

DEPOSIT_FUEL = 200 * 10**9
"""A new channel's deposit buys about this much fuel: some minutes of work."""

SHARE = 16
"""A deposit takes at most this part of the wallet, unless the opening costs more."""

WORTHWHILE = 8
"""A top-up adds at least one part in so many of the deposit while the wallet holds as much, so that top-ups come to an end."""

CLOSE_SECONDS = 20.0
"""How long a provider may take to close together."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """The job that a channel is opened for, whose budget bears its floor."""

    job: bytes
    purse: Purse
    alone: Callable[[], bool]
    """Whether the job has nobody to work with yet."""

    def bear(self, channel: bytes, offer: Offer) -> None:
        """Set the floor aside. Raises `NotEnough` when the budget does not allow the channel."""
        alone = self.alone()
        if self.purse.open(channel, offer.opening, alone=alone):
            return
        needed = self.purse.needed(offer.opening)
        raise NotEnough(
            f"the budget of {in_surge(self.purse.budget or 0)} opens no channel to {offer.device}: a channel pays its provider at least "
            f"{in_surge(offer.opening)}, its floor, whatever is done on it; give a budget of {in_surge(needed)} at least",
            floor=offer.opening,
            needed=needed,
        )


def is_over_budget(error: SurgeError) -> bool:
    """Whether this is `Bearer.bear`'s: a channel's floor is more than the budget allows."""
    return isinstance(error, NotEnough) and "floor" in error.details


@dataclass
class Account:
    """A channel in use here."""

    row: ChannelRow
    terms: Terms
    payer: Payer
    lease: Lease


class Treasury:
    """The wallet's channels on one network."""

    def __init__(self, domain: Domain, ledger: Ledger, wallet: Signer, keystore: Keystore, journal: Journal, home: Path) -> None:
        self.wallet = wallet
        self._domain = domain
        self._ledger = ledger
        self._keystore = keystore
        self._journal = journal
        self._leases = home / "leases"
        self._devices: dict[Address, asyncio.Lock] = {}
        self._spending = asyncio.Lock()

    async def account(self, signed: SignedOffer, bearer: Bearer) -> Account:
        """A channel to the offer's device: one that is open and free, or a new one. Raises `NotEnough`, `Unavailable`."""
        offer = signed.offer
        async with self._devices.setdefault(offer.device, asyncio.Lock()):
            return await self._reuse(offer) or await self._open_bearing(offer, bearer)

    async def _open_bearing(self, offer: Offer, bearer: Bearer) -> Account:
        """A new channel, its floor set aside before anything is spent, for as long as it may come into being."""
        salt = secrets.token_bytes(32)
        channel = self._id(offer, salt)
        bearer.bear(channel, offer)
        try:
            return await self._open(offer, await self._deposit(offer, bearer.purse.budget), salt, bearer.job)
        except BaseException:
            if not self._ledger.wrote(salt):
                bearer.purse.not_opened(channel)
            raise

    def _id(self, offer: Offer, salt: bytes) -> bytes:
        return channel_id(self._domain, self.wallet.address, offer.operator, salt)

    async def _reuse(self, offer: Offer) -> Account | None:
        await self.reconcile(offer.device)
        for row in await self._journal.channels(device=offer.device, state=OPEN):
            lease = Lease(self._leases, row.id)
            if not lease.held:
                continue
            try:
                state = await self._ledger.channel(row.id)
                reason = _unusable(state, offer)
                if reason is None:
                    return await self._with_payer(replace(row, deposit=state.deposit, floor=state.floor), offer, lease)
                log.info("the channel 0x%s is not used again: %s", row.id.hex(), reason)
                if state.closed or state.closing_at:
                    await self._journal.set_channel(row.id, state=CLOSED if state.closed else CLOSING)
            except BaseException:
                lease.release()
                raise
            lease.release()
        return None

    async def open_for(self, offer: Offer, deposit: int) -> bytes:
        """Open a channel with a deposit of the user's choice; returns its id."""
        if deposit < offer.opening:
            raise InvalidInput(
                f"{offer.device} asks for a floor of {in_surge(offer.opening)}, more than {in_surge(deposit)}", needed=offer.opening
            )
        async with self._devices.setdefault(offer.device, asyncio.Lock()):
            account = await self._open(offer, deposit, secrets.token_bytes(32))
        account.lease.release()
        return account.row.id

    async def account_of(self, signed: SignedOffer, row: ChannelRow) -> Account:
        """An open channel of ours, to be closed. Raises `Unavailable` when another process uses it."""
        lease = Lease(self._leases, row.id)
        if not lease.held:
            raise Unavailable(f"the channel 0x{row.id.hex()} is in use by another process", channel=row.id)
        return await self._with_payer(row, signed.offer, lease)

    async def _open(self, offer: Offer, deposit: int, salt: bytes, job: bytes | None = None) -> Account:
        """A new channel, for a job or for none.

        1. Its session key, its id and its terms are on disk before the deposit can leave the wallet.
        2. What was never written down to be sent is forgotten when opening fails; what was may be mined yet, and is looked for later.
        """
        # 1
        session, channel = self._keystore.create_session(), self._id(offer, salt)
        terms = self._terms(channel, offer).encode()
        began, floor = time.time(), offer.opening
        row = ChannelRow(
            channel, offer.device, offer.operator, session.address, terms, deposit, OPENING, began, salt=salt, floor=floor, job=job
        )
        lease = Lease(self._leases, channel)
        try:
            await self._journal.save_channel(row)
            try:
                await self._ledger.open_channel(
                    self.wallet,
                    provider=offer.operator,
                    device=offer.device,
                    session_key=session.address,
                    amount=deposit,
                    floor=offer.opening,
                    challenge_seconds=offer.offline_seconds,
                    salt=salt,
                )
            except SurgeError:
                # 2
                if not self._ledger.wrote(salt):
                    await self._journal.drop_channel(channel)
                raise
            await self._journal.set_channel(channel, state=OPEN)
            return await self._with_payer(replace(row, state=OPEN), offer, lease)
        except BaseException:
            lease.release()
            raise

    async def reconcile(self, device: Address | None = None) -> None:
        """See what became of channels that were being opened when their process ended, or their transaction was not mined in time.

        One that the ledger has is used or closed like any other. One that it lacks is forgotten once nothing that was written down can
        open it; until then its transaction is sent again (`surge.ledger`).
        """
        for row in await self._journal.channels(device=device, state=OPENING):
            lease = Lease(self._leases, row.id)
            try:
                if lease.held and row.salt is not None:
                    await self._look_for(row, row.salt)
            except (Unavailable, LedgerError) as error:
                log.info("whether the channel 0x%s was opened is not known yet: %s", row.id.hex(), error)
            finally:
                lease.release()

    async def _look_for(self, row: ChannelRow, salt: bytes) -> None:
        wrote = self._ledger.wrote(salt)
        state = await self._ledger.channel(row.id)
        if state.exists:
            log.info("the channel 0x%s was opened", row.id.hex())
            now = CLOSED if state.closed else CLOSING if state.closing_at else OPEN
            await self._journal.set_channel(row.id, state=now, deposit=state.deposit)
        elif not wrote:
            await self._journal.drop_channel(row.id)

    async def _with_payer(self, row: ChannelRow, offer: Offer, lease: Lease) -> Account:
        terms = self._terms(row.id, offer)
        if terms.encode() != row.terms:
            await self._journal.set_channel(row.id, terms=terms.encode())
        party = Party(row.id, offer.device, self.wallet.address, self._domain)
        session = self._keystore.load_session(Address(row.key))
        payer = await open_payer(
            self._journal,
            row,
            party,
            session,
            lambda needed: self._top_up(row.id, needed),
            lambda floor, job: self._raise_floor(row.id, floor, job),
        )
        return Account(row, terms, payer, lease)

    @staticmethod
    def _terms(channel: bytes, offer: Offer) -> Terms:
        return Terms(
            channel,
            ZERO,
            offer.digest(),
            offer.engine,
            offer.prices,
            offer.window,
            offer.audit_seconds,
            offer.offline_seconds,
        )

    async def _deposit(self, offer: Offer, budget: int | None) -> int:
        """Wei for a new channel: some minutes of work, at least twice the opening, a bounded part of the wallet."""
        limits = Limits()
        wished = max(2 * offer.opening, unit_amount(offer.prices, DEPOSIT_FUEL, limits.memory, limits.output))
        if budget is not None:
            wished = max(min(wished, budget), offer.opening)
        held = await self._ledger.token_balance(self.wallet.address)
        deposit = min(wished, max(held // SHARE, min(held, 2 * offer.opening)))
        if deposit <= 0 or deposit < offer.opening:
            raise NotEnough(
                f"the wallet {self.wallet.address} holds {in_surge(held)}, and a channel to {offer.device} costs {in_surge(offer.opening)} "
                "to open: send it tokens (`surge wallet show` has the address)",
                held=held,
                needed=offer.opening,
            )
        return deposit

    async def _top_up(self, channel: bytes, needed: int) -> int:
        """Double a channel's deposit, or more where `needed` wei are promised; returns the new deposit.

        It takes half of what the wallet holds at most; all of it where half is next to nothing.
        """
        async with self._spending:
            state = await self._ledger.channel(channel)
            if state.closed or state.closing_at:
                raise Unavailable(f"the channel 0x{channel.hex()} is being closed", channel=channel)
            held = await self._ledger.token_balance(self.wallet.address)
            wished = max(state.deposit, 2 * needed - state.deposit)
            least = max(needed - state.deposit, 1)
            worthwhile = max(least, state.deposit // WORTHWHILE)
            amount = min(wished, max(held // 2, min(held, worthwhile)))
            if amount < least:
                raise NotEnough(
                    f"the wallet {self.wallet.address} holds {in_surge(held)}, and a channel needs {in_surge(worthwhile)} more: send it "
                    "tokens, then resume the job",
                    held=held,
                    needed=worthwhile,
                )
            await self._ledger.top_up(self.wallet, channel, amount)
        deposit = state.deposit + amount
        await self._journal.set_channel(channel, deposit=deposit)
        return deposit

    async def _raise_floor(self, channel: bytes, floor: int, job: bytes) -> int:
        """Have a channel pay at least `floor` wei, at a job's cost, with a larger deposit if that needs it; returns the deposit."""
        async with self._spending:
            state = await self._ledger.channel(channel)
            if state.closed or state.closing_at:
                raise Unavailable(f"the channel 0x{channel.hex()} is being closed", channel=channel)
            lacks = max(0, floor - state.deposit)
            if lacks:
                held = await self._ledger.token_balance(self.wallet.address)
                if held < lacks:
                    raise NotEnough(
                        f"the wallet {self.wallet.address} holds {in_surge(held)}, and a channel whose floor is {in_surge(floor)} needs "
                        f"{in_surge(lacks)} more: send it tokens, then resume the job",
                        held=held,
                        needed=lacks,
                    )
                await self._ledger.top_up(self.wallet, channel, lacks)
            if floor > state.floor:
                await self._ledger.raise_floor(self.wallet, channel, floor)
        await self._journal.set_channel(channel, deposit=state.deposit + lacks, floor=floor, job=job)
        return state.deposit + lacks

    async def broken(self, channel: bytes) -> None:
        """Its provider broke the protocol: it is not used again, and can be closed."""
        await self._journal.set_channel(channel, state=BROKEN)

    # Closing

    async def close_together(self, account: Account, peer: Peer) -> str:
        """Close at the state both sides hold, at once; returns the transaction."""
        payer = account.payer
        await payer.drain()
        voucher = payer.channel.state()
        close = Close(voucher.channel, voucher.amount, voucher.count, voucher.root)
        signature = payer.signer.sign(close.digest(self._domain))
        message = encode(CloseChannel(wei_bytes(voucher.amount), voucher.count, voucher.root, signature))
        answer = await peer.close_together(message, CLOSE_SECONDS)
        if recover(close.digest(self._domain), answer.signature) not in (peer.device, account.row.operator):
            raise PeerFault(f"{peer.device} signs a close that is not its own", device=peer.device)
        if answer.transaction:
            transaction = "0x" + answer.transaction.hex()
        else:
            transaction = await self._ledger.close_together(self.wallet, voucher, answer.signature, signature)
        await self._journal.set_channel(voucher.channel, state=CLOSED)
        return transaction

    async def start_close(self, row: ChannelRow) -> str:
        """Close one-sidedly: the deposit comes back once the challenge period is over and `finish_close` was called."""
        transaction = await self._ledger.start_close(self.wallet, row.id)
        await self._journal.set_channel(row.id, state=CLOSING)
        return transaction

    async def finish_close(self, row: ChannelRow) -> str:
        """End a close whose challenge period is over."""
        transaction = await self._ledger.finish_close(self.wallet, row.id)
        await self._journal.set_channel(row.id, state=CLOSED)
        return transaction

    async def states(self, rows: Sequence[ChannelRow]) -> list[ChannelState | SurgeError]:
        """What the ledger says of channels."""

        async def one(row: ChannelRow) -> ChannelState | SurgeError:
            try:
                return await self._ledger.channel(row.id)
            except (Unavailable, LedgerError) as error:
                return error

        return list(await asyncio.gather(*(one(row) for row in rows)))


def _unusable(state: ChannelState, offer: Offer) -> str | None:
    """Why a channel cannot be used under an offer; None when it can."""
    if not state.exists:
        return "the ledger does not know it (its chain may have lost a block)"
    if state.closed or state.closing_at:
        return "it is closed or closing"
    if state.provider != offer.operator or state.device != offer.device:
        return "it is for another operator"
    if state.floor < offer.opening:
        return "its floor is below the offer's opening"
    if state.challenge_seconds < offer.offline_seconds:
        return "its challenge period is shorter than the offer's longest absence"
    return None
