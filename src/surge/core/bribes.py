"""What it takes to buy a verdict of the court, and what that moves: the first is always more.

Somebody that buys jurors pays each, beforehand, at least what it gives up by not answering truly, where all others that were bought do as
agreed. A larger jury is drawn only after the one before it has answered, so that nobody can promise it to a juror who dissents: that one
asks for its fine. Whoever promises to make good for a fine, and pays only if the bribe fails, is not in this; what else is not, the
decision about the court says (`docs/decisions/0008-court.md`).

Where the opener calls a larger jury whenever one gave no verdict, and there are enough jurors for it, a verdict is had in these ways:

1. a jury of the first or second size is bought whole: enough of it answer falsely to be more than half, and the others say that the inputs
   did not come. Each that answers falsely goes without the prize that it had for being alone with the truth, its part of the others' fines;
   each that says nothing goes without the fee, too;
2. a jury of the first or second size is kept from a verdict, by one that dissents, or by more than half that say the inputs did not come,
   and are paid for that if all goes well; the next one is bought;
3. more than half of the largest jury are bought for a fee each.
"""

from __future__ import annotations

from surge.core.court import GROWTH, IDLE_PART, PART, SIZES, CourtParameters, Outcome
from surge.core.types import Wei

BOUGHT = (Outcome.ACQUITTED, Outcome.CONVICTED, Outcome.NO_INPUTS)
"""Verdicts that somebody could want: the accused the first and the last, the opener the second."""


def cheapest_bribe(court: CourtParameters, fuel_limit: int, jurors: int, outcome: Outcome) -> Wei:
    """Wei that buying an outcome of a case opened with so many jurors takes at least."""
    if outcome not in BOUGHT:
        raise ValueError(f"nobody buys {outcome.name}")
    fee = court.fee(fuel_limit)
    idle = fee - fee // IDLE_PART
    majority = jurors // 2 + 1
    if jurors == SIZES[-1]:
        return Wei(majority * (idle if outcome == Outcome.NO_INPUTS else fee))
    stalled = min(court.fine(fuel_limit, jurors), majority * idle)
    later = stalled + cheapest_bribe(court, fuel_limit, GROWTH * jurors, outcome)
    if outcome == Outcome.NO_INPUTS:
        return Wei(later)
    return Wei(min(later, *(whole_jury(court, fuel_limit, jurors, false) for false in range(majority, jurors + 1))))


def whole_jury(court: CourtParameters, fuel_limit: int, jurors: int, false: int) -> Wei:
    """Wei for a whole jury of the first or second size, of whom so many answer falsely, and the others that the inputs did not come."""
    fee, fine = court.fee(fuel_limit), court.fine(fuel_limit, jurors)
    later = min(GROWTH * jurors, SIZES[-1]) * fee

    def prize(others: int) -> int:
        """Of whom alone answers truly, where so many others are fined."""
        return max(0, others * fine - later) // PART

    return Wei(false * prize(false - 1) + (jurors - false) * (fee + prize(false)))


def verdict_moves(court: CourtParameters, fuel_limit: int, jurors: int, worth: int, outcome: Outcome) -> Wei:
    """Wei that who buys an outcome has more than by the true verdict, which the first jury would give.

    An acquittal of who is guilty saves the worth and the jury's costs, and brings a part of the opener's bond. That the inputs did not come
    brings nothing of it. A conviction of who is innocent saves an opener its bond and the costs, and brings a part of the worth.
    """
    costs, bond = jurors * court.fee(fuel_limit), court.bond(worth)
    if outcome == Outcome.ACQUITTED:
        return Wei(worth + costs + bond // PART)
    if outcome == Outcome.NO_INPUTS:
        return Wei(worth + costs)
    if outcome == Outcome.CONVICTED:
        return Wei(bond + costs + worth // PART)
    raise ValueError(f"nobody buys {outcome.name}")
