"""Holding devices ready: pings, what they count, and paying for it, period by period (`core.retainers`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from surge.buyer.auditor import audit_retainer
from surge.buyer.calls import Question, Refused
from surge.buyer.market import Market
from surge.buyer.payer import Answer as Paid
from surge.buyer.peers import Peer
from surge.buyer.purse import Purse, in_surge
from surge.buyer.treasury import Bearer
from surge.core import retainers as rules
from surge.core.asking import most_opening
from surge.core.messages import Answer, Bill, Hold, decode_held, encode_body
from surge.core.messages.fields import wei_bytes
from surge.core.offers import SignedOffer
from surge.core.receipts import ReceiptKind
from surge.core.retainers import Holding
from surge.core.text import counted
from surge.core.types import ZERO, address
from surge.errors import InvalidInput, LedgerError, NoProvider, PeerFault, SurgeError, Unavailable

log = logging.getLogger("surge.buyer")

SERVICE = "retainer"
"""What offers and calls name the service by."""

OPEN_SECONDS = 20.0
"""How long a device may take to open a channel in a session."""

ANSWER_SECONDS = 10.0
"""How long it may take to answer a ping or a bill."""


@dataclass(frozen=True, slots=True)
class Retained:
    """How one device's retainer stands."""

    device: str
    cores: int
    """Kept free."""
    price: int
    """Wei for a core over an hour."""
    seconds: int
    """Seconds held and paid so far."""
    paid: int
    """Wei."""
    ended: str
    """Why it ended; empty while it goes on."""


def suitable(offers: Sequence[SignedOffer], wanted: int | Sequence[str], cores: int, max_price: int | None) -> list[SignedOffer]:
    """The offers of those devices, or of so many, that hold as many cores at no more than `max_price`, the cheapest first.

    Raises `NoProvider`, saying what the others lack, and `InvalidInput`.
    """
    named = None if isinstance(wanted, int) else {address(each) for each in wanted}
    count = wanted if isinstance(wanted, int) else len(named or ())
    if count < 1:
        raise InvalidInput("a retainer is for one device at least")
    if cores < 1:
        raise InvalidInput("a retainer is for one core at least")
    most = most_opening(signed.offer for signed in offers)
    left_out: dict[str, int] = {}
    found = []
    for signed in offers:
        offer = signed.offer
        if named is not None and offer.device not in named:
            continue
        why = ""
        if not offer.retainer or SERVICE not in offer.services:
            why = "offer no retainer"
        elif offer.cores < cores:
            why = f"lend fewer than {counted(cores, 'core')}"
        elif max_price is not None and offer.retainer > max_price:
            why = f"ask more than {in_surge(max_price)} for a core over an hour"
        elif named is None and offer.opening > most:
            why = f"ask more than {in_surge(most)} for a channel"
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            found.append(signed)
    if len(found) < count:
        reasons = ", ".join(f"{number} {why}" for why, number in left_out.items()) or "the others offer nothing now"
        raise NoProvider(f"{len(found)} of {counted(count, 'device')} can be held: {reasons}", excluded=left_out)
    return sorted(found, key=lambda signed: (signed.offer.retainer, signed.offer.device))[:count]


