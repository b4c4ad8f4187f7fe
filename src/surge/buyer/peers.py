"""One provider: the session to it, the channel in the session, and the calls under way.

A peer keeps its session up for as long as somebody wants it. When a session breaks it dials again, through another relay
if need be, compares logs, sends again what the provider missed, and asks again for every unit under way: the same unit ids,
so that nothing is run or paid for twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from surge.buyer.bonded import UNASKED
from surge.buyer.calls import COMPUTE, Question, Refused, UnitCall, answer_to
from surge.buyer.doors import Link, Listener, first_error
from surge.buyer.opening import Closing, open_channel, quoted_terms
from surge.buyer.outbox import Outbox, Uploads
from surge.buyer.payer import Answer as Paid
from surge.buyer.payer import Payer
from surge.buyer.watch import Watch
from surge.core.messages import (
    Answer,
    Call,
    Cancel,
    ClosedTogether,
    Draining,
    NewPrices,
    Output,
    Received,
    Refusal,
    SignedReceipt,
    ToBuyer,
    Vouched,
    decode_for_buyer,
    encode,
)
from surge.core.receipts import Receipt, Terms
from surge.core.text import printable
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable

log = logging.getLogger("surge.buyer")

GRACE_SECONDS = 8.0
"""How long a provider whose session broke may stay away before its units go elsewhere."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to dial."""


