"""One session with a buyer: its messages, in order, turned into orders, uploads and answers.

The buyer is a stranger. What it sends is decoded by `core.messages`, bounded here, and judged by the account; whatever it gets wrong
ends its session with a reason, and touches no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from surge.core import canonical
from surge.core.messages import (
    VERSION,
    Acknowledge,
    Call,
    Cancel,
    ChannelOpened,
    Chunk,
    CloseChannel,
    ClosedTogether,
    Draining,
    OpenChannel,
    Received,
    Refusal,
    Reprice,
    ToBuyer,
    ToProvider,
    Vouched,
    decode_for_provider,
)
from surge.core.messages.fields import wei_bytes
from surge.core.messages.session import MAX_PENDING
from surge.core.pricing import transfer_amount
from surge.core.receipts import ReceiptKind, Signed
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError
from surge.provider.account import on_wire
from surge.provider.config import ProviderConfig
from surge.provider.desk import Desk
from surge.provider.outbox import Link, Outbox
from surge.provider.service import Claim, Refused, Reply, Service
from surge.provider.tally import Tally
from surge.provider.uploads import Arrived, Uploads
from surge.store import Blobs

log = logging.getLogger("surge.provider")

OPEN_SECONDS = 15.0
"""A session that has not opened its channel by then is ended."""

CALLS_BESIDE = 64
"""Calls under way beyond the buyer's window: those that are free, and those on their way to be refused."""

MAX_FAULTS = 64
"""Senseless calls and uploads, after which a session is ended."""

FAREWELL_SECONDS = 2.0
"""How long a buyer is given to take the reason why its session ends."""

SENSELESS = frozenset({"unknown", "invalid"})
"""Codes of refusals that an honest buyer causes seldom."""


class Reception(Protocol):
    """What opens channels."""

    async def open(self, message: OpenChannel, peer: Address) -> tuple[Desk, bytes]:
        """The channel's desk, and our signature over its terms. Raises `Refused`."""
        ...


