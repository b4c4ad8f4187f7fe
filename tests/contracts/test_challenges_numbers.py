"""The numbers that challenges are founded with, and that Python says the same of them."""

from __future__ import annotations

from dataclasses import astuple, fields, replace

import boa
import pytest

from challenges_support import NUMBERS, Storage
from contracts_support import OWNER, UNBONDING, Place
from surge.core.parameters import EMBEDDED, PUBLIC, StorageParameters
from surge.core.storage.pledges import MAX_PERIODS

EMPTY = "0x" + "00" * 20
PERIODS = ("period_seconds", "deadline_seconds")


def deploy(place: Place, deployers: dict, addresses: dict | None = None, **changes):
    row = [place.token.address, place.registry.address, place.bonds.address]
    for number, value in (addresses or {}).items():
        row[number] = value
    with boa.env.prank(OWNER.address):
        return deployers["challenges"].deploy(*row, astuple(replace(NUMBERS, **changes)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(
            ({name: value}, "challenges: period out of bounds")
            for name in ("period_seconds", "deadline_seconds")
            for value in (4, 2_592_001)
        ),
        ({"least_fee": 0}, "challenges: fees out of bounds"),
        ({"least_fee": NUMBERS.most_fee + 1}, "challenges: fees out of bounds"),
        ({"fee": NUMBERS.least_fee - 1}, "challenges: fee out of bounds"),
        ({"fee": NUMBERS.most_fee + 1}, "challenges: fee out of bounds"),
        ({"least_penalty": 0}, "challenges: penalties out of bounds"),
        ({"least_penalty": NUMBERS.most_penalty + 1}, "challenges: penalties out of bounds"),
        ({"most_penalty": 2**88}, "challenges: amount out of bounds"),
        ({"most_fee": 2**88}, "challenges: amount out of bounds"),
        ({"deadline_seconds": NUMBERS.period_seconds + 1}, "challenges: a deadline is longer than a period"),
        ({"period_seconds": (UNBONDING - NUMBERS.deadline_seconds) // MAX_PERIODS}, "challenges: unbonding is too short"),
        *(({"addresses": {number: EMPTY}}, f"{module}: empty address") for number, module in enumerate(("dues", "challenges", "dues"))),
    ],
)
def test_numbers_out_of_bounds_found_no_challenges(place: Place, deployers: dict, changes: dict, reason: str) -> None:
    with boa.reverts(reason):
        deploy(place, deployers, **changes)


def test_unbonding_takes_longer_than_a_pledge_and_a_deadline(place: Place, deployers: dict) -> None:
    deploy(place, deployers, period_seconds=(UNBONDING - NUMBERS.deadline_seconds) // MAX_PERIODS - 1)
    deploy(place, deployers, most_fee=2**88 - 1, fee=2**88 - 1, most_penalty=2**88 - 1)


def test_the_numbers_are_public_and_in_order(storage: Storage) -> None:
    assert tuple(storage.contract.parameters()) == astuple(NUMBERS)
    assert storage.contract.parameters()._fields == tuple(each.name for each in fields(StorageParameters))


@pytest.mark.parametrize("network", [PUBLIC, EMBEDDED])
def test_networks_are_founded_with_numbers_that_the_contract_takes(place: Place, deployers: dict, network) -> None:
    with boa.env.prank(OWNER.address):
        bonds = deployers["bonds"].deploy(place.token.address, network.min_bond, network.unbonding_seconds)
        made = deployers["challenges"].deploy(place.token.address, place.registry.address, bonds.address, astuple(network.storage))
    assert tuple(made.parameters()) == astuple(network.storage)
