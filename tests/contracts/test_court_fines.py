"""Juries that disagree: what each mix of answers comes to, who is fined, and that the contract does what its mirror in Python does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import boa
import pytest

from contracts_support import BUYER, OPERATOR, STRANGER, rich
from court_support import (
    ENGINE,
    ETHER,
    FALSE,
    FEE,
    JURORS,
    LAST_SECRET,
    LIMIT,
    OTHER_SECRET,
    PARAMETERS,
    SECRET,
    THIRD,
    TRUE,
    UNAVAILABLE,
    Courthouse,
)
from surge.core import court as rules
from surge.core import settling
from surge.core.court import Answer, Outcome, Phase
from surge.wallet import KeySigner

STAKE = PARAMETERS.seat_stake
WORTH = 3 * FEE
LIAR = replace(FALSE, witness=b"\x44" * 32)
SECRETS = (SECRET, OTHER_SECRET, LAST_SECRET)
OWN, CLAIMED = (FALSE.result, FALSE.fuel), (TRUE.result, TRUE.fuel)
BIG = 200 * ETHER
T, F, X, U, S = TRUE, FALSE, THIRD, UNAVAILABLE, None

Rounds = Sequence[Sequence[Answer | None]]


@pytest.fixture
def house(courthouse: Courthouse) -> Courthouse:
    courthouse.seat(75)
    courthouse.accuse(BIG)
    return courthouse


def tried(house: Courthouse, rounds: Rounds) -> tuple[int, list[list[KeySigner]]]:
    """A case whose juries answer like this, to its end: after the last of them no larger one is called."""
    case = house.open(jurors=len(rounds[0]), worth=WORTH)
    juries = []
    for number, answers in enumerate(rounds):
        if number:
            assert house.state(case).phase == Phase.EXTEND
            house.extend(case, SECRETS[number])
        juries.append(house.decide(case, answers, SECRETS[number]))
        said = settling.tally(answers, own=OWN, claimed=CLAIMED)
        assert (house.state(case).phase == Phase.EXTEND) == (said.verdict is None)
    if house.state(case).phase == Phase.EXTEND:
        house.let_stand(case)
    assert house.state(case).phase == Phase.OVER
    return case, juries


def check(house: Courthouse, rounds: Rounds) -> Outcome:
    """Try such a case, and compare everybody's money with what the mirror says."""
    with boa.env.anchor():
        supply = house.token.totalSupply()
        case, juries = tried(house, rounds)
        last = settling.tally(rounds[-1], own=OWN, claimed=CLAIMED)
        outcome = last.verdict or last.let_stand()
        assert Outcome(house.state(case).outcome) == outcome
        by_jury = last.verdict in settling.VERDICTS
        winner = last.lead if outcome <= Outcome.NO_INPUTS else None
        fines, each = settling.NO_FINES, [[0] * len(jury) for jury in rounds]
        if by_jury:
            assert winner is not None
            fines, each = settling.fined(rounds, winner, FEE)
        paid = [
            [answer == winner if winner else answer not in (None, UNAVAILABLE) and list(jury).count(answer) > 1 for answer in jury]
            for jury in rounds
        ]
        pot = sum(map(len, rounds)) * FEE
        split = settling.split(
            outcome, worth=WORTH, fee=FEE, bond=PARAMETERS.bond(WORTH), pot=pot, held=BIG, paid=sum(map(sum, paid)), fines=fines
        )
        slept = 0
        for jury, answers, pays, loses in zip(juries, rounds, paid, each, strict=True):
            for who, answer, pay, fine in zip(jury, answers, pays, loses, strict=True):
                sleeps = FEE if answer is None else 0
                slept += sleeps
                assert house.bonds.bond_of(who.address) == STAKE - min(STAKE, fine + sleeps)
                assert house.owed(who) == (split.juror + (split.prize if any(loses) else 0) if pay else 0)
                assert fine == 0 or answer not in (winner, UNAVAILABLE, None)
        assert house.owed(BUYER) == split.opener
        assert house.owed(OPERATOR) == split.accused
        assert BIG - house.bonds.bond_of(OPERATOR.address) == split.slashed
        assert supply - house.token.totalSupply() == split.burnt + slept
        assert house.place.balance(house.court) == sum(house.owed(who) for who in (BUYER, OPERATOR, *JURORS))
        assert house.bonds.reserved_by(house.court.address, OPERATOR.address) == 0
        return outcome


