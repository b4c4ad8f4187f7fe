"""Whole cases, from the opening to the verdict: what each verdict does, and who gets what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import boa
import pytest

from contracts_support import BUYER, OPERATOR, STRANGER
from court_support import (
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
    salt,
)
from surge.core import court as rules
from surge.core import settling
from surge.core.court import Outcome, Phase
from surge.wallet import KeySigner

STAKE = PARAMETERS.seat_stake
WORTH = 3 * FEE
LIAR = replace(FALSE, witness=b"\x44" * 32)


@pytest.fixture
def house(courthouse: Courthouse) -> Courthouse:
    courthouse.seat(24)
    courthouse.accuse()
    return courthouse


def settled(
    house: Courthouse,
    case: int,
    outcome: Outcome,
    paid: list,
    *,
    worth: int = WORTH,
    pot: int = 5 * FEE,
    held: int | None = None,
    fines: settling.Fines = settling.NO_FINES,
    prized: Sequence[KeySigner] = (),
) -> settling.Split:
    """Check that a case is over and that everybody has what the rules say; returns who gets what."""
    found = house.state(case)
    assert (found.phase, found.outcome) == (Phase.OVER, outcome)
    held = worth + pot if held is None else held
    bond = PARAMETERS.bond(worth)
    split = settling.split(outcome, worth=worth, fee=FEE, bond=bond, pot=pot, held=held, paid=len(paid), fines=fines)
    for who in paid:
        assert house.owed(who) == split.juror + (split.prize if who in prized else 0)
    assert house.owed(BUYER) == split.opener
    assert house.owed(OPERATOR) == split.accused
    given = split.juror * len(paid) + split.prize * len(prized) + split.opener + split.accused
    assert given + split.burnt == bond + pot + split.slashed + fines.taken
    assert house.place.balance(house.court) == sum(house.owed(who) for who in (BUYER, OPERATOR, *JURORS))
    assert house.bonds.reserved_by(house.court.address, OPERATOR.address) == 0
    return split


@pytest.mark.parametrize("size", [5, 15])
def test_a_cheat_is_convicted(house: Courthouse, size: int) -> None:
    supply, bond, balance = house.token.totalSupply(), house.bonds.bond_of(OPERATOR.address), house.place.balance(BUYER)
    worth = (size // 2 + 1) * FEE
    case = house.open(jurors=size, worth=worth)
    jury = house.decide(case, [TRUE] * size)
    assert len(jury) == size
    split = settled(house, case, Outcome.CONVICTED, jury, worth=worth, pot=size * FEE)
    assert house.bonds.bond_of(OPERATOR.address) == bond - worth - size * FEE
    assert supply - house.token.totalSupply() == split.burnt >= worth // 2
    with boa.env.prank(BUYER.address):
        house.court.collect()
    assert house.place.balance(BUYER) == balance + worth // 4
    assert [house.owed(who) for who in jury] == [FEE + worth // 4 // size] * size


@pytest.mark.parametrize("size", [5, 15])
def test_who_disputes_good_work_loses_its_bond_and_the_fees(house: Courthouse, size: int) -> None:
    balance, bond = house.place.balance(BUYER), house.bonds.bond_of(OPERATOR.address)
    case = house.open(jurors=size, worth=WORTH)
    jury = house.decide(case, [FALSE] * size)
    split = settled(house, case, Outcome.ACQUITTED, jury, pot=size * FEE)
    assert (split.opener, split.accused) == (0, PARAMETERS.opener_bond // 4)
    assert house.place.balance(BUYER) == balance - PARAMETERS.opener_bond - size * FEE
    assert house.bonds.bond_of(OPERATOR.address) == bond
    with boa.env.prank(OPERATOR.address):
        assert house.court.collect() == PARAMETERS.opener_bond // 4


def test_where_both_were_wrong_the_accused_loses_and_the_opener_has_its_money_back(house: Courthouse) -> None:
    balance = house.place.balance(BUYER)
    case = house.open(worth=WORTH)
    settled(house, case, Outcome.BOTH_WRONG, house.decide(case, [THIRD] * 5))
    with boa.env.prank(BUYER.address):
        house.court.collect()
    assert house.place.balance(BUYER) == balance


def test_right_output_with_inflated_fuel_is_convicted(house: Courthouse) -> None:
    inflated = replace(TRUE, fuel=2 * TRUE.fuel)
    case = house.open(house.disputed(inflated), worth=WORTH)
    settled(house, case, Outcome.CONVICTED, house.decide(case, [TRUE] * 5))


def test_an_opener_that_withholds_the_inputs_pays_and_the_accused_is_untouched(house: Courthouse) -> None:
    bond = house.bonds.bond_of(OPERATOR.address)
    case = house.open(worth=WORTH)
    jury = house.decide(case, [UNAVAILABLE] * 5)
    assert house.state(case).phase == Phase.EXTEND
    house.let_stand(case)
    split = settled(house, case, Outcome.NO_INPUTS, jury)
    assert split.juror == FEE // 4
    assert (split.opener, split.accused, split.burnt) == (5 * FEE - 5 * (FEE // 4), 0, PARAMETERS.opener_bond)
    assert house.bonds.bond_of(OPERATOR.address) == bond


def test_who_had_no_inputs_where_most_had_them_is_not_paid_and_keeps_its_stake(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.decide(case, [TRUE, UNAVAILABLE, TRUE, UNAVAILABLE, TRUE])
    settled(house, case, Outcome.CONVICTED, [jury[0], jury[2], jury[4]])
    assert house.owed(jury[1]) == house.owed(jury[3]) == 0
    assert {house.bonds.bond_of(who.address) for who in jury} == {STAKE}


def test_who_does_not_reveal_pays(house: Courthouse) -> None:
    supply = house.token.totalSupply()
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    for who in jury[:4]:
        house.commit(case, who, TRUE)
    house.pass_deadline(case)
    for who in jury[:3]:
        house.reveal(case, who, TRUE)
    house.wait_until(house.state(case).deadline)
    house.court.advance(case)
    split = settled(house, case, Outcome.CONVICTED, jury[:3])
    assert [house.bonds.bond_of(who.address) for who in jury] == [STAKE] * 3 + [STAKE - FEE] * 2
    assert supply - house.token.totalSupply() == split.burnt + 2 * FEE
    sleeper = house.court.enlistment(house.court.enlistment_of(jury[3].address))
    assert sleeper.stake == STAKE - FEE


def test_who_sleeps_its_stake_away_sits_no_longer(courthouse: Courthouse) -> None:
    courthouse.seat(6)
    courthouse.accuse(200 * ETHER)
    fee = PARAMETERS.fee(PARAMETERS.max_fuel)
    for who in JURORS[:6]:
        with boa.env.prank(who.address):
            courthouse.court.resign()
        courthouse.enlist(who, fuel_cap=PARAMETERS.max_fuel)
    boa.env.time_travel(seconds=1)
    gone = 0
    for _ in range(39):
        case = courthouse.open(fuel_limit=PARAMETERS.max_fuel)
        courthouse.drawn(case)
        courthouse.pass_deadline(case)
        courthouse.court.advance(case)
        gone = sum(courthouse.court.enlistment_of(who.address) == 0 for who in JURORS[:6])
        courthouse.pass_deadline(case)
        courthouse.court.advance(case)
        if gone:
            break
    assert gone > 0
    left = [
        each for each in courthouse.enlistments().values() if each.left_at and each.enlisted_at > courthouse.court.enlistment(1).left_at
    ]
    assert all(each.stake < each.seats * STAKE / 2 < each.stake + fee for each in left)


def test_a_copied_commitment_opens_for_nobody_else(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.drawn(case)
    house.commit(case, jury[0], TRUE)
    copied = house.court.ballot(case, jury[0].address).commitment
    with boa.env.prank(jury[1].address):
        house.court.commit(case, copied)
    for who in jury[2:]:
        house.commit(case, who, TRUE)
    house.reveal(case, jury[0], TRUE)
    with boa.reverts("court: not what was committed to"), boa.env.prank(jury[1].address):
        house.court.reveal(case, salt(jury[0]), TRUE.result, TRUE.fuel, TRUE.witness)


def test_who_did_not_run_it_lacks_the_witness_and_is_fined(house: Courthouse) -> None:
    guess = replace(TRUE, witness=b"\x55" * 32)
    case = house.open(worth=WORTH)
    jury = house.decide(case, [TRUE, TRUE, guess, TRUE, TRUE])
    house.extend(case, OTHER_SECRET)
    second = house.decide(case, [TRUE] * 15, OTHER_SECRET)
    right = [jury[0], jury[1], jury[3], jury[4]]
    fines = settling.Fines(15 * FEE, 15 * FEE, 15, 4)
    settled(house, case, Outcome.CONVICTED, right + second, pot=20 * FEE, held=WORTH + 20 * FEE, fines=fines, prized=right)
    assert house.owed(jury[2]) == 0
    assert house.bonds.bond_of(jury[2].address) == STAKE - 15 * FEE


def test_the_same_result_with_other_witnesses_is_no_majority(house: Courthouse) -> None:
    other = replace(TRUE, witness=b"\x55" * 32)
    case = house.open(worth=WORTH)
    house.decide(case, [TRUE, TRUE, other, other, THIRD])
    assert house.state(case).phase == Phase.EXTEND


def test_a_ring_of_two_loses_against_three(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.decide(case, [LIAR, LIAR, TRUE, TRUE, TRUE])
    house.extend(case, OTHER_SECRET)
    second = house.decide(case, [TRUE] * 15, OTHER_SECRET)
    fines = settling.Fines(30 * FEE, 30 * FEE, 15, 3)
    split = settled(house, case, Outcome.CONVICTED, jury[2:] + second, pot=20 * FEE, fines=fines, prized=jury[2:])
    assert split.slashed == WORTH + 3 * FEE
    assert split.prize == 15 * FEE // 4 // 3


def no_majority(count: int) -> list:
    return [TRUE] * (count // 2) + [LIAR] * (count // 2) + [THIRD]


def test_no_majority_calls_a_larger_jury_which_pays_all_who_were_right(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    first = house.decide(case, [TRUE, TRUE, LIAR, LIAR, UNAVAILABLE])
    assert house.state(case).phase == Phase.EXTEND
    balance = house.place.balance(BUYER)
    house.extend(case, OTHER_SECRET)
    assert balance - house.place.balance(BUYER) == 15 * FEE
    found = house.state(case)
    assert (found.phase, found.round, found.jurors, found.first, found.ordinal) == (Phase.ANSWER, 2, 15, 5, 2)
    assert house.bonds.reserved_by(house.court.address, OPERATOR.address) == WORTH + 20 * FEE
    second = house.decide(case, [TRUE] * 10 + [UNAVAILABLE] * 5, OTHER_SECRET)
    assert not {who.address for who in first} & {who.address for who in second}
    fines = settling.Fines(30 * FEE, 30 * FEE, 10, 2)
    settled(house, case, Outcome.CONVICTED, first[:2] + second[:10], pot=20 * FEE, fines=fines, prized=first[:2])


def test_three_juries_are_the_most(courthouse: Courthouse) -> None:
    courthouse.seat(70)
    courthouse.accuse()
    case = courthouse.open(worth=WORTH)
    juries = courthouse.decide(case, no_majority(5))
    courthouse.extend(case, OTHER_SECRET)
    juries += courthouse.decide(case, no_majority(15), OTHER_SECRET)
    courthouse.extend(case, LAST_SECRET)
    juries += courthouse.decide(case, no_majority(45), LAST_SECRET)
    assert len({who.address for who in juries}) == 65
    paid = [who for who in juries if courthouse.owed(who)]
    assert len(paid) == 2 * 2 + 2 * 7 + 2 * 22
    settled(courthouse, case, Outcome.UNRESOLVED, paid, pot=65 * FEE)


def test_without_a_majority_only_those_are_paid_whose_answer_another_gave_too(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.decide(case, [TRUE, TRUE, THIRD, UNAVAILABLE, UNAVAILABLE])
    house.pass_deadline(case)
    house.court.advance(case)
    settled(house, case, Outcome.UNRESOLVED, jury[:2])
    assert house.owed(BUYER) == PARAMETERS.opener_bond + 3 * FEE


def test_a_bond_below_the_costs_returns_what_it_has(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse(bond=2 * FEE)
    case = courthouse.open(worth=WORTH)
    split = settled(courthouse, case, Outcome.CONVICTED, courthouse.decide(case, [TRUE] * 5), held=2 * FEE)
    assert (split.slashed, split.burnt, split.juror) == (2 * FEE, 0, FEE)
    assert courthouse.bonds.bond_of(OPERATOR.address) == 0


def test_a_bond_that_grew_meanwhile_pays_what_was_missing(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse(bond=FEE)
    case = courthouse.open(worth=WORTH)
    courthouse.bond(OPERATOR, 20 * ETHER)
    settled(courthouse, case, Outcome.CONVICTED, courthouse.decide(case, [TRUE] * 5))
    assert courthouse.bonds.bond_of(OPERATOR.address) == 20 * ETHER + FEE - WORTH - 5 * FEE


def test_only_who_is_owed_collects_and_once(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    jury = house.decide(case, [TRUE] * 5)
    for nobody in (STRANGER, OPERATOR):
        with boa.reverts("dues: nothing owed"), boa.env.prank(nobody.address):
            house.court.collect()
    with boa.env.prank(jury[0].address):
        assert house.court.collect() == house.place.balance(jury[0])
        with boa.reverts("dues: nothing owed"):
            house.court.collect()


def test_an_answer_is_given_once_by_a_juror_in_its_time(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    with boa.reverts("court: not the time to commit"):
        house.commit(case, JURORS[0], TRUE)
    jury = house.drawn(case)
    outsider = next(who for who in JURORS[:24] if who.address not in {each.address for each in jury})
    with boa.reverts("court: not a juror"):
        house.commit(case, outsider, TRUE)
    with boa.reverts("court: no commitment"), boa.env.prank(jury[0].address):
        house.court.commit(case, bytes(32))
    house.commit(case, jury[0], TRUE)
    with boa.reverts("court: committed already"):
        house.commit(case, jury[0], FALSE)
    with boa.reverts("court: not the time to reveal"):
        house.reveal(case, jury[0], TRUE)
    for who in jury[1:]:
        house.commit(case, who, TRUE)
    with boa.reverts("court: not the time to commit"):
        house.commit(case, jury[0], TRUE)
    with boa.reverts("court: not what was committed to"):
        house.reveal(case, jury[0], FALSE)
    with boa.reverts("court: not a juror"):
        house.reveal(case, outsider, TRUE)
    house.reveal(case, jury[0], TRUE)
    with boa.reverts("court: revealed already"):
        house.reveal(case, jury[0], TRUE)
    with boa.reverts("court: nothing to move"):
        house.court.advance(case)


def test_the_commit_window_grows_with_the_fuel(house: Courthouse) -> None:
    case = house.open()
    house.drawn(case)
    found = house.state(case)
    assert found.deadline == boa.env.evm.patch.timestamp + PARAMETERS.commit_seconds + LIMIT // PARAMETERS.fuel_per_second
    assert PARAMETERS.commit_window(LIMIT) == 130


def test_the_secret_of_a_larger_jury_is_another(house: Courthouse) -> None:
    case = house.open(worth=WORTH)
    house.decide(case, [TRUE, TRUE, LIAR, LIAR, THIRD])
    for wrong in (SECRET, None):
        with boa.reverts("court: no commitment"), boa.env.prank(BUYER.address):
            house.court.extend(case, rules.secret_commitment(wrong) if wrong else bytes(32))
    with boa.reverts("court: not the opener"), boa.env.prank(STRANGER.address):
        house.court.extend(case, rules.secret_commitment(OTHER_SECRET))
    with boa.reverts("court: not the time to answer"):
        house.court.answer(case, house.link(2))
    house.extend(case, OTHER_SECRET)
    with boa.reverts("court: not the time to extend"):
        house.extend(case, LAST_SECRET)
