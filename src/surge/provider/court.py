"""What a provider asks of the court, as `surge.ledger` answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from surge.core.court import Answer
from surge.core.signing import Signer
from surge.core.types import Address


class CaseState(Protocol):
    """A case, as `surge.ledger` reads it from the court."""

    @property
    def opener(self) -> Address:
        """The buyer."""
        ...

    @property
    def engine(self) -> bytes:
        """32 bytes."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that the unit may have at most."""
        ...

    @property
    def fuel_limit(self) -> int:
        """Fuel that it may burn at most."""
        ...

    @property
    def deadline(self) -> int:
        """Unix seconds: when the phase ends."""
        ...

    @property
    def round(self) -> int:
        """Of the jury, from 1."""
        ...

    @property
    def first(self) -> int:
        """The place of the round's first juror among all of the case's."""
        ...

    @property
    def phase(self) -> int:
        """A `core.court.Phase`."""
        ...


class Ballot(Protocol):
    """What a juror committed to and answered."""

    @property
    def round(self) -> int:
        """Of the jury it is in; 0 if it is in none."""
        ...

    @property
    def commitment(self) -> bytes:
        """32 bytes; zeros if it committed to nothing."""
        ...

    @property
    def answer(self) -> bytes:
        """32 bytes: the hash of its answer; zeros until it reveals."""
        ...


class Enlistment(Protocol):
    """What a juror says of itself."""

    @property
    def key(self) -> bytes:
        """Its public key for receiving, 32 bytes."""
        ...


class Periods(Protocol):
    """The court's periods."""

    @property
    def commit_seconds(self) -> int:
        """To commit, beside what the fuel takes."""
        ...

    @property
    def reveal_seconds(self) -> int:
        """To reveal."""
        ...

    @property
    def fuel_per_second(self) -> int:
        """How fast a juror must be."""
        ...

    def covered(self, seats: int) -> int:
        """The largest fuel limit of units whose greatest fine so many seats cover."""
        ...


class Court(Protocol):
    """What a juror asks of the court, as `surge.ledger` answers it."""

    async def clock(self) -> int:
        """Unix seconds of the ledger's last block."""
        ...

    async def parameters(self) -> Periods:
        """The court's periods."""
        ...

    async def duties(self, juror: Address) -> Sequence[int]:
        """Cases that a juror was ever drawn in."""
        ...

    async def case(self, case: int, /) -> CaseState:
        """A case. Raises `InvalidInput` if there is none."""
        ...

    async def jurors(self, case: int, /) -> Sequence[Address]:
        """Its jurors, of all rounds, as they were drawn."""
        ...

    async def ballot(self, case: int, juror: Address, /) -> Ballot:
        """A juror's ballot."""
        ...

    async def case_of(self, receipt: bytes) -> int | None:
        """The case of a receipt's digest; None if there is none."""
        ...

    async def enlistment_of(self, juror: Address) -> int | None:
        """The enlistment of who sits; None if it does not."""
        ...

    async def enlistment(self, number: int, /) -> Enlistment:
        """An enlistment."""
        ...

    async def enlist(self, signer: Signer, *, seats: int, engines: Sequence[bytes], memory: int, fuel_cap: int, key: bytes) -> object:
        """Take seats."""
        ...

    async def resign(self, signer: Signer) -> str:
        """Give them up."""
        ...

    async def commit(self, signer: Signer, case: int, salt: bytes, answer: Answer, /) -> str:
        """Commit to an answer."""
        ...

    async def reveal(self, signer: Signer, case: int, salt: bytes, answer: Answer, /) -> str:
        """Reveal it."""
        ...

    async def advance(self, signer: Signer, case: int, /) -> object:
        """Move a case past its deadline."""
        ...

    async def owed(self, account: Address) -> int:
        """Wei that an account may collect."""
        ...

    async def collect(self, signer: Signer) -> object:
        """Collect them."""
        ...
