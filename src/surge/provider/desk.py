"""The desk of one channel: orders come in, are done once whoever asks how often, and are answered.

The desk outlives sessions: what was begun is finished and its receipt written, and a buyer that comes back finds its answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from surge.core.messages import Acknowledge, Answer, NewPrices, Refusal, ToBuyer, Vouched
from surge.core.pricing import Prices
from surge.core.receipts import Signed, Terms
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.provider.account import Account, on_wire
from surge.provider.journal import Journal
from surge.provider.service import Context, Order, Refused, Reply, Weight
from surge.provider.tally import Tally
from surge.store import Blobs

log = logging.getLogger("surge.provider")

CALLED_OFF = Refused("cancelled", "it was called off before it began")

MAX_CALLERS = 16
"""Calls of one session that wait for the same work: an honest buyer makes one, and may make another when it called that off."""

MAX_FREE = 64
"""Orders under way at a desk that take nothing of the buyer's window, beyond as many as its window: as a session's calls are bounded."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Port(Protocol):
    """Where answers go: the session that has the channel now."""

    def post(self, message: ToBuyer) -> None:
        """Send a message, in order; dropped when the session has ended."""
        ...

    def stream(self, number: int, path: Path, size: int) -> None:
        """Send a file as the output of a call, behind what was posted."""
        ...

    def want(self, content: bytes, size: int, job: bytes) -> None:
        """Let a content be uploaded."""
        ...

    def replaced(self) -> None:
        """Another session has the channel now."""
        ...


@dataclass(slots=True, eq=False)
class Work:
    """An order under way."""

    order: Order
    callers: list[tuple[Port, int]]
    """Who waits for the answer: a session and the call's id."""
    task: asyncio.Task[None] | None = None
    withdrawn: bool = False
    weight: Weight = Weight.FREE
    """What it takes of the buyer's window now."""
    since: float = field(default_factory=time.monotonic)
    """By the monotonic clock."""


