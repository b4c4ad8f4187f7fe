"""What a juror does next: a function of the case as the ledger has it, of what it knows itself, and of the time.

A juror that was drawn waits for the unit's inputs until half the time to commit is over: whoever brings them later leaves it too little to
run the unit, so then it says that they were not there. It runs the unit, commits to what came out, and reveals when everybody has
committed, or may no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from surge.core.eip712 import address_word, word
from surge.core.keccak import keccak256
from surge.core.types import ZERO, Address

NO_INPUTS: Final = keccak256(b"inputs unavailable")
"""The witness of a juror that did not get the unit's inputs; its result is zeros, and its fuel 0."""


class Phase(IntEnum):
    """What a case waits for. The numbers are the court contract's."""

    NONE = 0
    """There is no such case."""
    ANSWER = 1
    """The accused's link."""
    DRAW = 2
    """The opener's secret."""
    COMMIT = 3
    """Jurors' commitments."""
    REVEAL = 4
    """Their answers."""
    EXTEND = 5
    """A larger jury, which the opener may call."""
    OVER = 6
    """Nothing: it is decided, or was dismissed."""


class Step(IntEnum):
    """What to do."""

    WAIT = 0
    RUN = 1
    """Run the unit."""
    GIVE_UP = 2
    """Decide that the inputs were not available."""
    COMMIT = 3
    REVEAL = 4
    ADVANCE = 5
    """Move the case past its deadline."""
    FORGET = 6
    """The juror has nothing more to do for it."""


PATIENCE: Final = 5
"""Seconds past a deadline for each juror before this one in the jury, before it moves the case on itself: one is enough."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A case as a juror sees it on the ledger."""

    phase: Phase
    deadline: int
    """Unix seconds, by the ledger's clock: when the phase ends."""
    window: int
    """Seconds that jurors have to commit."""
    mine: bool
    """Whether the juror is one of the present round's."""
    place: int
    """How many of the round's jurors were drawn before it."""
    commitment: bytes
    """What it committed to; zeros if nothing."""
    revealed: bool
    """Whether it has revealed."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a juror knows of a case itself."""

    inputs: bool
    """Whether the unit's inputs are here."""
    answered: bool
    """Whether its answer is settled, and written down with its salt."""


def commitment_of(case: int, juror: Address, salt: bytes, result: bytes, fuel: int, witness: bytes) -> bytes:
    """What a juror commits to, 32 bytes: it names juror and case, so that nobody can open a copy of it."""
    return keccak256(word(case) + address_word(juror) + salt + result + word(fuel) + witness)


def inputs_until(deadline: int, window: int) -> int:
    """Until when inputs are waited for, Unix seconds, in the phase in which jurors commit."""
    return deadline - window + window // 2


def next_step(sight: Sight, known: Knowledge, now: int) -> Step:
    """What a juror does at `now`, Unix seconds by the ledger's clock."""
    if sight.phase is Phase.OVER or not sight.mine:
        return Step.FORGET
    if sight.phase is Phase.COMMIT and now < sight.deadline:
        if sight.commitment != ZERO:
            return Step.WAIT
        if known.answered:
            return Step.COMMIT
        if known.inputs:
            return Step.RUN
        return Step.GIVE_UP if now >= inputs_until(sight.deadline, sight.window) else Step.WAIT
    may_reveal = sight.phase is Phase.COMMIT or (sight.phase is Phase.REVEAL and now < sight.deadline)
    if may_reveal and sight.commitment != ZERO and known.answered and not sight.revealed:
        return Step.REVEAL
    if sight.phase in (Phase.COMMIT, Phase.REVEAL, Phase.EXTEND) and now >= sight.deadline + PATIENCE * sight.place:
        return Step.ADVANCE
    return Step.WAIT
