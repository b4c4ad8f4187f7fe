"""Calls under way at one provider: what is asked, and what becomes of the answer.

A `UnitCall` makes no task: the peer's one reader hands it what arrives, and it tells its owner when it is complete.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from surge.buyer.auditor import Asked, Audited, Party, audit
from surge.buyer.payer import Answer as Paid
from surge.buyer.pieces import ResultRow
from surge.core import canonical
from surge.core.messages import Answer, Output, Refusal, SignedReceipt, UnitDone, decode_unit_done
from surge.core.receipts import Receipt
from surge.core.units import Outcome, OutputVerifier
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable

if TYPE_CHECKING:
    from surge.buyer.peers import Peer


COMPUTE = "compute"
"""The service that units are asked of."""


class Owner(Protocol):
    """Who asked for a unit."""

    def unit_done(self, done: Done) -> Sequence[ResultRow] | None:
        """The unit ended, provably, and everything about the answer follows from what was asked.

        Returns what to journal with the receipt, which is paid; None where the owner answers the receipt itself.
        """
        ...

    def unit_refused(self, call: UnitCall, refusal: Refusal) -> None:
        """The provider did not run the unit, or it ended in a way that proves nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a unit."""

    call: UnitCall
    outcome: Outcome
    blob: bytes
    """Its output."""
    said: UnitDone
    """The answer's body."""
    audited: Audited
    """What its receipt states."""
    wire: SignedReceipt
    """The receipt as it came."""

    @property
    def receipt(self) -> Receipt:
        """The receipt."""
        return self.audited.receipt

    def paid(self, rows: Sequence[ResultRow], *, accepted: bool = True, believed: bool = True) -> Paid:
        """The receipt with its answer. What is refused, or not believed yet, is no outcome of the unit."""
        outcome = self.audited.stated if accepted and believed else None
        return Paid(self.audited.receipt, self.wire.signature, self.audited.digest, accepted, outcome, self.call.job, rows)


class Waiting(Protocol):
    """A call that waits for its answer."""

    method: str
    body: bytes
    bills: bool
    """Whether the provider counts it against the window."""
    service: str
    """The service it is asked of; empty for the peer's own."""

    def answered(self, answer: Answer, party: Party) -> Paid | None:
        """The answer; returns a receipt to settle once it is complete, None while output is missing or nothing is owed."""
        ...

    def output(self, piece: Output, party: Party) -> Paid | None:
        """A piece of the output."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """The provider refused."""
        ...

    def lost(self, error: SurgeError) -> None:
        """The provider is gone for good."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing more is to come."""
        ...


