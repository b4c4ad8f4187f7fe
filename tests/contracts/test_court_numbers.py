"""The court's numbers: their bounds, and that the mirror in Python does the same arithmetic."""

from __future__ import annotations

from dataclasses import astuple, fields, replace

import boa
import pytest

from contracts_support import OWNER, UNBONDING, Place, key
from court_support import GIGA, PARAMETERS, TRUE, Courthouse, salt
from surge.core import court as rules
from surge.core import settling
from surge.core.court import NO_INPUTS, SIZES, UNAVAILABLE, CourtParameters, Outcome
from surge.core.keccak import keccak256
from surge.core.types import address

EMPTY = "0x" + "00" * 20


def deploy(place: Place, deployers: dict, **changes):
    addresses = [place.token.address, place.registry.address, place.bonds.address, place.channels.address]
    for name, value in changes.pop("addresses", {}).items():
        addresses[name] = value
    with boa.env.prank(OWNER.address):
        return deployers["court"].deploy(*addresses, astuple(replace(PARAMETERS, **changes)))


PERIODS = ("answer_seconds", "draw_seconds", "commit_seconds", "reveal_seconds", "extend_seconds")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: value}, "court: period out of bounds") for name in PERIODS for value in (0, 4, 2_592_001)),
        ({"max_claim_age": 4}, "court: claim age out of bounds"),
        ({"max_claim_age": 15_552_001}, "court: claim age out of bounds"),
        ({"max_fuel": 0}, "court: fuel out of bounds"),
        ({"max_fuel": 2**62 + 1}, "court: fuel out of bounds"),
        ({"fuel_per_second": 0}, "court: speed out of bounds"),
        ({"fuel_per_second": 1}, "court: speed out of bounds"),
        ({"base_fee": 0}, "court: amount out of bounds"),
        ({"opener_bond": 2**96 + 1}, "court: amount out of bounds"),
        ({"opener_bond": 10 * PARAMETERS.base_fee + 1}, "court: amount out of bounds"),
        ({"seat_stake": 2**96 + 1}, "court: amount out of bounds"),
        ({"base_fee": 2**96 + 1}, "court: amount out of bounds"),
        ({"gigafuel_fee": 2**96 + 1}, "court: amount out of bounds"),
        ({"seat_stake": PARAMETERS.fee(PARAMETERS.max_fuel) - 1}, "court: a seat covers no fee"),
        ({"max_claim_age": UNBONDING - PARAMETERS.longest_case}, "court: unbonding is too short"),
        *(({"addresses": {place: EMPTY}}, f"{module}: empty address") for place, module in enumerate(("dues", "court", "dues", "court"))),
    ],
)
def test_numbers_out_of_bounds_found_no_court(place: Place, deployers: dict, changes: dict, reason: str) -> None:
    with boa.reverts(reason):
        deploy(place, deployers, **changes)


def test_unbonding_takes_longer_than_a_claims_greatest_age_and_the_longest_case(place: Place, deployers: dict) -> None:
    court = deploy(place, deployers, max_claim_age=UNBONDING - PARAMETERS.longest_case - 1)
    assert court.longest_case() + court.parameters().max_claim_age < place.bonds.unbonding_seconds()


def test_the_numbers_are_public_and_in_order(courthouse: Courthouse) -> None:
    assert tuple(courthouse.court.parameters()) == astuple(PARAMETERS)
    assert courthouse.court.parameters()._fields == tuple(each.name for each in fields(CourtParameters))


@pytest.mark.parametrize("parameters", [PARAMETERS, replace(PARAMETERS, gigafuel_fee=7, base_fee=1, opener_bond=10), rules.EMBEDDED])
def test_fees_bounds_and_deposits_are_what_the_mirror_says(place: Place, deployers: dict, parameters: CourtParameters) -> None:
    with boa.env.prank(OWNER.address):
        bonds = deployers["bonds"].deploy(place.token.address, 0, 7_200)
        court = deployers["court"].deploy(
            place.token.address, place.registry.address, bonds.address, place.channels.address, astuple(parameters)
        )
    assert court.longest_case() == parameters.longest_case
    for fuel in (0, 1, GIGA - 1, GIGA, GIGA + 1, 100 * GIGA, parameters.max_fuel):
        assert court.fee(fuel) == parameters.fee(fuel)
        for size in SIZES:
            worth = parameters.max_worth(fuel, size)
            assert court.max_worth(fuel, size) == worth == (size // 2 + 1) * parameters.fee(fuel)
            assert court.deposit(fuel, size, worth) == parameters.deposit(fuel, size, worth)


def test_what_ships_fits_its_bonds() -> None:
    from surge.core.parameters import EMBEDDED, PUBLIC

    for court, network in ((rules.EMBEDDED, EMBEDDED), (CourtParameters(), PUBLIC)):
        assert network.unbonding_seconds > court.max_claim_age + court.longest_case
        assert court.seat_stake >= court.fee(court.max_fuel)


def test_the_court_fits_into_a_contract(courthouse: Courthouse) -> None:
    assert len(boa.env.get_code(courthouse.court.address)) <= 24_576


def test_the_smallest_jury_for_a_worth() -> None:
    fee = PARAMETERS.fee(GIGA)
    assert [PARAMETERS.jury_for(GIGA, worth) for worth in (1, 3 * fee, 3 * fee + 1, 8 * fee + 1, 23 * fee + 1)] == [5, 5, 15, None, None]


def test_digests_are_what_the_contract_computes(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse()
    case = courthouse.open()
    jury = courthouse.drawn(case)
    for who in jury:
        courthouse.commit(case, who, UNAVAILABLE)
        assert courthouse.court.ballot(case, who.address).commitment == rules.commitment(case, who.address, salt(who), UNAVAILABLE)
    courthouse.reveal(case, jury[0], UNAVAILABLE)
    assert courthouse.court.ballot(case, jury[0].address).answer == UNAVAILABLE.digest
    assert UNAVAILABLE.witness == NO_INPUTS == keccak256(b"inputs unavailable")
    assert rules.commitment(1, key(1).address, bytes(32), TRUE) != rules.commitment(2, key(1).address, bytes(32), TRUE)
    assert rules.commitment(1, key(1).address, bytes(32), TRUE) != rules.commitment(1, key(2).address, bytes(32), TRUE)


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("paid", [0, 1, 3, 45])
@pytest.mark.parametrize("held", [0, 99, 10**18, 10**20])
def test_a_split_gives_away_what_came_in_and_burns_half_of_what_is_lost(outcome: Outcome, paid: int, held: int) -> None:
    worth, fee, bond, pot = 10**18 + 1, 10**17 + 3, 2 * 10**18 + 7, 45 * (10**17 + 3)
    found = settling.split(outcome, worth=worth, fee=fee, bond=bond, pot=pot, held=held, paid=paid)
    assert found.juror * paid + found.opener + found.accused + found.burnt == bond + pot + found.slashed
    assert found.slashed <= held
    lost = {Outcome.ACQUITTED: bond, Outcome.NO_SECRET: bond, Outcome.NO_INPUTS: bond, Outcome.UNFIT: bond}.get(
        outcome, max(0, found.slashed - paid * fee)
    )
    assert found.burnt * 2 >= lost
    assert found.accused * 4 <= lost


def test_an_address_is_what_the_mirror_takes(courthouse: Courthouse) -> None:
    number = courthouse.enlist(key(1_000))
    assert courthouse.enlistments()[number].juror == address(key(1_000).address)
