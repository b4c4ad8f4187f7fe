"""The retainer service: cores that are kept free for a buyer, as long as it pings and pays.

A buyer calls `hold` every few seconds, which costs nothing and counts the time since; `bill` gives the receipt for what was counted;
`release` lets the cores go at once. They go by themselves when the buyer is not heard, when too much is unpaid, and when a receipt is
refused. While cores are held, `turns.Turns` lets other buyers use the rest only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from surge.core import retainers as rules
from surge.core.messages import Bill, Held, Hold, decode_bill, decode_hold, encode_body
from surge.core.messages.fields import wei
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.retainers import Holding
from surge.core.text import counted
from surge.core.types import ZERO
from surge.errors import PeerFault
from surge.provider.service import Claim, Context, Description, Order, Refused, Reply, Weight
from surge.provider.turns import Turns

log = logging.getLogger("surge.provider")

SERVICE = "retainer"
"""What offers and calls name the service by."""

LOOK_SECONDS = 1.0
"""Between looks for buyers that are no longer heard."""


class Retainers:
    """The service. It holds places of `turns`, which belong to the compute service.

    Args:
        turns: the places of the device's cores.
        cores: cores that the device lends.
        price: wei for a core held over an hour.
    """

    name = SERVICE

    def __init__(self, turns: Turns, cores: int, price: int) -> None:
        self.holdings: dict[bytes, Holding] = {}
        """What is held, by channel."""
        self._turns = turns
        self._cores = cores
        self._price = price
        self._ended: dict[bytes, str] = {}
        """Why a channel's retainer ended that was not released; said once, at its next ping."""
        self._claims: dict[bytes, Claim] = {}
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `Service`."""
        self._looking = asyncio.create_task(self._run(), name="looking after retainers")

    async def close(self) -> None:
        """See `Service`."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for channel in list(self.holdings):
            self._end(channel, "the device stops")

    def describe(self) -> Description:
        """See `Service`."""
        return Description()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Let go what nobody pings for; `now` by the monotonic clock."""
        for channel, holding in list(self.holdings.items()):
            if holding.gone(now):
                self._end(channel, "its buyer was not heard any more")

    # What is held

    def hold(self, asked: Hold, context: Context, now: float) -> Held:
        """Begin to hold, or go on. Raises `Refused`.

        1. The price is at least what is asked, and does not change under way.
        2. What ended is not begun again unasked: the buyer hears why, once.
        3. So many cores are free of other retainers.
        4. Not too much is unpaid.
        """
        price, channel = wei(asked.price), context.channel
        # 1
        if price < self._price:
            raise Refused("price", f"a core held over an hour costs {self._price} wei of SURGE, not {price}", price=self._price)
        holding = self.holdings.get(channel)
        if holding is not None and (holding.cores, holding.price) != (asked.cores, price):
            raise Refused("invalid", f"{counted(holding.cores, 'core')} are held at {holding.price} wei: release them first")
        if holding is None:
            # 2
            if (why := self._ended.pop(channel, None)) is not None:
                raise Refused("window", f"the retainer ended: {why}")
            # 3
            free = self._cores - sum(each.cores for each in self.holdings.values())
            if asked.cores > free:
                raise Refused("busy", f"{counted(free, 'core')} of {self._cores} can be held now, not {asked.cores}")
            self.holdings[channel] = Holding(asked.cores, price, last=now)
            self._turns.hold(channel, context.buyer, asked.cores)
            log.info("%s kept free for %s", counted(asked.cores, "core"), context.buyer)
            return Held(0)
        holding = self.holdings[channel] = rules.pinged(holding, now)
        # 4
        if holding.over:
            self._end(channel, f"{counted(int(holding.unpaid), 'second')} were not paid")
            raise Refused("window", f"the retainer ended: {self._ended.pop(channel)}")
        return Held(int(holding.unpaid))

    def bill(self, asked: Bill, context: Context) -> Claim:
        """What a period comes to, once. Raises `Refused` where nothing is held."""
        about = rules.subject(context.channel, asked.period)
        known = self._claims.get(about)
        if known is not None:
            return known
        holding = self.holdings.get(context.channel)
        if holding is None:
            raise Refused("invalid", "nothing is held on this channel")
        holding, seconds = rules.stated(holding, asked.seconds)
        self.holdings[context.channel] = holding
        price = rules.amount(holding.price, holding.cores, seconds)
        claim = Claim(ReceiptKind.RETAINER, about, rules.result(about, holding.cores, holding.price), seconds, price)
        self._claims[about] = claim
        return claim

    def release(self, channel: bytes) -> None:
        """The buyer ends it."""
        self._end(channel, "")

    def _end(self, channel: bytes, why: str) -> None:
        holding = self.holdings.pop(channel, None)
        if holding is None:
            return
        self._turns.release(channel)
        log.info("a retainer ended: %s", why or "it was released")
        if why:
            self._ended[channel] = why
            while len(self._ended) > 1024:
                del self._ended[next(iter(self._ended))]

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """See `Service`."""
        if receipt.kind != ReceiptKind.RETAINER:
            return
        self._claims.pop(receipt.subject, None)
        holding = self.holdings.get(receipt.channel)
        if holding is None:
            return
        if accepted:
            self.holdings[receipt.channel] = rules.answered(holding, receipt.quantity)
        else:
            self._end(receipt.channel, "a receipt was refused")

    # Calls

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        """See `Service`."""
        if method == "hold":
            asked = decode_hold(body)
            return _Free(lambda: encode_body(self.hold(asked, context, time.monotonic())))
        if method == "bill":
            return _Bill(self, decode_bill(body), context)
        if method == "release":
            if body:
                raise PeerFault("a call to release held cores has no body", body=body[:32])

            def release() -> bytes:
                self.release(context.channel)
                return b""

            return _Free(release)
        raise Refused("unknown", f"a retainer has no method {method!r}: it has hold, bill, release")


class _Free:
    """An order that is done at once and costs nothing. See `Order`."""

    weight = Weight.FREE
    subject: bytes | None = None
    job = ZERO
    begun = False
    lasting = False

    def __init__(self, do: Callable[[], bytes]) -> None:
        self._do = do

    async def run(self) -> Reply:
        """See `Order`."""
        return Reply(self._do())


class _Bill:
    """An order to bill a period. See `Order`."""

    weight = Weight.UNIT
    job = ZERO
    begun = True
    lasting = False

    def __init__(self, retainers: Retainers, asked: Bill, context: Context) -> None:
        self.subject: bytes | None = rules.subject(context.channel, asked.period)
        self._retainers, self._asked, self._context = retainers, asked, context

    async def run(self) -> Reply:
        """See `Order`."""
        return Reply(b"", self._retainers.bill(self._asked, self._context))
