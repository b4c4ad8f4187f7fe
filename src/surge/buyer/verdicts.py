"""How a dispute stands, in sentences for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from surge.buyer.docket import FAILED, OPENING, Dispute
from surge.core.court import GROWTH, SIZES, UNAVAILABLE, Answer, CourtParameters, Outcome, Phase, next_size
from surge.core.eip712 import word
from surge.core.keccak import keccak256
from surge.core.settling import VERDICTS
from surge.core.text import counted
from surge.core.types import ZERO, Address
from surge.errors import LedgerError

_OUTCOMES: Mapping[int, str] = {
    Outcome.ACQUITTED: "The jury found what the receipt says: the accused is right, and this wallet loses its bond.",
    Outcome.CONVICTED: "The jury found what this wallet claimed: the accused loses, and pays the jury.",
    Outcome.BOTH_WRONG: "The jury found something else than either side said: the accused loses and pays the jury; this "
    "wallet has its money back, and no reward.",
    Outcome.NO_INPUTS: "A majority of the jury did not get the unit's inputs: this wallet loses its bond, and the accused nothing.",
    Outcome.NO_LINK: "The accused did not show the link of its hash chain in time, and loses.",
    Outcome.NO_SECRET: "This wallet did not tell its secret in time, and loses its bond.",
    Outcome.DISMISSED: "Too few jurors were found, so the case is dismissed, and everybody has their money back.",
    Outcome.UNFIT: "Most seats cannot run a unit of the size that this wallet named: it loses its bond, and the accused nothing.",
    Outcome.UNRESOLVED: "No jury gave a verdict, and no larger one was called: what is left of the deposits is returned.",
}


_REFUSALS = {
    "court: too few seats": "there are too few seats for such a jury: jurors take them with `surge provide --juror`",
    "court: too old": "the voucher that covers the receipt was redeemed too long ago",
    "court: no anchor": "the operator of the device registered no hash chain, and cannot be tried",
    "court: no operator's device": "no operator stands behind the device",
    "court: one's own work": "the device is this wallet's own",
    "court: fuel out of bounds": "it is about more fuel than the court hears",
    "court: worth out of bounds": "it may be about no more than such a jury allows: name less with --worth",
}
"""What the court's reasons mean, where an opener can meet them."""


def refusal(error: LedgerError) -> LedgerError:
    """Why the court did not take a case, in words: an error like this one."""
    why = _REFUSALS.get(str(error.details.get("reason", "")), error.message)
    return type(error)(f"the court did not take the case: {why}", **error.details)


def explain(dispute: Dispute, case: Any, jurors: Sequence[Mapping[str, Any]], now: int, trouble: str) -> list[str]:
    """What is known of a dispute. `case` is the court's, or None where it was not asked; `now` is the ledger's clock, in Unix seconds."""
    if dispute.state == FAILED:
        return ["The court did not take the case; nothing was paid but gas. The last event says why."]
    if dispute.state == OPENING:
        return ["The transaction that opens the case is on its way; it is sent until it is mined, or refused."]
    if case is None:
        told = _OUTCOMES.get(dispute.outcome)
        return [told] if told else [f"How it stands at the court cannot be seen now: {trouble or 'the network has none'}"]
    if case.phase == Phase.OVER:
        owed = [f"{dispute.collected} wei came back of it."] if dispute.collected else []
        return [_OUTCOMES.get(int(case.outcome), "It is over."), *_fined(jurors), *owed]
    left = f"until {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(case.deadline))}, in {_span(case.deadline - now)}"
    present = [each for each in jurors if each["round"] == case.round]
    committed, revealed = sum(each["committed"] for each in present), sum(each["revealed"] for each in present)
    missing = [each for each in present if not each["inputs"] and not each["committed"]]
    if case.phase == Phase.ANSWER:
        return [f"The accused has {left} to show the next link of its hash chain, with which the jury is drawn. If it does not, it loses."]
    if case.phase == Phase.DRAW:
        return [
            f"The accused has shown its link. This wallet has {left} to tell its secret, which draws the jury; if it does not, it loses."
        ]
    if case.phase == Phase.COMMIT:
        said = [f"{counted(len(present), 'juror')} run the unit again, and {committed} have committed to an answer; they have {left}."]
        if missing:
            verb = "does" if len(missing) == 1 else "do"
            said.append(
                f"{counted(len(missing), 'juror')} {verb} not have the inputs yet. If most never get them, this wallet loses its bond."
            )
        return said
    if case.phase == Phase.REVEAL:
        return [f"Jurors reveal what they committed to, {left}: {revealed} of {committed} have. {_decide(case.jurors)}"]
    found = _STANDS.get(case.lead_kind, "No answer had a majority of the jury")
    if dispute.most > case.jurors:
        follows = f"{next_size(case.jurors)} jurors are called, whose fees of {next_size(case.jurors) * case.fee} wei this wallet advances."
    else:
        loses = "this wallet loses its bond" if case.lead_kind in (Outcome.ACQUITTED, Outcome.NO_INPUTS) else "deposits return"
        follows = f"No larger one was asked for, so then the case ends, and {loses}."
    return [f"{found}, and not all agreed. This wallet could call a larger one {left}. {follows}"]