class UnitCall:
    """One unit at one provider."""

    service = ""

    __slots__ = (
        "_answer",
        "_at",
        "_output",
        "_verifier",
        "asked",
        "bills",
        "body",
        "complete",
        "digest",
        "id",
        "job",
        "lane",
        "lowered",
        "method",
        "number",
        "owner",
        "peer",
        "stage",
        "wanted",
        "whole",
    )

    def __init__(self, owner: Owner, job: bytes, number: int, lane: str, method: str, body: bytes, asked: Asked) -> None:
        self.id = 0
        """The call's id in the session; set when it is sent."""
        self.peer: Peer | None = None
        """Where it was sent."""
        self.owner = owner
        self.job = job
        self.number = number
        """The cut it is for."""
        self.lane = lane
        """The device."""
        self.lowered = False
        """Whether its fuel limit is below the user's."""
        self.whole = False
        """Whether a lowered limit was too low for its cut before, so that it got all that can be had."""
        self.stage = 0
        """The lane's when the unit was made: what is refused of an earlier one may be mended already."""
        self.method = method
        self.body = body
        self.asked = asked
        self.bills = True
        self.complete = False
        self.wanted = True
        """False once the answer is no longer needed: it is still audited and paid."""
        self.digest = b""
        """The receipt's digest, once there is one."""
        self._answer: tuple[UnitDone, Outcome, Answer] | None = None
        self._output = io.BytesIO()
        self._at = 0
        self._verifier: OutputVerifier | None = None

    def restart(self) -> None:
        """Forget what has come: the call is asked again in a new session."""
        self._answer, self._output, self._at, self._verifier = None, io.BytesIO(), 0, None

    def answered(self, answer: Answer, party: Party) -> Paid | None:
        """See `Waiting`. Raises `PeerFault` when anything in it is wrong."""
        if self._answer is not None:
            raise PeerFault("a call is answered twice", unit=self.asked.subject)
        done = decode_unit_done(answer.body)
        outcome = done.outcome()
        if answer.output and (done.output or answer.output != outcome.size()):
            raise PeerFault("an answer announces output that its outcome does not have", size=answer.output)
        self._answer = done, outcome, answer
        if answer.output:
            if answer.output > self.asked.limits.output:
                raise PeerFault("an answer announces more output than the unit's limit", size=answer.output)
            self._verifier = OutputVerifier(outcome)
            return None
        verifier = OutputVerifier(outcome)
        verifier.update(done.output)
        verifier.finish()
        return self._finish(done.output, party)

    def output(self, piece: Output, party: Party) -> Paid | None:
        """See `Waiting`."""
        if self._verifier is None or piece.offset != self._at:
            raise PeerFault("a piece of output comes out of order", offset=piece.offset, expected=self._at)
        if not piece.data:
            raise PeerFault("a piece of output is empty", offset=piece.offset)
        self._verifier.update(piece.data)
        self._output.write(piece.data)
        self._at += len(piece.data)
        if not piece.last:
            return None
        self._verifier.finish()
        return self._finish(self._output.getvalue(), party)

    def _finish(self, blob: bytes, party: Party) -> Paid | None:
        assert self._answer is not None
        done, outcome, answer = self._answer
        self._output = io.BytesIO()
        if answer.receipt is None:
            raise PeerFault("a unit's answer comes without a receipt", unit=self.asked.subject)
        audited = audit(self.asked, outcome, answer.receipt, party)
        self.complete = True
        self.digest = audited.digest
        answered = Done(self, outcome, blob, done, audited, answer.receipt)
        rows = self.owner.unit_done(answered)
        return None if rows is None else answered.paid(rows)

    def refused(self, refusal: Refusal) -> None:
        """See `Waiting`."""
        self.complete = True
        self.owner.unit_refused(self, refusal)

    def lost(self, error: SurgeError) -> None:
        """See `Waiting`: the job hears of the peer itself."""
        self.complete = True


class Question:
    """A call whose asker awaits the answer: preparing, setting up. No output follows it.

    An answer that comes when its asker has gone is for `late`, where there is one.
    """

    def __init__(
        self, method: str, body: bytes, *, bills: bool = False, late: Callable[[Answer], object] | None = None, service: str = ""
    ) -> None:
        self.service = service
        self.method = method
        self.body = body
        self.bills = bills
        self.late = late
        self.complete = False
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def restart(self) -> None:
        """Nothing is kept of an answer that did not come."""

    def answered(self, answer: Answer, party: Party) -> Paid | None:
        """See `Waiting`."""
        if answer.output:
            raise PeerFault("output is announced for a call that has none", size=answer.output)
        self.complete = True
        if not self.future.done():
            self.future.set_result(answer)
        elif self.late is not None:
            self.late(answer)
        return None

    def output(self, piece: Output, party: Party) -> Paid | None:
        """See `Waiting`."""
        raise PeerFault("output comes for a call that has none")

    def refused(self, refusal: Refusal) -> None:
        """See `Waiting`."""
        self.complete = True
        if not self.future.done():
            self.future.set_exception(Refused(refusal))

    def lost(self, error: SurgeError) -> None:
        """See `Waiting`."""
        self.complete = True
        if not self.future.done():
            self.future.set_exception(error)


async def answer_to(peer: Peer, question: Question, seconds: float) -> Answer:
    """Ask and wait for the answer; see `Peer.question`."""
    peer.ask(question)
    try:
        async with asyncio.timeout(seconds):
            return await question.future
    except TimeoutError as error:
        raise Unavailable(f"{peer.device} did not answer {question.method!r} within {seconds:.0f} s", device=peer.device) from error
    finally:
        if question.late is None:
            peer.forget(question)


def said_in(refusal: Refusal) -> Mapping[str, object]:
    """The details of a refusal by name; none where they cannot be read."""
    try:
        details = canonical.decode(refusal.details) if refusal.details else {}
    except InvalidInput:
        return {}
    return details if isinstance(details, dict) else {}


class Refused(SurgeError):
    """A provider refused a call. Stays inside the room: what it means depends on who asked."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"the provider refused ({refusal.code}): {refusal.text}", code=refusal.code)
        self.code = refusal.code
        self.refusal = refusal