class Retaining:
    """One device, held for one buyer. `begin` holds it; `run` goes on until `stop` or the end of its time."""

    def __init__(self, peer: Peer, cores: int, price: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.peer = peer
        self.ended = ""
        """Why it ended; empty while it goes on."""
        self.seconds = 0
        self.paid = 0
        self._clock = clock
        self._began = time.monotonic()
        self._until = clock() + seconds
        self._stating = False
        """Whether a statement of this retainer waits for its answer."""
        self._stopped = asyncio.Event()
        self._over = asyncio.Event()
        self._holding = Holding(cores, price, last=clock())

    @property
    def state(self) -> Retained:
        """How it stands."""
        return Retained(self.peer.device, self._holding.cores, self._holding.price, self.seconds, self.paid, self.ended)

    def stop(self) -> None:
        """End it: what was held is paid, then the cores are let go."""
        self._stopped.set()

    async def over(self) -> None:
        """Wait until it has ended."""
        await self._over.wait()

    async def begin(self) -> None:
        """The first ping. Raises `Unavailable` when the device does not hold."""
        try:
            await self._ping()
        except Refused as refused:
            raise Unavailable(f"{self.peer.device} does not hold its cores: {refused.refusal.text}", code=refused.code) from refused
        self._holding = Holding(self._holding.cores, self._holding.price, last=self._clock())

    async def run(self) -> None:
        """Ping and pay until the end."""
        why = "it was cancelled"
        try:
            why = await self._keep()
            await self._bill()
            await self.peer.payer.drain()
            await self._ask("release", b"")
        except Refused as refused:
            why = refused.refusal.text
        except (Unavailable, LedgerError) as error:
            why = error.message
        except PeerFault as fault:
            why = fault.message
            self.peer.drop(fault)
        finally:
            self.ended = why
            self._over.set()
            log.info("the retainer of %s ended: %s", self.peer.device, why)

    async def _keep(self) -> str:
        """Ping and pay while it lasts; why it ended."""
        while True:
            left = self._until - self._clock()
            try:
                async with asyncio.timeout(max(0.0, min(left, rules.PING_SECONDS))):
                    await self._stopped.wait()
                return "it was released"
            except TimeoutError:
                pass
            if self.peer.gone is not None:
                raise self.peer.gone
            if self.peer.busy_at > self._began:
                raise Unavailable(f"{self.peer.device} refused a unit as busy while its cores were held", device=self.peer.device)
            try:
                await self._ping()
            except Unavailable as error:  # time in which it cannot be reached is not paid
                log.info("%s does not answer: %s", self.peer.device, error)
            if left <= rules.PING_SECONDS:
                return "its time is over"
            if self._holding.unbilled >= rules.PERIOD_SECONDS:
                await self._bill()

    async def _ping(self) -> None:
        holding = self._holding
        answer = await self._ask("hold", encode_body(Hold(holding.cores, wei_bytes(holding.price))))
        decode_held(answer.body)
        now = self._clock()
        # A device that takes no work is not ready, whatever it answers.
        self._holding = replace(holding, last=now) if self.peer.draining else rules.pinged(holding, now)

    async def _ask(self, method: str, body: bytes, *, bills: bool = False) -> Answer:
        question = Question(method, body, bills=bills, service=SERVICE)
        self.peer.ask(question)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await question.future
        except TimeoutError as error:
            raise Unavailable(f"{self.peer.device} did not answer within {ANSWER_SECONDS:.0f} s", device=self.peer.device) from error

    async def _bill(self) -> None:
        """Pay what was counted. Raises `PeerFault` for a receipt over more, or at another price.

        1. What is stated, and what it may cost, is on disk before it is said; a statement that was not answered is made again.
        2. The deposit covers it.
        3. The receipt is for this period, at most for what was counted, at the price agreed, and signed.
        """
        payer, holding, channel = self.peer.payer, self._holding, self.peer.terms.channel
        intents, kind = payer.intents, ReceiptKind.RETAINER
        # 1
        period = intents.count(kind)
        if period and intents.is_unpaid(kind, rules.subject(channel, period - 1), ZERO):
            period -= 1
        about = rules.subject(channel, period)
        before, ours = intents.size_of(kind, about, ZERO), self._stating
        claim = int(holding.unbilled) if before is None else before
        if not claim:
            return
        self._stating = ours or before is None
        cost = rules.amount(holding.price, holding.cores, claim)
        # 2
        if payer.amount + payer.owed + cost > payer.channel.deposit:
            await payer.fund()
        async with intents.asking(kind, about, ZERO, claim, cost):
            answer = await self._ask("bill", encode_body(Bill(period, claim)), bills=True)
            # 3
            if answer.receipt is None:
                raise PeerFault(f"{self.peer.device} answers a bill without a receipt", answer=answer)
            receipt, digest = audit_retainer(answer.receipt, about, holding.cores, holding.price, claim, payer.party)
            self.peer.pay(Paid(receipt, answer.receipt.signature, digest, True, None, ZERO, ()))
        if self._stating:  # otherwise it was for what was held before this retainer
            self._holding, _ = rules.stated(self._holding, receipt.quantity)
        self._stating = False
        self.seconds += receipt.quantity
        self.paid += receipt.amount


async def retain(market: Market, wanted: int | Sequence[str], *, cores: int, seconds: float, max_price: int | None) -> list[Retaining]:
    """Hold devices, each of them or none. Raises what kept one from being held."""
    chosen = suitable(await market.offers(), wanted, cores, max_price)
    begun: list[Retaining] = []
    try:
        for signed in chosen:
            peer = await market.peer(signed, Bearer(ZERO, Purse(None), lambda: True))
            await peer.wait_open(OPEN_SECONDS)
            each = Retaining(peer, cores, signed.offer.retainer, seconds)
            await each.begin()
            begun.append(each)
    except SurgeError:
        for each in begun:
            each.stop()
        await asyncio.gather(*(each.run() for each in begun))
        raise
    return begun