@pytest.mark.parametrize(
    ("answers", "verdict", "stands"),
    [
        ([T, T, T, U, U], Outcome.CONVICTED, None),
        ([F, F, F, S, U], Outcome.ACQUITTED, None),
        ([X, X, X, X, U], Outcome.BOTH_WRONG, None),
        ([T, T, T, T, F], None, Outcome.UNRESOLVED),
        ([F, F, F, F, T], None, Outcome.ACQUITTED),
        ([F, F, F, LIAR, U], None, Outcome.ACQUITTED),
        ([X, X, X, T, U], None, Outcome.UNRESOLVED),
        ([U, U, U, T, T], None, Outcome.NO_INPUTS),
        ([U, U, U, T, F], None, Outcome.NO_INPUTS),
        ([U, U, U, U, U], None, Outcome.NO_INPUTS),
        ([U, U, T, T, F], None, Outcome.UNRESOLVED),
        ([U, U, T, T, S], None, Outcome.UNRESOLVED),
        ([T, T, F, F, X], None, Outcome.UNRESOLVED),
        ([T, S, S, S, S], None, Outcome.UNRESOLVED),
    ],
)
def test_a_jury_gives_a_verdict_if_most_answered_and_all_of_them_agree(
    house: Courthouse, answers: list[Answer | None], verdict: Outcome | None, stands: Outcome | None
) -> None:
    said = settling.tally(answers, own=OWN, claimed=CLAIMED)
    assert said.verdict == verdict
    assert check(house, [answers]) == (verdict or stands)


@pytest.mark.parametrize(
    ("rounds", "outcome"),
    [
        ([[T, T, T, T, F], [T] * 15], Outcome.CONVICTED),
        ([[F] * 4 + [T], [F] * 15], Outcome.ACQUITTED),
        ([[F] * 4 + [T], [T] * 15], Outcome.CONVICTED),
        ([[F, F, T, T, X], [X] * 15], Outcome.BOTH_WRONG),
        ([[T] * 15, ], Outcome.CONVICTED),
        ([[F] * 14 + [T], [F] * 30 + [T] * 15], Outcome.ACQUITTED),
        ([[T] * 3 + [F] * 2, [T] * 8 + [F] * 7, [T] * 23 + [F] * 22], Outcome.CONVICTED),
        ([[F] * 5, ], Outcome.ACQUITTED),
        ([[U] * 5, [T] * 14 + [F], [T] * 40 + [U] * 5], Outcome.CONVICTED),
        ([[U] * 4 + [T], [U] * 15, [U] * 23 + [T] * 22], Outcome.NO_INPUTS),
        ([[T, T, T, T, F], [T] * 14 + [F], [T] * 22 + [F] * 22 + [X]], Outcome.UNRESOLVED),
        ([[T, T, T, T, F], [U] * 15], Outcome.NO_INPUTS),
        ([[T, T, T, T, F], [F] * 8 + [T] * 7], Outcome.ACQUITTED),
    ],
)  # fmt: skip
def test_everybody_has_what_the_mirror_says_after_one_two_and_three_juries(house: Courthouse, rounds: Rounds, outcome: Outcome) -> None:
    assert check(house, rounds) == outcome


def test_an_honest_juror_is_never_fined_whatever_others_say_as_long_as_most_of_the_largest_jury_are_honest(house: Courthouse) -> None:
    """Honest is who says the truth, or that the inputs did not come; the others say anything or nothing."""
    chance = random.Random(7)
    seen = set()
    for _ in range(10):
        rounds: list[list[Answer | None]] = []
        for size in (5, 15, 45):
            honest = chance.randint(0, size) if size < 45 else chance.randint(23, 45)
            rounds.append([*[T] * honest, *chance.choices([T, F, F, LIAR, X, U, S], k=size - honest)])
            chance.shuffle(rounds[-1])
            if settling.tally(rounds[-1], own=OWN, claimed=CLAIMED).verdict:
                break
        last = settling.tally(rounds[-1], own=OWN, claimed=CLAIMED)
        if len(rounds) == 3:
            assert last.verdict == Outcome.CONVICTED
            _, each = settling.fined(rounds, T, FEE)
            assert not any(fine for jury, row in zip(rounds, each, strict=True) for said, fine in zip(jury, row, strict=True) if said == T)
        seen.add(check(house, rounds))
    assert Outcome.CONVICTED in seen


