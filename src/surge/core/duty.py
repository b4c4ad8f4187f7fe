"""What a juror does next: a function of the case as the ledger has it, of what it knows itself, and of the time.

A juror that was drawn waits for the unit's inputs until half the time to commit is over: whoever brings them later leaves it too little to
run the unit, so then it says that they were not there. It runs the unit, commits to what came out, and reveals when everybody has
committed, or may no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from surge.core.court import Phase
from surge.core.types import ZERO


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


class OpenerStep(IntEnum):
    """What the opener of a case does."""

    WAIT = 0
    DRAW = 1
    """Tell its secret, so that the jury is drawn."""
    DELIVER = 2
    """Bring the inputs to jurors who lack them."""
    ADVANCE = 3
    """Move the case past its deadline."""
    EXTEND = 4
    """Call a larger jury."""
    END = 5
    """Nothing is left to do but to collect."""


def opener_step(phase: Phase, deadline: int, now: int, *, all_said: bool, extend: bool) -> OpenerStep:
    """What an opener does at `now`, Unix seconds by the ledger's clock.

    `all_said` says whether everybody who committed has revealed; `extend` whether it would pay for a larger jury.
    """
    late = now >= deadline
    if phase is Phase.OVER:
        return OpenerStep.END
    if phase is Phase.DRAW and not late:
        return OpenerStep.DRAW
    if phase is Phase.COMMIT and not late:
        return OpenerStep.DELIVER
    if phase is Phase.EXTEND and not late:
        return OpenerStep.EXTEND if extend else OpenerStep.WAIT
    if late or (phase is Phase.REVEAL and all_said):
        return OpenerStep.ADVANCE
    return OpenerStep.WAIT