class BuyerSession:
    """A session from hello to end. `run` returns when it is over."""

    def __init__(
        self,
        link: Link,
        *,
        network: bytes,
        reception: Reception,
        services: Mapping[str, Service],
        blobs: Blobs,
        config: ProviderConfig,
        tally: Tally,
        draining: Callable[[], str],
    ) -> None:
        self._link = link
        self._network = network
        self._reception = reception
        self._services = services
        self._config = config
        self._tally = tally
        self._draining = draining
        self._outbox = Outbox(link)
        self._uploads = Uploads(blobs)
        self._desk: Desk | None = None
        self._calls: set[int] = set()
        self._faults = 0
        self._running: asyncio.Task[None] | None = None
        self._ended = ""
        self._drained = False
        self._over = asyncio.Event()

    # What desks call (`desk.Port`)

    def post(self, message: ToBuyer) -> None:
        """See `desk.Port`."""
        if not isinstance(message, Vouched | ChannelOpened | Draining):
            number = getattr(message, "id", None)
            if number is not None:
                self._calls.discard(number)
        self._outbox.post(message)

    def stream(self, number: int, path: Path, size: int) -> None:
        """See `desk.Port`."""
        self._outbox.stream(number, path, size)

    def want(self, content: bytes, size: int, job: bytes) -> None:
        """See `desk.Port`."""
        self._uploads.want(content, size, job)

    def replaced(self) -> None:
        """See `desk.Port`."""
        self.end("another session has taken the channel")

    def end(self, reason: str) -> None:
        """End the session from outside."""
        if not self._ended:
            self._ended = reason
            if self._running is not None:
                self._running.cancel()

    def say_draining(self, why: str) -> None:
        """Tell the buyer that no new work is taken."""
        if self._desk is not None:
            self._outbox.post(Draining(why[:4096]))
            self._drained = True

    def lends_again(self) -> None:
        """A buyer that was told of draining dials again, and so learns that it is over."""
        if self._drained:
            self.end("the device lends again: dial it again")

    async def over(self) -> None:
        """Wait until the session has ended."""
        await self._over.wait()

    # Life

    async def run(self) -> None:
        """Serve until the session ends."""
        self._tally.sessions += 1
        reason = "done"
        self._running = asyncio.current_task()
        writing = asyncio.create_task(self._outbox.run(), name=f"to {self._link.peer}")
        reading = asyncio.create_task(self._converse(), name=f"from {self._link.peer}")
        try:
            if not self._ended:
                await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
                reason = self._result(reading if reading.done() else writing)
        except asyncio.CancelledError:
            reason = self._ended or "the provider stops"
            if not self._ended:
                raise
        finally:
            self._running = None
            if self._desk is not None:
                self._desk.detach(self)
            reading.cancel()
            try:
                await self._leave(writing, reason)
                await asyncio.gather(reading, return_exceptions=True)
            finally:
                self._uploads.close()
                self._over.set()

    def _result(self, task: asyncio.Task[None]) -> str:
        """Why a task of the session ended, for the buyer."""
        error = task.exception()
        if error is None:
            return "done"
        if isinstance(error, PeerFault):
            log.info("%s broke the protocol: %s", self._link.peer, error)
            self._outbox.post(Refusal(0, "invalid", error.message[:4096], b""))
            return error.message
        if isinstance(error, SurgeError | OSError):
            log.info("the session with %s ends: %s", self._link.peer, error)
            return str(error)
        log.error("the session with %s failed", self._link.peer, exc_info=error)
        return "the device failed"

    async def _leave(self, writing: asyncio.Task[None], reason: str) -> None:
        """Hand over what is still to be said, briefly, and close."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                if not writing.done():
                    await asyncio.wait((writing, asyncio.ensure_future(self._outbox.emptied())), return_when=asyncio.FIRST_COMPLETED)
                await self._link.close(reason)
        except TimeoutError:
            log.debug("%s did not take its farewell", self._link.peer)
        finally:
            self._outbox.close()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _converse(self) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                desk = await self._open()
        except TimeoutError:
            raise PeerFault(f"no channel was opened within {OPEN_SECONDS:.0f} s") from None
        while True:
            message = decode_for_provider(await self._link.receive())
            if self._outbox.full:
                await self._outbox.room()
            if self._ended:
                return  # the channel has gone to another session, which was told where its log stands
            await self._take(desk, message)

    async def _open(self) -> Desk:
        """The first message opens a channel; after a refusal a buyer may try again, as often as it may be wrong."""
        self._check_context()
        while True:
            message = decode_for_provider(await self._link.receive())
            if not isinstance(message, OpenChannel):
                raise PeerFault(f"a session begins with a channel, not with {type(message).__name__}")
            try:
                desk, signature = await self._reception.open(message, self._link.peer)
            except Refused as refused:
                self._refuse(0, refused, MAX_FAULTS // 3)
                continue
            self._desk = desk
            desk.attach(self)
            self._link.keep()
            channel = desk.account.channel
            self._outbox.post(
                ChannelOpened(
                    message.channel,
                    signature,
                    channel.log.size,
                    channel.log.root(),
                    wei_bytes(channel.amount),
                    desk.account.window,
                    desk.account.pending()[:MAX_PENDING],
                )
            )
            if why := self._draining():
                self.say_draining(why)
            return desk

    def _check_context(self) -> None:
        try:
            context = canonical.decode(self._link.context)
        except InvalidInput as error:
            raise PeerFault("the session's context cannot be read") from error
        if not isinstance(context, dict) or context.get("network_id") != self._network:
            raise PeerFault("the session is for another network")
        if context.get("version") != VERSION:
            raise PeerFault(f"the buyer speaks version {context.get('version')}; this device speaks version {VERSION}")

    # Messages

    async def _take(self, desk: Desk, message: ToProvider) -> None:
        if isinstance(message, Call):
            self._call(desk, message)
        elif isinstance(message, Acknowledge):
            self._acknowledge(desk, message)
        elif isinstance(message, Chunk):
            await self._chunk(desk, message)
        elif isinstance(message, Cancel):
            desk.withdraw(self, message.id)
        elif isinstance(message, Reprice):
            await desk.account.agree(message.terms, message.signature)
        elif isinstance(message, CloseChannel):
            await self._close(desk, message)
        else:
            raise PeerFault("a session opens one channel, once")

    def _call(self, desk: Desk, call: Call) -> None:
        if call.id in self._calls:
            raise PeerFault(f"two calls under way bear the number {call.id}", id=call.id)
        self._tally.called()
        try:
            if len(self._calls) >= desk.account.window + CALLS_BESIDE:
                raise Refused("busy", f"{len(self._calls)} calls are under way")
            service = self._services.get(call.service)
            if service is None:
                raise Refused("unknown", f"there is no service {call.service!r} here; there is {', '.join(self._services)}")
            order = service.accept(call.method, call.body, desk.context)
            self._calls.add(call.id)
            desk.take(self, call.id, order)
        except Refused as refused:
            self._refuse(call.id, refused)

    def _refuse(self, number: int, refused: Refused, cost: int = 1) -> None:
        self._calls.discard(number)
        self._tally.refused(refused.code, refused.message)
        self._outbox.post(Refusal(number, refused.code, refused.message[:4096], refused.encoded()))
        if refused.code in SENSELESS or cost > 1:
            self._faults += cost
            if self._faults > MAX_FAULTS:
                raise PeerFault(f"too many senseless calls, the last: {refused.message}")

    def _acknowledge(self, desk: Desk, message: Acknowledge) -> None:
        try:
            desk.acknowledge(message)
        except PeerFault as fault:
            desk.account.stop(f"a wrong acknowledgement: {fault.message}")
            raise

    async def _chunk(self, desk: Desk, chunk: Chunk) -> None:
        account, config = desk.account, self._config
        try:
            allowance = min(config.upload_window - account.uploaded, config.disk) - self._uploads.announced
            if account.channel.stopped or account.overdrawn:
                allowance = 0
            arrived = await self._uploads.take(chunk, allowance)
            if arrived is not None:
                await self._received(desk, chunk.id, arrived)
        except Refused as refused:
            self._refuse(chunk.id, refused)

    async def _received(self, desk: Desk, number: int, arrived: Arrived) -> None:
        price = transfer_amount(desk.account.prices(arrived.job), arrived.size)
        if not price:
            self._outbox.post(Received(number, arrived.content, None))
            return
        claim = Claim(ReceiptKind.TRANSFER, arrived.content, arrived.content, arrived.size, price)

        def written(signed: Signed, error: SurgeError | None) -> None:
            if error is None:
                self._outbox.post(Received(number, arrived.content, on_wire(signed)))
            else:
                self._outbox.post(Refusal(number, "storage", error.message, b""))

        await desk.account.owe(claim, Reply(b""), written)
        self._tally.did(claim)

    async def _close(self, desk: Desk, message: CloseChannel) -> None:
        if desk.busy:
            self._refuse(0, Refused("busy", desk.doing))
            return
        try:
            self._outbox.post(ClosedTogether(await desk.account.close_together(message), b""))
        except Refused as refused:
            self._refuse(0, refused)