def test_where_no_larger_jury_is_found_the_last_ones_majority_decides_and_nobody_is_fined(courthouse: Courthouse) -> None:
    courthouse.seat(12)
    courthouse.accuse()
    for answers, outcome in (
        ([T, T, T, T, F], Outcome.CONVICTED),
        ([F, F, F, T, T], Outcome.ACQUITTED),
        ([U, U, U, T, F], Outcome.NO_INPUTS),
    ):
        with boa.env.anchor():
            case = courthouse.open(worth=WORTH)
            jury = courthouse.decide(case, answers)
            courthouse.extend(case, OTHER_SECRET)
            courthouse.court.answer(case, courthouse.link(2))
            assert not courthouse.court.draw(case, OTHER_SECRET)
            assert courthouse.state(case).outcome == outcome == settling.tally(answers, own=OWN, claimed=CLAIMED).undrawn()
            assert {courthouse.bonds.bond_of(who.address) for who in jury} == {STAKE}
            assert courthouse.place.balance(courthouse.court) == sum(courthouse.owed(who) for who in (BUYER, OPERATOR, *JURORS))


@pytest.mark.parametrize("keeps", ["link", "secret"])
def test_who_keeps_its_part_of_a_larger_jury_loses_and_nobody_is_fined(house: Courthouse, keeps: str) -> None:
    case = house.open(worth=WORTH)
    jury = house.decide(case, [T, T, T, T, F])
    house.extend(case, OTHER_SECRET)
    if keeps == "secret":
        house.court.answer(case, house.link(2))
    house.let_stand(case)
    assert house.state(case).outcome == (Outcome.NO_LINK if keeps == "link" else Outcome.NO_SECRET)
    assert {house.bonds.bond_of(who.address) for who in jury} == {STAKE}
    assert [bool(house.owed(who)) for who in jury] == [True] * 4 + [False]


