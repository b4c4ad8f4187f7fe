"""What is agreed with a provider: a channel in a fresh session, new prices later; and what of its answers must be true."""

from __future__ import annotations

import asyncio
import time

from surge.buyer.doors import Link
from surge.buyer.payer import Payer
from surge.core.eip712 import Domain
from surge.core.messages import ChannelOpened, ClosedTogether, NewPrices, OpenChannel, Refusal, decode_for_buyer, encode
from surge.core.messages.fields import wei
from surge.core.receipts import Terms
from surge.core.signing import check_signed
from surge.core.text import printable
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable

OPEN_SECONDS = 20.0
"""How long a provider may take to open a channel in a session: it looks at the chain."""


async def open_channel(session: Link, device: Address, terms: Terms, payer: Payer) -> tuple[ChannelOpened, float]:
    """The provider's answer, and the seconds it took. Raises `Unavailable` and `PeerFault`.

    1. The provider agrees to our terms.
    2. Its log is ours, or a prefix of ours.
    3. Its signature over the terms is on disk before anything is asked under them.
    """
    digest = terms.digest(payer.party.domain)
    root = payer.channel.log.root()
    await session.send(encode(OpenChannel(terms.channel, terms.encode(), payer.signer.sign(digest), payer.count, root)))
    started = time.monotonic()
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            opened = decode_for_buyer(await session.receive())
    except TimeoutError as error:
        raise Unavailable(f"{device} does not open the channel", device=device) from error
    seconds = time.monotonic() - started
    if isinstance(opened, Refusal):
        raise opening_refused(device, opened)
    if not isinstance(opened, ChannelOpened) or opened.channel != terms.channel:
        raise PeerFault(f"{device} answers something else than was asked", answer=opened)
    # 1
    check_signed(digest, opened.signature, device, "a channel's terms")
    # 2
    if not payer.channel.knows(opened.count, opened.root) or wei(opened.amount) > payer.amount:
        raise PeerFault(f"{device} holds another log of the channel than ours", count=opened.count, root=opened.root)
    # 3
    await payer.keep_terms(terms, opened.signature)
    return opened, seconds


def quoted_terms(message: NewPrices, device: Address, now: Terms, domain: Domain) -> Terms:
    """The terms in a provider's quote: signed by it, and for the channel and engine of those that hold now. Raises `PeerFault`."""
    try:
        terms = Terms.decode(message.terms)
    except InvalidInput as error:
        raise PeerFault(f"{device} quotes prices that cannot be read", terms=message.terms) from error
    check_signed(terms.digest(domain), message.signature, device, "new prices")
    if (terms.channel, terms.engine) != (now.channel, now.engine):
        raise PeerFault(f"{device} quotes prices for another channel or engine", terms=terms)
    return terms


def opening_refused(device: Address, refusal: Refusal) -> SurgeError:
    """The error of a provider that does not open a channel: one that may pass, or a fault."""
    text = f"{device} does not open the channel ({refusal.code}): {printable(refusal.text)}"
    if refusal.code in ("busy", "draining", "storage", "internal", "unknown", "price", "deposit", "local"):
        return Unavailable(text, device=device, code=refusal.code)
    return PeerFault(text, device=device, code=refusal.code)


class Closing:
    """The provider's half of a co-operative close, while somebody waits for it."""

    def __init__(self) -> None:
        self._future: asyncio.Future[ClosedTogether] | None = None

    async def wait(self, device: Address, seconds: float) -> ClosedTogether:
        """The provider's half. Raises `Unavailable` when it does not come, or what `failed` was given."""
        self._future = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                return await self._future
        except TimeoutError as error:
            raise Unavailable(f"{device} does not close the channel together", device=device) from error

    def closed(self, message: ClosedTogether) -> None:
        """It came."""
        if self._future is not None and not self._future.done():
            self._future.set_result(message)

    def failed(self, error: SurgeError) -> None:
        """It will not come."""
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)