_STANDS = {
    Outcome.ACQUITTED: "Most of the jury found what the receipt says",
    Outcome.CONVICTED: "Most of the jury found what this wallet claims",
    Outcome.BOTH_WRONG: "Most of the jury found something else than either side says",
    Outcome.NO_INPUTS: "Most of the jury say that the inputs did not come",
}
"""What a jury's majority found that gave no verdict; the kinds of answers are numbered like outcomes."""


def _decide(jurors: int) -> str:
    """Who decides in a jury of this size."""
    if jurors == SIZES[-1]:
        return f"More than half of {jurors} decide."
    return f"More than half of {jurors} decide, if all who ran the unit agree; else a larger jury may be called."


def _fined(jurors: Sequence[Mapping[str, Any]]) -> list[str]:
    fined = [each["fine"] for each in jurors if each.get("fine")]
    if not fined:
        return []
    return [f"{counted(len(fined), 'juror')} answered otherwise, and paid {sum(fined)} wei for it, first of all for the larger juries."]


def fines_of(case: Any, ballots: Mapping[Address, Any]) -> dict[Address, int]:
    """Wei that a case's verdict fines jurors, as far as their seats cover it: who answered otherwise than the jury that gave it."""
    by_jury = case.answers == 1 or (case.answers > 1 and case.jurors == SIZES[-1])
    if case.phase != Phase.OVER or case.outcome not in VERDICTS or not by_jury:
        return {}
    wrong = {juror: each for juror, each in ballots.items() if each.answer not in (ZERO, UNAVAILABLE.digest, case.lead)}
    return {juror: next_size(case.jurors // GROWTH ** (case.round - each.round)) * case.fee for juror, each in wrong.items()}


def costs(parameters: CourtParameters, fuel_limit: int, jurors: int, most: int, worth: int) -> list[str]:
    """What opening a case takes, with a first jury of `jurors`, and one of `most` at most.

    >>> costs(CourtParameters(opener_bond=100, base_fee=7, gigafuel_fee=0), 10**9, 5, 5, 0)[0].partition(",")[0]
    'Opening the case deposits 135 wei: a bond of 100 wei'
    """
    fee, bond = parameters.fee(fuel_limit), parameters.bond(worth)
    said = [
        f"Opening the case deposits {bond + jurors * fee} wei: a bond of {bond} wei, which is lost to a jury that finds what the receipt "
        f"says, and the fees of {counted(jurors, 'juror')}, {fee} wei each. Gas is not in it."
    ]
    later = sum(size for size in SIZES if jurors < size <= most)
    if later:
        said.append(
            f"Where jurors disagree, a jury of up to {most} is called, for whose fees {later * fee} wei more are advanced at most. "
            "Who was wrong pays them back."
        )
    return said


def paid(parameters: CourtParameters, dispute: Dispute, case: Any) -> tuple[int, int]:
    """Wei that an opener deposited for a case so far: the bond, and the fees of its juries."""
    sizes = [size for size in SIZES if dispute.jurors <= size <= case.jurors]
    return int(parameters.bond(dispute.worth)), case.fee * sum(sizes)


def vote(answer: Answer | None, dispute: Dispute, own: bytes) -> str:
    """What a juror found, in words; empty before it revealed. `own` is the court's hash of what the receipt says."""
    if answer is None:
        return ""
    if answer == UNAVAILABLE:
        return "no inputs"
    if (answer.result, answer.fuel) == (dispute.result, dispute.fuel):
        return "as claimed"
    if keccak256(answer.result + word(answer.fuel)) == own:
        return "as the receipt"
    return f"{answer.result.hex()}, {answer.fuel:,} fuel"


def _span(seconds: int) -> str:
    """A span of time in words.

    >>> _span(30), _span(7200), _span(-5)
    ('30 s', '120 min', 'a moment')
    """
    if seconds <= 0:
        return "a moment"
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"
