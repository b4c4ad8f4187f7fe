"""The court on the ledger: seats, cases, what jurors say, and what is owed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

from surge.core.court import Answer, CourtParameters, Enlistment, Filing, commitment, next_size, secret_commitment
from surge.core.receipts import Receipt, Signed, Terms
from surge.core.signing import Signer
from surge.core.types import Address, Wei, address
from surge.errors import InvalidInput, LedgerError
from surge.ledger import answers
from surge.ledger.answers import Log, Mined
from surge.ledger.calls import Calls
from surge.ledger.cases import DRAWN, OPENED, REVEALED, Ballot, Case, OpenedCase, read_opened, read_revealed, topic_address, topic_number
from surge.ledger.interfaces import checksum

DEPTH = 256
"""Blocks behind the head that are looked at again: a chain may lose its last ones, and endpoints differ."""


class Court:
    """The court of a network; reached as `Ledger.court`. Everything raises `InvalidInput` on a network without one."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._parameters: CourtParameters | None = None
        self._seen: dict[tuple[str | None, ...], tuple[int, dict[int, None]]] = {}
        """Cases that a question for events found, and the block from which it asks again."""

    # Reading

    async def clock(self) -> int:
        """Unix seconds of the ledger's last block."""
        block = await self._calls.endpoints.call("eth_getBlockByNumber", "latest", False, read=answers.block)
        return int(block.timestamp)

    def wrote(self, commitment: bytes) -> bool:
        """Whether a transaction that opens a case with this commitment was written down here: then it is mined, or may be at any time."""
        return self._calls.sender.journal.has(commitment)

    async def parameters(self) -> CourtParameters:
        """The numbers it was founded with: they never change."""
        if self._parameters is None:
            self._parameters = CourtParameters(*(await self._read("parameters"))[0])
        return self._parameters

    async def case(self, number: int) -> Case:
        """A case's state. Raises `InvalidInput` if there is none."""
        (row,) = await self._read("case", number)
        found = Case(address(row[0]), address(row[1]), *row[2:])
        if not found.round:
            raise InvalidInput(f"there is no case {number}", case=number)
        return found

    async def case_count(self) -> int:
        """How many cases there were: their ids count from 1."""
        return await self._number("case_count")

    async def case_of(self, receipt: bytes) -> int | None:
        """The case about a receipt, by its digest; None if it was never disputed."""
        return await self._number("case_of", receipt) or None

    async def cases(self, *, opener: Address | None = None, accused: Address | None = None) -> list[OpenedCase]:
        """Every case that was opened, oldest first; by one opener, or against one operator, where they are named."""
        events = await self._events(OPENED, None, opener, accused)
        found = [read_opened(each) for each in events]
        return [each for each in found if opener in (None, each.opener) and accused in (None, each.accused)]

    async def about(self, number: int) -> OpenedCase:
        """What a case is about. Raises `InvalidInput` if there is none."""
        for event in await self._events(OPENED, number):
            found = read_opened(event)
            if found.number == number:
                return found
        raise InvalidInput(f"there is no case {number}", case=number)

    async def duties(self, juror: Address) -> list[int]:
        """The cases that a juror was drawn for, oldest first. Asked again and again it looks at new blocks, and a few before them."""
        return await self._numbers(DRAWN, juror)

    async def against(self, operator: Address) -> list[int]:
        """The cases that were opened against an operator, oldest first. Asked again and again it looks at new blocks, and a few before."""
        return await self._numbers(OPENED, None, operator)

    async def jurors(self, number: int) -> list[Address]:
        """A case's jurors of all rounds, in the order drawn."""
        return [address(each) for each in (await self._read("jurors", number))[0]]

    async def ballot(self, number: int, juror: Address) -> Ballot:
        """What a juror committed to and answered."""
        return Ballot(*(await self._read("ballot", number, checksum(juror)))[0])

    async def revealed(self, number: int) -> dict[Address, Answer]:
        """What a case's jurors of all rounds revealed."""
        return dict(read_revealed(each) for each in await self._events(REVEALED, number) if topic_number(each.topics[1]) == number)

    async def enlistment(self, number: int) -> Enlistment:
        """Seats that were taken. Raises `InvalidInput` if there are none of that number."""
        (row,) = await self._read("enlistment", number)
        found = Enlistment(address(row[0]), *row[1:])
        if not found.seats:
            raise InvalidInput(f"there is no enlistment {number}", enlistment=number)
        return found

    async def enlistment_of(self, juror: Address) -> int | None:
        """The enlistment of who sits; None for who does not."""
        return await self._number("enlistment_of", checksum(juror)) or None

    async def places(self, engine: bytes) -> int:
        """Seats of an engine, those that were given up included."""
        return await self._number("places", engine)

    async def seats(self, engine: bytes) -> list[int]:
        """The enlistment of each of an engine's places."""
        return [await self._number("seat", engine, place) for place in range(await self.places(engine))]

    async def owed(self, account: Address) -> Wei:
        """Wei that an account may collect."""
        return Wei(await self._number("owed", checksum(account)))

    async def debt(self, operator: Address) -> Wei:
        """Wei that is slashed of an operator's bond when the court releases it."""
        return Wei(await self._number("debts", checksum(operator)))

    # Writing

    async def enlist(self, signer: Signer, *, seats: int, engines: Sequence[bytes], memory: int, fuel_cap: int, key: bytes) -> int:
        """Take seats as a juror, backed by the signer's own stake; returns the enlistment. Raises `LedgerError` with the reason."""
        await self._write(signer, "enlist", seats, list(engines), memory, fuel_cap, key, purpose="taking seats in the court")
        found = await self.enlistment_of(signer.address)
        if found is None:
            raise LedgerError(f"{signer.address} took seats, and has none", account=signer.address)
        return found

    async def resign(self, signer: Signer) -> str:
        """Give the signer's seats up; returns the transaction. Their stake is released after the longest case."""
        return (await self._write(signer, "resign", purpose="giving seats up")).transaction

    async def unseat(self, signer: Signer, juror: Address) -> str:
        """End the seats of a juror whose own stake no longer covers them; returns the transaction."""
        return (await self._write(signer, "unseat", checksum(juror), purpose=f"unseating {juror}")).transaction

    async def release_seats(self, signer: Signer, enlistment: int) -> str:
        """Release the stake of seats that were given up long ago; returns the transaction."""
        return (await self._write(signer, "release_seats", enlistment, purpose="releasing seats")).transaction

    async def open(self, signer: Signer, filing: Filing) -> int:
        """Dispute a recorded receipt as its buyer, with another result and fuel; returns the case's id.

        The signer deposits what `CourtParameters.deposit` says. Whoever is to draw needs the filing's secret: keep it before.
        Raises `NotEnough`, `LedgerError` with the reason.
        """
        each = filing
        await self._calls.approve(signer, "court", (await self.parameters()).deposit(each.fuel_limit, each.jurors, each.worth))
        claim = (each.result, each.fuel, each.memory, each.fuel_limit, each.jurors, each.worth, secret_commitment(each.secret))
        recorded = (_receipt_row(each.signed.receipt), each.signed.signature, _terms_row(each.terms), each.terms_signature)
        shown = (each.accepted, each.amount, each.index, list(each.path))
        receipt = await self._write(signer, "open", *recorded, *shown, claim, purpose="opening a case")
        ours = self._calls.address("court")
        for event in receipt.logs:
            if event.address == ours and event.topics[:1] == (OPENED,):
                return read_opened(event).number
        raise LedgerError(f"{receipt.transaction} opened no case", hash=receipt.transaction)

    async def answer(self, signer: Signer, number: int, link: bytes) -> str:
        """Give the link of the accused's chain that a case asks for; returns the transaction."""
        return (await self._write(signer, "answer", number, link, purpose=f"answering case {number}")).transaction

    async def draw(self, signer: Signer, number: int, secret: bytes) -> list[Address]:
        """Draw a case's jury with the opener's secret; returns this round's jurors, none if there are too few: then the case is over."""
        before = len(await self.jurors(number))
        await self._write(signer, "draw", number, secret, purpose=f"drawing the jury of case {number}")
        case = await self.case(number)
        return [] if case.outcome else (await self.jurors(number))[before:]

    async def commit(self, signer: Signer, number: int, salt: bytes, answer: Answer) -> str:
        """Commit to an answer as a juror; returns the transaction. Keep the salt, 32 random bytes, and the answer until `reveal`."""
        hidden = commitment(number, signer.address, salt, answer)
        return (await self._write(signer, "commit", number, hidden, purpose=f"committing in case {number}")).transaction

    async def reveal(self, signer: Signer, number: int, salt: bytes, answer: Answer) -> str:
        """Reveal what was committed to; returns the transaction."""
        return (await self._write(signer, "reveal", number, salt, *astuple(answer), purpose=f"revealing in case {number}")).transaction

    async def advance(self, signer: Signer, number: int) -> Case:
        """Move a case past what is over; returns its state. Raises `LedgerError` where there is nothing to move."""
        await self._write(signer, "advance", number, purpose=f"moving case {number} on")
        return await self.case(number)

    async def extend(self, signer: Signer, number: int, secret: bytes) -> Case:
        """Call a larger jury as the opener, with another secret, which deposits its fees; returns the state. Raises `NotEnough`."""
        case = await self.case(number)
        await self._calls.approve(signer, "court", next_size(case.jurors) * case.fee)
        await self._write(signer, "extend", number, secret_commitment(secret), purpose=f"calling a larger jury in case {number}")
        return await self.case(number)

    async def equivocation(self, signer: Signer, one: Signed, other: Signed) -> str:
        """Report two receipts that a device gave one number; returns the transaction. A tenth of the slash is paid to the signer."""
        rows = (_receipt_row(one.receipt), one.signature, _receipt_row(other.receipt), other.signature)
        done = await self._calls.write(signer, "equivocations", "equivocation", *rows, purpose="reporting an equivocation")
        return done.transaction

    async def collect(self, signer: Signer) -> Wei:
        """Take what the signer is owed; returns the wei. Nothing is sent where nothing is owed."""
        amount = await self.owed(signer.address)
        if amount:
            await self._write(signer, "collect", purpose="collecting what the court owes")
        return amount

    # Inside

    async def _read(self, function: str, *args: Any) -> tuple[Any, ...]:
        return await self._calls.read("court", function, *args)

    async def _number(self, function: str, *args: Any) -> int:
        return int((await self._read(function, *args))[0])

    async def _write(self, signer: Signer, function: str, *args: Any, purpose: str) -> Mined:
        return await self._calls.write(signer, "court", function, *args, purpose=purpose)

    async def _numbers(self, kind: bytes, *people: Address | None) -> list[int]:
        """Cases with events of a kind about these people, of those ever seen; a case whose block the chain lost is among them."""
        key = (kind.hex(), *people)
        start, found = self._seen.get(key, (0, {}))
        head = await self._calls.endpoints.call("eth_blockNumber", read=answers.quantity)
        for event in await self._events(kind, None, *people, start=min(start, head)):
            topics = event.topics[2:]
            if len(topics) >= len(people) and all(who in (None, topic_address(at)) for who, at in zip(people, topics, strict=False)):
                found[topic_number(event.topics[1])] = None
        self._seen[key] = (max(start, head - DEPTH), found)
        return list(found)

    async def _events(self, kind: bytes, number: int | None, *people: Address | None, start: int = 0) -> list[Log]:
        """Events of a kind, about a case and people where they are named, from a block on."""
        ours = self._calls.address("court")
        topics: list[str | None] = ["0x" + kind.hex(), None if number is None else f"0x{number:064x}"]
        topics += [None if each is None else "0x" + each[2:].rjust(64, "0") for each in people]
        found: list[Log] = await self._calls.endpoints.call(
            "eth_getLogs",
            {"address": checksum(ours), "topics": topics, "fromBlock": hex(start), "toBlock": "latest"},
            read=answers.logs,
        )
        return [each for each in found if each.address == ours and each.topics[:1] == (kind,)]


def _receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    """A receipt as the contract takes it."""
    values = (getattr(receipt, each.name) for each in fields(receipt))
    return tuple(checksum(Address(value)) if isinstance(value, str) else value for value in values)


def _terms_row(terms: Terms) -> tuple[Any, ...]:
    """Terms as the contract takes them."""
    head = (terms.channel, terms.job, terms.offer, terms.engine)
    return (*head, *terms.prices.fields(), terms.window, terms.audit_seconds, terms.offline_seconds)
