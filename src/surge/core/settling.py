"""How the court's cases end, as its contract computes it: what a jury's answers come to, whom fines are taken of, and who gets what.

Source: `docs/decisions/0008-court.md`; the contract is `contracts/verdicts.vy`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from surge.core.court import IDLE_PART, PART, SIZES, UNAVAILABLE, Answer, Outcome, next_size

VERDICTS = (Outcome.ACQUITTED, Outcome.CONVICTED, Outcome.BOTH_WRONG)
"""Outcomes by which jurors are fined, if a jury gave them itself."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a jury's answers come to."""

    lead: Answer | None
    """What more than half of the jury said; None if there is no such answer."""
    kind: Outcome | None
    """What that says of the case."""
    verdict: Outcome | None
    """How the case ends by it; None if a larger jury may be called."""

    def let_stand(self) -> Outcome:
        """How a case ends if its opener calls no larger jury: it loses by a majority against it."""
        return self.kind if self.kind in (Outcome.ACQUITTED, Outcome.NO_INPUTS) else Outcome.UNRESOLVED

    def undrawn(self) -> Outcome:
        """How a case ends if too few jurors are found for the larger one."""
        return self.kind or Outcome.DISMISSED


def tally(answers: Sequence[Answer | None], *, own: tuple[bytes, int], claimed: tuple[bytes, int]) -> Tally:
    """Count a jury's answers, None for who did not reveal; `own` and `claimed` are the result and fuel that the parties say.

    A jury that is not of the largest size gives a verdict only if a majority answered, and all who answered agree.
    """
    counts = Counter(each for each in answers if each is not None)
    lead = next((each for each, votes in counts.items() if 2 * votes > len(answers)), None)
    kind = None if lead is None else _kind(lead, own, claimed)
    largest = len(answers) == SIZES[-1]
    if largest:
        return Tally(lead, kind, kind or Outcome.UNRESOLVED)
    agreed = len(counts.keys() - {UNAVAILABLE}) == 1
    return Tally(lead, kind, kind if kind in VERDICTS and agreed else None)


def _kind(answer: Answer, own: tuple[bytes, int], claimed: tuple[bytes, int]) -> Outcome:
    if answer == UNAVAILABLE:
        return Outcome.NO_INPUTS
    said = (answer.result, answer.fuel)
    return Outcome.ACQUITTED if said == own else Outcome.CONVICTED if said == claimed else Outcome.BOTH_WRONG


@dataclass(frozen=True, slots=True)
class Fines:
    """What fines come to, and who was right where somebody was fined."""

    taken: int = 0
    """Wei that was taken of seats."""
    own: int = 0
    """Wei of it that those who are fined lost themselves, and not who staked behind them."""
    later: int = 0
    """Jurors who are paid and sat in a jury after the first."""
    prized: int = 0
    """Jurors who are paid and sat in a jury in which somebody is fined."""


NO_FINES = Fines()
"""Where nobody dissented, or no jury gave the verdict."""


def fined(rounds: Sequence[Sequence[Answer | None]], winner: Answer, fee: int) -> tuple[Fines, list[list[int]]]:
    """The fines of a verdict that a jury gave, where seats cover them and are their jurors' own stake; and each juror's, by round."""
    each = [
        [next_size(len(jury)) * fee if answer is not None and answer not in (winner, UNAVAILABLE) else 0 for answer in jury]
        for jury in rounds
    ]
    right = [sum(answer == winner for answer in jury) for jury in rounds]
    taken = sum(map(sum, each))
    return Fines(taken, taken, sum(right[1:]), sum(count for count, wei in zip(right, each, strict=True) if any(wei))), each


@dataclass(frozen=True, slots=True)
class Split:
    """Who gets what at a case's end, in wei."""

    juror: int
    """Each juror who is paid."""
    opener: int
    """The opener, what it deposited included."""
    accused: int
    """The accused."""
    slashed: int
    """What is taken from the accused's bond."""
    burnt: int
    """What nobody gets."""
    prize: int = 0
    """Each juror who was right where others were not, on top."""


def split(
    outcome: Outcome,
    *,
    worth: int,
    fee: int,
    bond: int,
    pot: int,
    held: int,
    paid: int,
    own: int | None = None,
    fines: Fines = NO_FINES,
) -> Split:
    """Who gets what.

    `held` is what can be slashed of the accused's bond: what was reserved, or what is free besides; `paid` counts the jurors who are
    paid. What a loser loses beside the costs goes to the other side and to the jurors, at most a quarter each, and at least half is burnt.
    `own` is what of the accused's loss is its own stake: the opener's reward is no more than that, or one could have oneself convicted for
    the stake of others. Unless it is given, nobody else staked.

    Fines pay for the juries after the first. Of the rest, those who were right where others were not get a quarter, or what those who are
    fined lost themselves if that is less.
    """
    each = fee // IDLE_PART if outcome == Outcome.NO_INPUTS else fee
    costs = paid * each
    cover = min(fines.taken, fines.later * each)
    rest = fines.taken - cover
    prize = min(rest // PART, fines.own) // fines.prized if fines.prized else 0
    rest -= prize * fines.prized
    opener = pot - costs + cover
    if outcome in (Outcome.CONVICTED, Outcome.BOTH_WRONG, Outcome.NO_LINK):
        taken = min(held, worth + costs - cover)
        back = min(taken, costs - cover)
        lost = taken - back
        reward = 0 if outcome == Outcome.BOTH_WRONG else lost // PART if own is None else min(lost // PART, own)
        share = lost // PART // paid if paid else 0
        return Split(each + share, opener + bond + back + reward, 0, taken, lost - reward - share * paid + rest, prize)
    if outcome in (Outcome.ACQUITTED, Outcome.NO_SECRET):
        share = bond // PART // paid if paid else 0
        return Split(each + share, opener, bond // PART, 0, bond - bond // PART - share * paid + rest, prize)
    if outcome in (Outcome.NO_INPUTS, Outcome.UNFIT):
        return Split(each, opener, 0, 0, bond + rest, prize)
    return Split(each, opener + bond, 0, 0, rest, prize)