class Peer:
    """A provider. `dial` gives a new session; `lacking` the acknowledgement of our leaves from an index on, and their end."""

    def __init__(
        self,
        device: Address,
        cores: int,
        terms: Terms,
        payer: Payer,
        dial: Callable[[], Awaitable[Link]],
        lacking: Callable[[int], Awaitable[tuple[bytes, int]]],
        service: str = COMPUTE,
    ) -> None:
        self.device = device
        self.operator = ""
        """Who runs it: the market says so."""
        self.bond = UNASKED
        """That operator's; who has not enough gets one unit at a time, and all of its results are checked."""
        self.cores = cores
        self.terms, self.service = terms, service
        """The channel's terms, and the service that calls are for where they name none."""
        self.payer = payer
        self.listeners: list[Listener] = []
        self.watch = Watch()
        self.window = 0
        self.busy_at = float("-inf")
        """When it last refused a unit because it was busy, by the monotonic clock."""
        self.latency = 0.0
        """Seconds of the last channel opening's round trip."""
        self.is_open = self.draining = self._was_open = False
        self.gone: SurgeError | None = None
        self.orphans: list[SignedReceipt] = []
        """Receipts of units that nobody here waits for: asked by a process that was killed."""
        self.on_orphan: Callable[[Peer], None] | None = None
        """Called when there is one more."""
        self._dial = dial
        self._lacking = lacking
        self._calls: dict[int, UnitCall | Question] = {}
        self._outbox, self._closing = Outbox(), Closing()
        self.uploads = Uploads(device, self._outbox)
        self.claimed = 0
        """Units that a job is about to send."""
        self.lacks_cover = False
        """Whether it does no more before receipts are answered that are held here."""
        self._next_id = 1
        self._in_flight = self._unsettled = 0
        self._opened, self._quiet = asyncio.Event(), asyncio.Event()
        payer.sent = self._settled

    # Using it

    @property
    def room(self) -> int:
        """Units that the window still takes."""
        window = self.window if self.bond.enough else min(self.window, 1)
        return window - self._in_flight - self._unsettled - self.claimed if self.is_open and not self.draining else 0

    def ask(self, call: UnitCall | Question) -> None:
        """Send a call; the answer goes to it. Asked again by itself if the session breaks."""
        if self.gone is not None:
            call.lost(self.gone)
            return
        number = self._next_id
        self._next_id += 1
        self._calls[number] = call
        if isinstance(call, UnitCall):
            call.id, call.peer = number, self
            self.watch.asked(number)
        self._in_flight += call.bills
        if self.is_open:
            self._send(number, call)

    def _send(self, number: int, call: UnitCall | Question) -> None:
        self._outbox.post(encode(Call(number, call.service or self.service, call.method, call.body)))

    async def question(
        self, method: str, body: bytes, *, seconds: float, bills: bool = False, late: Callable[[Answer], object] | None = None
    ) -> Answer:
        """Ask and wait for the answer. Raises `Refused`, `Unavailable`, `PeerFault`.

        With `late` the question stays under way when its asker waits no longer, and the answer goes there.
        """
        return await answer_to(self, Question(method, body, bills=bills, late=late), seconds)

    def cancel(self, call: UnitCall) -> None:
        """The answer is no longer wanted; if the work is done already it is still audited and paid."""
        call.wanted = False
        self.watch.called_off(call.id, call.asked.limits.wall_ms)
        if self.is_open and call.id in self._calls:
            self._outbox.post(encode(Cancel(call.id)))

    @property
    def busy(self) -> bool:
        """Whether anything that was asked is not answered yet."""
        return bool(self._calls)

    def calls_of(self, owner: object = None) -> list[UnitCall]:
        """The units under way for this owner; without one, all."""
        units = (call for call in self._calls.values() if isinstance(call, UnitCall))
        return [call for call in units if owner is None or call.owner is owner]

    async def upload(self, content: bytes, size: int, pieces: Callable[[], Iterator[bytes]], seconds: float) -> SignedReceipt | None:
        """Send a content in chunks; returns the receipt, where transfers are priced. Raises `Unavailable`, `Refused`."""
        number = self._next_id
        self._next_id += 1
        if not self.is_open:
            raise Unavailable(f"the session with {self.device} is down", device=self.device)
        return await self.uploads.send(number, content, size, pieces, seconds)

    def reprice(self, message: bytes) -> None:
        """Send an agreement to new prices."""
        self._outbox.post(message)

    async def wait_open(self, seconds: float) -> None:
        """Wait until units can be sent. Raises what made that impossible, or `Unavailable`."""
        try:
            async with asyncio.timeout(seconds):
                await self._opened.wait()
        except TimeoutError as error:
            raise Unavailable(f"{self.device} cannot be reached", device=self.device) from error
        if self.gone is not None:
            raise self.gone

    async def quiet(self) -> None:
        """Wait until nothing is under way here, everything answered is paid, and the provider is being told."""
        while self._calls:
            self._quiet.clear()
            await self._quiet.wait()
        await self.payer.drain()
        await self._outbox.emptied()

    async def close_together(self, message: bytes, seconds: float) -> ClosedTogether:
        """Offer a co-operative close and wait for the provider's half."""
        self._outbox.post(message)
        return await self._closing.wait(self.device, seconds)

    # Keeping it up

    async def run(self) -> None:
        """Keep the session up until cancelled or until the provider breaks the protocol."""
        pause = FIRST_PAUSE
        away_since: float | None = None
        why = ""
        while self.gone is None:
            self._was_open = False
            try:
                await self._one_session()
            except Unavailable as error:
                log.info("the session with %s ended: %s", self.device, error)
                why = error.message
                self._broke(error)
            except (PeerFault, InvalidInput) as error:
                self.drop(error)
                return
            now = time.monotonic()
            if self._was_open or away_since is None:
                pause, away_since = FIRST_PAUSE, now
            if now - away_since > GRACE_SECONDS:
                self.drop(Unavailable(f"{self.device} stays away: {why}", device=self.device))
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _one_session(self) -> None:
        session = await self._dial()
        try:
            await self._open_channel(session)
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._outbox.run(session))
                try:
                    while True:
                        self._take(decode_for_buyer(await session.receive()))
                finally:
                    writing.cancel()
        except* (Unavailable, PeerFault) as errors:
            fault = errors.subgroup(PeerFault)
            raise first_error(fault or errors) from None
        finally:
            self.is_open = False
            await session.close()

    async def _open_channel(self, session: Link) -> None:
        """Open the channel in a fresh session, send what the provider's log lacks, and ask everything under way again."""
        payer = self.payer
        opened, self.latency = await open_channel(session, self.device, self.terms, payer)
        self._outbox.clear()
        self.window, self._unsettled, self.draining = opened.window, payer.held, False
        known = opened.count
        while known < payer.committed:
            missed, known = await self._lacking(known)
            self._outbox.post(missed)
        asked = {call.asked.subject for call in self.calls_of()}
        self.orphans = [one for one in opened.pending if one.subject not in asked and not payer.knows(one.sequence)]
        self.is_open = self._was_open = True
        for number, call in list(self._calls.items()):
            if isinstance(call, UnitCall) and payer.has_paid(call.asked.subject):  # another call had the answer
                self._refused(Refusal(number, "cancelled", "it was paid meanwhile", b""))
                continue
            call.restart()
            self._send(number, call)
        payer.send = self._outbox.post
        self._opened.set()
        for listener in list(self.listeners):
            listener.peer_opened(self)

    def _broke(self, error: Unavailable) -> None:
        self.is_open = False
        self.payer.send = None
        self._outbox.clear()
        self.uploads.broke(error)
        for listener in list(self.listeners):
            listener.peer_away(self)

    def drop(self, error: SurgeError) -> None:
        """Give the provider up: its units go elsewhere."""
        if self.gone is not None:
            return
        self.gone = error
        if isinstance(error, PeerFault):
            log.warning("%s broke the protocol: %s", self.device, error)
        self._broke(Unavailable(str(error)))
        self._opened.set()
        for listener in list(self.listeners):
            listener.peer_gone(self, error)
        calls, self._calls = list(self._calls.values()), {}
        self._quiet.set()
        for call in calls:
            call.lost(error)

    # What arrives

    def _take(self, message: ToBuyer) -> None:
        if isinstance(message, Answer):
            self._answered(message)
        elif isinstance(message, Vouched):
            self.window = message.window
            self._tell_room()
        elif isinstance(message, Output):
            self._output(message)
        elif isinstance(message, Refusal):
            self._refused(message)
        elif isinstance(message, Received):
            if not self.uploads.received(message):
                self._stray(message.receipt)
        elif isinstance(message, Draining):
            self.draining = True
            self._tell_room()
        elif isinstance(message, NewPrices):
            self._new_prices(message)
        elif isinstance(message, ClosedTogether):
            self._closing.closed(message)
        else:
            raise PeerFault(f"{self.device} opens a channel twice", answer=message)

    def _answered(self, answer: Answer) -> None:
        if (call := self._calls.get(answer.id)) is None:
            self._check_number(answer.id)
            return self._stray(answer.receipt)
        self._settle(answer.id, call, call.answered(answer, self.payer.party))

    def _output(self, piece: Output) -> None:
        if (call := self._calls.get(piece.id)) is None:
            return self._check_number(piece.id)
        self._settle(piece.id, call, call.output(piece, self.payer.party))

    def _settle(self, number: int, call: UnitCall | Question, answered: Paid | None) -> None:
        if not call.complete:
            return
        del self._calls[number]
        self._in_flight -= call.bills
        if answered is not None:
            self.watch.answered(number, answered.receipt)
            self.pay(answered)
        self._tell_room()

    def pay(self, paid: Paid) -> bool:
        """Answer a receipt. False when that was done before."""
        was_held = self.payer.holds(paid.receipt.sequence)
        if not self.payer.take(paid):
            return False
        self._unsettled += not was_held
        return True

    def hold(self, paid: Paid) -> bool:
        """Leave a receipt unanswered while its result is checked. False when it was answered before."""
        if not self.payer.hold(paid):
            return False
        self._unsettled += 1
        return True

    def let_go(self, receipt: Receipt, wire: SignedReceipt) -> None:
        """The check of a held receipt is given up, as its job ended: it is settled as others whose asker is gone."""
        self.payer.let_go(receipt)
        self._unsettled = max(0, self._unsettled - 1)
        self._stray(wire)

    def _refused(self, refusal: Refusal) -> None:
        refusal = msgspec.structs.replace(refusal, text=printable(refusal.text))
        if refusal.id == 0:
            log.info("%s refuses: %s", self.device, refusal.text)
            return self._closing.failed(Refused(refusal))
        if self.uploads.refused(refusal):
            return
        call = self._calls.pop(refusal.id, None)
        if call is None:
            return self._check_number(refusal.id)
        self._in_flight -= call.bills
        self.watch.refused(refusal.id, refusal.code)
        self.busy_at = time.monotonic() if call.bills and refusal.code == "busy" else self.busy_at
        call.refused(refusal)
        self._tell_room()

    def _new_prices(self, message: NewPrices) -> None:
        terms = quoted_terms(message, self.device, self.terms, self.payer.party.domain)
        for listener in list(self.listeners):
            listener.peer_prices(self, terms, message)

    def _stray(self, receipt: SignedReceipt | None) -> None:
        """A receipt for which nobody waits any more, as its job ended in the middle: it is answered all the same."""
        if receipt is not None and not self.payer.knows(receipt.sequence):
            self.orphans.append(receipt)
            if self.on_orphan is not None:
                self.on_orphan(self)

    def _check_number(self, number: int) -> None:
        """Answers to calls that were forgotten are ignored; to calls that never were, a fault."""
        if not 0 < number < self._next_id:
            raise PeerFault(f"{self.device} answers a call that was never made", id=number)

    def forget(self, question: Question) -> None:
        """Nobody waits for its answer any more."""
        for number, call in list(self._calls.items()):
            if call is question:
                del self._calls[number]
                self._in_flight -= call.bills

    def _settled(self, count: int) -> None:
        self._unsettled = max(0, self._unsettled - count)
        self._tell_room()

    def _tell_room(self) -> None:
        if not self._calls:
            self._quiet.set()
        for listener in self.listeners:
            listener.room_changed()