def test_fines_of_stake_that_is_others_bring_nobody_more_than_who_is_fined_loses_itself(house: Courthouse) -> None:
    """Of a thousand SURGE behind each juror ten are its own: a friend that was right would have a quarter of two fines."""
    rich(house.place, STRANGER, tokens=75 * 990 * ETHER)
    for who in JURORS[:75]:
        with boa.env.prank(STRANGER.address):
            house.bonds.stake(who.address, 990 * ETHER)
    case, (first, _) = tried(house, [[F, F, F, T, T], [T] * 15])
    own = 3 * (15 * FEE * 10 // 1000)
    got = house.owed(first[3]) - house.owed(first[4]) + 2 * (house.owed(first[4]) - FEE - WORTH // 4 // 17)
    assert house.state(case).outcome == Outcome.CONVICTED
    assert 0 <= own - got < 1_000
    assert own < 30 * FEE // 4


def test_an_operator_that_has_its_own_jurors_fined_for_a_friend_loses(house: Courthouse) -> None:
    """Any of a jury of five may be its own: whoever dissents, or is right beside dissenters, together they lose."""
    honest, _ = settling.fined([[T] * 5], T, FEE)
    alone = settling.split(Outcome.CONVICTED, worth=WORTH, fee=FEE, bond=ETHER, pot=5 * FEE, held=BIG, paid=5, fines=honest).juror
    for liars in range(1, 5):
        rounds = [[F] * liars + [T] * (5 - liars), [T] * 15]
        fines, each = settling.fined(rounds, T, FEE)
        paid = 20 - liars
        split = settling.split(Outcome.CONVICTED, worth=WORTH, fee=FEE, bond=ETHER, pot=20 * FEE, held=BIG, paid=paid, fines=fines)
        for friends in range(6 - liars):
            together = friends * (split.juror + split.prize) - liars * each[0][0]
            assert together < (friends + liars) * alone
            assert together + friends * alone < 0 or friends == 0 or liars < 2
    assert check(house, [[F, F, T, T, T], [T] * 15]) == Outcome.CONVICTED


def test_the_accused_pays_of_later_juries_only_what_fines_do_not(house: Courthouse) -> None:
    for rounds, costs in (
        ([[T, T, T, T, F], [T] * 15], 4),
        ([[U] * 4 + [T], [T] * 15], 16),
        ([[T] * 4 + [F], [T] * 14 + [F], [T] * 45], 4 + 14 + 45 - 59),
    ):
        with boa.env.anchor():
            before = house.bonds.bond_of(OPERATOR.address)
            tried(house, rounds)
            assert before - house.bonds.bond_of(OPERATOR.address) == WORTH + costs * FEE


def test_the_opener_pays_of_later_juries_only_what_fines_do_not(house: Courthouse) -> None:
    balance = house.place.balance(BUYER)
    tried(house, [[F, F, F, F, T], [F] * 15])
    with boa.env.prank(BUYER.address):
        house.court.collect()
    assert balance - house.place.balance(BUYER) == PARAMETERS.opener_bond + 4 * FEE


def test_a_case_is_opened_with_a_jury_of_the_first_two_sizes(house: Courthouse) -> None:
    for size in (1, 45):
        with boa.reverts("court: no such jury"):
            house.open(jurors=size)


def test_seats_cover_the_greatest_fine_of_the_largest_unit_they_take(courthouse: Courthouse) -> None:
    courthouse.bond(STRANGER, 3 * STAKE)
    most = PARAMETERS.covered(1)
    assert 45 * PARAMETERS.fee(most) <= STAKE < 45 * PARAMETERS.fee(most + 10**9)
    assert PARAMETERS.covered(3) == PARAMETERS.max_fuel
    with boa.env.prank(STRANGER.address):
        with boa.reverts("court: seats cover no fine"):
            courthouse.court.enlist(1, [ENGINE], 1 << 30, most + 10**9, b"\x09" * 32)
        with boa.reverts("court: seats cover no fine"):
            courthouse.court.enlist(2, [ENGINE], 1 << 30, 2**256 - 1, b"\x09" * 32)
        with boa.env.anchor():
            courthouse.court.enlist(1, [ENGINE], 1 << 30, most, b"\x09" * 32)
        courthouse.court.enlist(3, [ENGINE], 1 << 30, 2**256 - 1, b"\x09" * 32)


def test_a_juror_is_drawn_for_no_more_cases_at_once_than_its_seats_cover(courthouse: Courthouse) -> None:
    """A seat covers 45 fees and something: three juries of five. The fourth case finds nobody, until one of the others is over."""
    courthouse.seat(5)
    courthouse.accuse(BIG)
    most = STAKE // (15 * FEE)
    cases = [courthouse.open(worth=WORTH) for _ in range(most + 1)]
    for case in cases[:most]:
        assert {each.address for each in courthouse.drawn(case)} == {each.address for each in JURORS[:5]}
    with boa.env.anchor():
        courthouse.court.answer(cases[-1], courthouse.link(most + 1))
        assert not courthouse.court.draw(cases[-1], SECRET)
        assert courthouse.state(cases[-1]).outcome == Outcome.DISMISSED
    courthouse.vote(cases[0], courthouse.jury(cases[0]), [T] * 5)
    courthouse.court.advance(cases[0])
    assert courthouse.drawn(cases[-1])


def test_the_mirror_passes_over_whom_open_cases_may_fine_already(courthouse: Courthouse) -> None:
    courthouse.seat(8)
    courthouse.accuse(BIG)
    pledged: dict[int, int] = {}
    for number in range(4):
        case = courthouse.open(worth=WORTH, secret=SECRET)
        seed = rules.seed(SECRET, courthouse.link(number + 1), case)
        said = rules.draw(
            seed, 5, courthouse.seats(), courthouse.enlistments(), opened_at=courthouse.state(case).opened_at, memory=1 << 20,
            fuel_limit=LIMIT, excluded=(BUYER.address, OPERATOR.address), fine=PARAMETERS.fine(LIMIT, 5), pledged=pledged,
        )  # fmt: skip
        jury = [each.address for each in courthouse.drawn(case)]
        assert jury == said
        for who in jury:
            seat = courthouse.court.enlistment_of(who)
            pledged[seat] = pledged.get(seat, 0) + 15 * FEE


def test_seats_stay_reserved_while_a_case_is_open_that_may_fine_them(courthouse: Courthouse) -> None:
    courthouse.seat(24)
    courthouse.accuse(BIG)
    case = courthouse.open(worth=WORTH)
    jury = courthouse.decide(case, [T, T, T, T, F])
    number = courthouse.court.enlistment_of(jury[4].address)
    with boa.env.prank(jury[4].address):
        courthouse.court.resign()
    boa.env.time_travel(seconds=PARAMETERS.longest_case + 1)
    with boa.reverts("court: seats may still be drawn"):
        courthouse.court.release_seats(number)
    courthouse.court.advance(case)
    assert courthouse.court.release_seats(number) == STAKE


def test_only_a_slasher_says_what_it_lacks(courthouse: Courthouse) -> None:
    courthouse.enlist(STRANGER)
    for who in (STRANGER.address, OPERATOR.address):
        with boa.reverts("court: not a slasher"), boa.env.prank(who):
            courthouse.court.owe(STRANGER.address, 1)
    with boa.env.prank(courthouse.equivocations.address):
        courthouse.court.owe(STRANGER.address, 10**30)
    assert courthouse.court.debts(STRANGER.address) == STAKE
    assert courthouse.court.enlistment_of(STRANGER.address) == 0
