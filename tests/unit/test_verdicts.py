"""How a dispute stands, in words."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from surge.buyer.docket import FAILED, OPEN, OPENING, OVER, Dispute
from surge.buyer.verdicts import explain, fines_of, paid, vote
from surge.core.court import EMBEDDED, UNAVAILABLE, Answer, Outcome, Phase
from surge.core.eip712 import word
from surge.core.keccak import keccak256
from surge.core.types import ZERO, Address

DISPUTE = Dispute(b"r" * 32, 7, OPEN, 0.0, "0x" + "ac" * 20, b"x" * 32, 5, 5, 5, 10**17, (b"s" * 32,), 0, 0)
NOW = 1_800_000_000


def case(phase: Phase, **changes: Any) -> Any:
    said = {"phase": int(phase), "deadline": NOW + 30, "round": 1, "jurors": 5, "outcome": 0, "lead_kind": 0, "fee": 10, "answers": 2}
    return SimpleNamespace(**{**said, **changes})


def jurors(*, inputs: int = 5, committed: int = 0, revealed: int = 0) -> list[dict[str, Any]]:
    return [{"round": 1, "inputs": at < inputs, "committed": at < committed, "revealed": at < revealed} for at in range(5)]


@pytest.mark.parametrize(
    ("found", "jury", "words"),
    [
        (case(Phase.ANSWER), [], "The accused has until .*, in 30 s to show the next link .* it loses"),
        (case(Phase.DRAW), [], "This wallet has until .* to tell its secret"),
        (case(Phase.COMMIT), jurors(inputs=5, committed=2), "^5 jurors run the unit again, and 2 have committed[^;]*; they have .*30 s.$"),
        (case(Phase.COMMIT), jurors(inputs=4), "1 juror does not have the inputs yet"),
        (case(Phase.COMMIT), jurors(inputs=1), "4 jurors do not have the inputs yet"),
        (case(Phase.REVEAL), jurors(committed=4, revealed=3), "3 of 4 have. More than half of 5 decide, if all who ran the unit agree"),
        (case(Phase.REVEAL, jurors=45), jurors(committed=4, revealed=3), "More than half of 45 decide.$"),
        (case(Phase.EXTEND), jurors(), "No answer had a majority.*No larger one was asked for, .* deposits return"),
        (case(Phase.EXTEND, lead_kind=1), jurors(), "found what the receipt says, and not all agreed.* this wallet loses its bond"),
        (case(Phase.EXTEND, lead_kind=2), jurors(), "found what this wallet claims, and not all agreed.* deposits return"),
        (case(Phase.EXTEND, lead_kind=4), jurors(), "say that the inputs did not come.* this wallet loses its bond"),
    ],
)
def test_an_open_case_says_who_must_do_what_until_when(found: Any, jury: list[dict[str, Any]], words: str) -> None:

    said = " ".join(explain(DISPUTE, found, jury, NOW, ""))
    assert re.search(words, said), said


def test_a_larger_jury_is_said_to_follow_where_it_was_asked_for() -> None:
    said = explain(replace(DISPUTE, most=15), case(Phase.EXTEND), [], NOW, "")[0]
    assert "15 jurors are called, whose fees of 150 wei this wallet advances" in said


WINNER, OTHER = Answer(b"x" * 32, 5, b"w" * 32).digest, Answer(b"x" * 32, 6, b"w" * 32).digest


def ballots(*said: tuple[int, bytes]) -> dict[Address, Any]:
    return {Address(f"0x{at:040x}"): SimpleNamespace(round=round_, answer=answer) for at, (round_, answer) in enumerate(said)}


@pytest.mark.parametrize(
    ("found", "fines"),
    [
        (case(Phase.OVER, round=2, jurors=15, outcome=2, lead=WINNER, answers=1), [0, 150, 0, 0, 450]),
        (case(Phase.OVER, round=3, jurors=45, outcome=1, lead=WINNER, answers=2), [0, 150, 0, 0, 450]),
        (case(Phase.OVER, round=2, jurors=15, outcome=1, lead=WINNER, answers=2), []),  # its opener let the majority stand
        (case(Phase.OVER, round=3, jurors=45, outcome=1, lead=WINNER, answers=0), []),  # nobody was found for the largest jury
        (case(Phase.OVER, round=2, jurors=15, outcome=4, lead=UNAVAILABLE.digest, answers=1), []),
        (case(Phase.EXTEND, round=2, jurors=15, lead=WINNER, answers=2), []),
    ],
)
def test_who_answered_otherwise_than_a_jurys_verdict_is_fined(found: Any, fines: list[int]) -> None:
    every = ballots((1, WINNER), (1, OTHER), (1, UNAVAILABLE.digest), (1, ZERO), (2, OTHER))
    paid = fines_of(found, every)
    assert [paid.get(who, 0) for who in every] == (fines or [0] * 5)
    rows = [{"round": each.round, "fine": paid.get(who, 0)} for who, each in every.items()]
    if found.phase == Phase.OVER and fines:
        assert "2 jurors answered otherwise, and paid 600 wei" in explain(replace(DISPUTE, state=OVER), found, rows, NOW, "")[1]


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_words(outcome: Outcome) -> None:
    over = replace(DISPUTE, state=OVER, outcome=int(outcome), collected=5)
    said = explain(over, case(Phase.OVER, outcome=int(outcome)), [], NOW, "")
    assert len(said) == 2
    assert said[1] == "5 wei came back of it."
    assert explain(over, None, [], 0, "no endpoint answers") == said[:1]


def test_what_is_not_known_is_said() -> None:
    assert "on its way" in explain(replace(DISPUTE, state=OPENING), None, [], 0, "")[0]
    assert "did not take the case" in explain(replace(DISPUTE, state=FAILED), None, [], 0, "")[0]
    assert "no endpoint answers" in explain(DISPUTE, None, [], 0, "no endpoint answers")[0]


def test_a_vote_is_said_in_words() -> None:
    own = keccak256(b"o" * 32 + word(9))
    assert vote(None, DISPUTE, own) == ""
    assert vote(UNAVAILABLE, DISPUTE, own) == "no inputs"
    assert vote(Answer(b"x" * 32, 5, b"w" * 32), DISPUTE, own) == "as claimed"
    assert vote(Answer(b"o" * 32, 9, b"v" * 32), DISPUTE, own) == "as the receipt"
    assert vote(Answer(b"x" * 32, 1234, b"w" * 32), DISPUTE, own) == f"{b'x'.hex() * 32}, 1,234 fuel"


def test_what_was_deposited_so_far_is_the_bond_and_every_jurys_fees() -> None:
    assert paid(EMBEDDED, DISPUTE, case(Phase.COMMIT)) == (10**17, 50)
    assert paid(EMBEDDED, replace(DISPUTE, worth=10**18), case(Phase.COMMIT, jurors=45, round=3)) == (10**18, 650)
    assert paid(EMBEDDED, replace(DISPUTE, jurors=15), case(Phase.COMMIT, jurors=15)) == (10**17, 150)