class Desk:
    """See the module."""

    def __init__(
        self, account: Account, contents: Blobs, journal: Journal, tally: Tally, spawn: Spawn, idle: Callable[[Desk], None]
    ) -> None:
        self.account = account
        self.port: Port | None = None
        self.closed_because = ""
        """Why no new work is taken here; empty while it is."""
        self._journal = journal
        self._tally = tally
        self._spawn = spawn
        self._idle = idle
        self._works: dict[bytes, Work] = {}
        self._loose: set[Work] = set()
        self.context = Context(
            channel=account.row.id,
            buyer=account.buyer.address,
            contents=contents,
            prices=account.prices,
            want=self._want,
            quote=self._quote,
            issued=lambda kind, subject: journal.issued(account.row.number, kind, subject),
            cover=account.cover,
            session_key=account.channel.session_key,
        )

    @property
    def works(self) -> list[Work]:
        """What is under way."""
        return [*self._works.values(), *self._loose]

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._works or self._loose)

    @property
    def doing(self) -> str:
        """What is under way, in words."""
        begun, oldest = sum(work.order.begun for work in self.works), min(work.since for work in self.works)
        return f"{len(self.works)} calls are under way, {begun} of them begun, the oldest for {time.monotonic() - oldest:.0f} s"

    # Sessions

    def attach(self, port: Port) -> None:
        """A session takes the channel; the one before loses it."""
        before, self.port = self.port, port
        if before is not None:
            self._leave(before)
            before.replaced()

    def detach(self, port: Port) -> None:
        """A session ended."""
        self._leave(port)
        if self.port is port:
            self.port = None
            self._journal.heard(self.account.row.number, int(time.time()))
            self._idle(self)

    def _leave(self, port: Port) -> None:
        """A session waits for nothing more. Units go on, for whoever asks again; what is free and not begun is called off."""
        for work in self.works:
            before = len(work.callers)
            work.callers = [caller for caller in work.callers if caller[0] is not port]
            free = work.order.weight is Weight.FREE and not work.order.begun
            if before and not work.callers and free and work.task is not None:
                self._forget(work)  # at once, so that a call that comes next does not join it
                work.withdrawn = True
                work.task.cancel()

    def post(self, message: ToBuyer) -> None:
        """Tell the buyer, if it is there."""
        if self.port is not None:
            self.port.post(message)

    def _want(self, content: bytes, size: int, job: bytes) -> None:
        if self.port is not None:
            self.port.want(content, size, job)

    def _quote(self, job: bytes, prices: Prices) -> None:
        def written(terms: Terms, signature: bytes) -> None:
            self.post(NewPrices(terms.encode(), signature))

        self.account.quote(job, prices, written)

    # Orders

    def take(self, port: Port, number: int, order: Order) -> None:
        """Do an order for call `number`, or answer it again. Raises `Refused`.

        1. What is under way is not begun again: its answer goes to everyone who asked, up to a bound.
        2. What was answered and not acknowledged is answered the same.
        3. The channel takes work and is not overdrawn, at prices that were agreed, and its receipt could be written; not too much that
           takes nothing of the window is under way.
        4. The deposit is there and covers another unit like the last, or the ledger is asked whether it is and does.
        5. The buyer's window has room.
        """
        subject, account = order.subject, self.account
        if subject is not None:
            # 1
            if (work := self._works.get(subject)) is not None:
                if len(work.callers) >= MAX_CALLERS:
                    raise Refused("busy", f"{len(work.callers)} calls wait for this already")
                work.callers.append((port, number))
                return
            # 2
            if (sequence := account.answers.get(subject)) is not None:
                self._answer_again(port, number, sequence)
                return
        # 3
        self._check_open(order)
        is_free = order.weight is Weight.FREE
        is_short = account.lost or (not is_free and account.left < max(account.typical, 1))
        if is_free or is_short:
            self._check_beside()
        work = Work(order, [(port, number)])
        if is_short:
            # 4
            self._start(work, self._after_top_up(work))
        else:
            # 5
            self._begin(work)
            self._start(work, self._do(work))

    def _check_open(self, order: Order) -> None:
        account = self.account
        if account.channel.stopped:
            raise Refused("invalid", f"the channel takes no more work: {account.channel.stopped}")
        if account.overdrawn:
            raise Refused("window", "more is unanswered here than the channel pays anyway: acknowledge what you were given first")
        if self.closed_because and not order.lasting:
            raise Refused("draining", self.closed_because)
        if self._journal.batches.fault:
            raise Refused("storage", "no receipt can be written here now")
        if (quote := account.quotes.get(order.job)) is not None:
            self.post(NewPrices(quote[0].encode(), quote[1]))
            raise Refused("price", "the job's fuel takes longer than the offer states: agree to its new price first")

    def _check_beside(self) -> None:
        beside = sum(work.weight is Weight.FREE for work in self.works)
        if beside >= self.account.window + MAX_FREE:
            raise Refused("busy", f"{beside} calls that take nothing of the window are under way")

    def withdraw(self, port: Port, number: int) -> None:
        """The answer to a call is no longer wanted: what has not begun is called off."""
        for work in self.works:
            if (port, number) in work.callers:
                if work.callers == [(port, number)] and work.task is not None and not work.order.begun:
                    work.withdrawn = True
                    work.task.cancel()
                return

    def _start(self, work: Work, doing: Coroutine[Any, Any, None]) -> None:
        if work.order.subject is None:
            self._loose.add(work)
        else:
            self._works[work.order.subject] = work
        work.task = self._spawn(doing)
        work.task.add_done_callback(lambda _: self._ended(work))

    def _begin(self, work: Work) -> None:
        self.account.buyer.begin(work.order.weight)
        work.weight = work.order.weight

    def _release(self, work: Work) -> None:
        self.account.buyer.release(work.weight)
        work.weight = Weight.FREE

    def _ended(self, work: Work) -> None:
        """Its task ended; one that was called off in the moment it was spawned never ran, and answers here."""
        if work.task is not None and work.task.cancelled() and work in self.works:
            self._refuse(work, CALLED_OFF)

    async def _after_top_up(self, work: Work) -> None:
        account = self.account
        await account.look_at_deposit()
        try:
            if account.lost:
                raise Refused("deposit", "the ledger lost the channel: work waits until its opening is mined again", left=0, deposit=0)
            if work.order.weight is not Weight.FREE and account.left < max(account.typical, 1):
                text, left = "the channel's deposit does not cover another unit", max(account.left, 0)
                raise Refused("deposit", text, left=left, deposit=account.channel.deposit)
            self._begin(work)
        except Refused as refused:
            self._refuse(work, refused)
            return
        await self._do(work)

    async def _do(self, work: Work) -> None:
        reply = None
        try:
            reply = await work.order.run()
            if reply.claim is None:
                self._release(work)
                self._finish(work, reply, None)
                return

            def written(signed: Signed, error: SurgeError | None) -> None:
                if error is None:
                    self._finish(work, reply, signed)
                else:
                    self._refuse(work, Refused("storage", error.message))

            await self.account.owe(reply.claim, reply, written)
            self._tally.did(reply.claim)
        except Refused as refused:
            self._refuse(work, refused)
        except asyncio.CancelledError:
            self._refuse(work, CALLED_OFF)
            if not work.withdrawn:
                raise
        except PeerFault as fault:
            self._refuse(work, Refused("invalid", fault.message))
        except Unavailable as error:
            self._refuse(work, Refused("busy", error.message))
        except OSError as error:
            log.warning("an order of %s failed: %s", self.account.buyer.address, error)
            self._refuse(work, Refused("storage", f"no room for the output: {error.strerror}"))
        except Exception as error:
            log.exception("an order of %s failed", self.account.buyer.address)
            self._refuse(work, Refused("internal", f"the device failed: {type(error).__name__}"))
        finally:
            if reply is not None and reply.reserve is not None:
                reply.reserve.release()

    def acknowledge(self, message: Acknowledge) -> None:
        """Take the buyer's answers to receipts. Raises `PeerFault` when they are wrong."""

        def written(count: int, window: int) -> None:
            self.post(Vouched(count, window))
            self._idle(self)

        self.account.acknowledge(message, written)

    # Answers

    def _finish(self, work: Work, reply: Reply, signed: Signed | None) -> None:
        """The receipt, if there is one, is on disk: answer."""
        self._forget(work)
        receipt = None if signed is None else on_wire(signed)
        for port, number in work.callers:
            port.post(Answer(number, reply.body, receipt, reply.output_size))
            if reply.output_size and signed is not None:
                port.stream(number, self.account.output(signed.receipt.sequence), reply.output_size)
        if self.port is None:
            self._idle(self)

    def _answer_again(self, port: Port, number: int, sequence: int) -> None:
        kept = self._journal.answer(self.account.row.number, sequence)
        waiting = self.account.channel.pending.get(sequence)
        if kept is None or waiting is None:
            raise Refused("internal", "the answer is no longer here")
        body, size = kept
        path = self.account.output(sequence)
        if size and not path.is_file():
            raise Refused("internal", "the answer's output is no longer here")
        port.post(Answer(number, body, on_wire(waiting.signed), size or 0))
        if size:
            port.stream(number, path, size)

    def _refuse(self, work: Work, refused: Refused) -> None:
        self._forget(work)
        self._release(work)
        self._tally.refused(refused.code, refused.message)
        for port, number in work.callers:
            port.post(Refusal(number, refused.code, refused.message[:4096], refused.encoded()))
        if self.port is None:
            self._idle(self)

    def _forget(self, work: Work) -> None:
        if work.order.subject is None:
            self._loose.discard(work)
        elif self._works.get(work.order.subject) is work:
            del self._works[work.order.subject]
