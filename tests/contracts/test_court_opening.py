"""Opening a case: what is taken and reserved, and what is no case."""

from __future__ import annotations

from dataclasses import replace

import boa
import pytest

from contracts_support import BUYER, DEVICE, OPERATOR, STRANGER, key
from court_support import ENGINE, ETHER, FALSE, FEE, LIMIT, PARAMETERS, THIRD, TRUE, Courthouse, claim
from surge.core.court import Phase
from surge.core.receipts import DeviceConsent
from surge.core.types import ZERO, address

WORTH = 2 * ETHER // 10


@pytest.fixture
def house(courthouse: Courthouse) -> Courthouse:
    courthouse.seat()
    courthouse.accuse()
    return courthouse


def opening(house: Courthouse, disputed, sender=BUYER, **claims):
    with boa.env.prank(sender.address):
        return house.court.open(*disputed.arguments(claim(**claims)))


def test_opening_takes_a_bond_and_the_fees_and_reserves_what_the_accused_may_lose(house: Courthouse) -> None:
    before = house.place.balance(BUYER)
    case = house.open(house.disputed(), worth=WORTH)
    taken = before - house.place.balance(BUYER)
    assert taken == 5 * FEE + PARAMETERS.opener_bond == house.court.deposit(LIMIT, 5, WORTH) == house.place.balance(house.court)
    assert house.bonds.reserved_by(house.court.address, OPERATOR.address) == WORTH + 5 * FEE
    found = house.state(case)
    assert (case, found.phase, found.jurors, found.round, found.fee) == (1, Phase.ANSWER, 5, 1, FEE)
    assert address(found.opener) == BUYER.address
    assert address(found.accused) == OPERATOR.address
    assert found.deadline == boa.env.evm.patch.timestamp + PARAMETERS.answer_seconds


def test_a_refused_receipt_is_disputed_like_an_accepted_one(house: Courthouse) -> None:
    assert house.open(house.disputed(accepted=False)) == 1


def test_a_setup_is_disputed_like_a_unit(house: Courthouse) -> None:
    assert house.open(house.record(house.receipt(kind=2))) == 1


def test_of_a_small_bond_what_there_is_is_reserved(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse(bond=ETHER // 10)
    case = courthouse.open()
    assert courthouse.state(case).reserved == ETHER // 10


def test_only_the_buyer_opens_so_that_no_friend_of_the_accused_comes_first(house: Courthouse) -> None:
    disputed = house.disputed()
    for other in (STRANGER, OPERATOR, DEVICE):
        with boa.reverts("court: not the buyer"):
            opening(house, disputed, sender=other)


def test_a_receipt_is_disputed_once(house: Courthouse) -> None:
    disputed = house.disputed()
    case = house.open(disputed)
    assert house.court.case_of(disputed.receipt.digest(house.place.domain)) == case
    with boa.reverts("court: disputed before"):
        opening(house, disputed)
    house.pass_deadline(case)
    house.court.advance(case)
    with boa.reverts("court: disputed before"):
        opening(house, disputed, answer=THIRD)


def test_a_receipt_that_the_device_did_not_sign_is_none_whatever_the_buyers_log_says(house: Courthouse) -> None:
    forged = house.receipt()
    disputed = house.record(forged, signer=STRANGER)
    with boa.reverts("court: not the device's receipt"):
        opening(house, disputed)


def test_a_channel_on_anybodys_device_is_no_case_against_an_operator(house: Courthouse) -> None:
    fake = key(4_000)
    house.open_channel(b"\x01" * 32, device=fake)
    disputed = house.record(house.receipt(device=fake.address), signer=fake)
    with boa.reverts("court: no operator's device"):
        opening(house, disputed)


def test_an_operator_that_removes_a_device_answers_for_it_as_long_as_claims_are_young(house: Courthouse) -> None:
    early, late = house.disputed(), house.disputed(THIRD)
    with boa.env.prank(OPERATOR.address):
        house.place.registry.remove_device(DEVICE.address)
    opening(house, replace(early, path=tuple(house.log.inclusion(early.index))))
    boa.env.time_travel(seconds=PARAMETERS.max_claim_age + 1)
    last = house.disputed()
    for each in (replace(late, path=tuple(house.log.inclusion(late.index))), last):
        with boa.reverts("court: no operator's device"):
            opening(house, each)


def test_a_device_that_is_its_own_operator_needs_no_registry(house: Courthouse) -> None:
    house.bond(DEVICE, ETHER)
    with boa.env.prank(DEVICE.address):
        house.bonds.set_anchor(house.links[-1])
    house.open_channel(b"\x02" * 32, provider=DEVICE)
    assert opening(house, house.disputed()) == 1


def test_a_receipt_that_is_not_in_the_log_is_no_case(house: Courthouse) -> None:
    disputed = house.disputed()
    for wrong in (replace(disputed, index=1), replace(disputed, accepted=False), replace(disputed, path=(ZERO,))):
        with boa.reverts("court: not recorded"):
            opening(house, wrong)


def test_a_claims_age_runs_from_the_redemption_and_not_from_the_devices_clock(house: Courthouse) -> None:
    backdated = house.record(house.receipt(finished_at=1))
    boa.env.time_travel(seconds=PARAMETERS.max_claim_age)
    assert opening(house, backdated) == 1
    postdated = house.record(house.receipt(finished_at=2**40))
    boa.env.time_travel(seconds=PARAMETERS.max_claim_age + 1)
    with boa.reverts("court: too old"):
        opening(house, postdated)


def test_an_engine_that_the_device_did_not_agree_to_is_none(house: Courthouse) -> None:
    disputed = house.disputed()
    other = replace(disputed.terms, engine=b"\x0f" * 32)
    with boa.reverts("court: not the device's terms"):
        opening(house, replace(disputed, terms=other))
    foreign = replace(disputed.terms, channel=b"\x0a" * 32)
    signed = replace(disputed, terms=foreign, terms_signature=DEVICE.sign(foreign.digest(house.place.domain)))
    with boa.reverts("court: not the device's terms"):
        opening(house, signed)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"jurors": 7}, "court: no such jury"),
        ({"jurors": 0}, "court: no such jury"),
        ({"answer": FALSE}, "court: claims the same"),
        ({"answer": replace(TRUE, result=ZERO)}, "court: nothing claimed"),
        ({"answer": replace(TRUE, fuel=LIMIT + 1)}, "court: fuel out of bounds"),
        ({"fuel_limit": PARAMETERS.max_fuel + 1}, "court: fuel out of bounds"),
        ({"worth": 0}, "court: worth out of bounds"),
        ({"worth": 3 * FEE + 1}, "court: worth out of bounds"),
        ({"jurors": 15}, "court: too few seats"),
    ],
)
def test_what_is_no_claim_is_refused(house: Courthouse, claims: dict, reason: str) -> None:
    with boa.reverts(reason):
        opening(house, house.disputed(), **claims)


def test_a_claim_of_the_same_result_and_other_fuel_is_one(house: Courthouse) -> None:
    assert opening(house, house.disputed(), answer=replace(FALSE, fuel=FALSE.fuel - 1)) == 1


def test_a_secret_is_committed_to(house: Courthouse) -> None:
    row = (*claim()[:-1], ZERO)
    with boa.reverts("court: no commitment"), boa.env.prank(BUYER.address):
        house.court.open(*house.disputed().arguments(row))


@pytest.mark.parametrize("kind", [0, 3, 4])
def test_only_what_was_run_is_tried(house: Courthouse, kind: int) -> None:
    with boa.reverts("court: nothing that was run"):
        opening(house, house.record(house.receipt(kind=kind)))


def test_what_a_verdict_takes_is_bounded_by_what_its_majority_is_paid(house: Courthouse) -> None:
    assert opening(house, house.disputed(), worth=3 * FEE) == 1
    assert house.court.max_worth(LIMIT, 5) == 3 * FEE
    assert house.court.max_worth(LIMIT, 15) == 8 * FEE
    assert house.court.max_worth(LIMIT, 45) == 23 * FEE


def test_an_opener_risks_what_it_asks_for(house: Courthouse) -> None:
    large = PARAMETERS.max_fuel
    assert PARAMETERS.bond(1) == PARAMETERS.opener_bond < 3 * PARAMETERS.fee(large)
    assert house.court.deposit(large, 5, 10 * ETHER) == 10 * ETHER + 5 * PARAMETERS.fee(large) == PARAMETERS.deposit(large, 5, 10 * ETHER)


def test_a_bond_without_a_hash_chain_is_none_to_dispute(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse()
    other = key(4_001)
    with boa.env.prank(OPERATOR.address):
        courthouse.place.registry.remove_device(DEVICE.address)
    nonce = courthouse.place.registry.device_nonce(DEVICE.address)
    consent = DeviceConsent(other.address, DEVICE.address, nonce).digest(courthouse.place.registry_domain)
    with boa.env.prank(other.address):
        courthouse.place.registry.register_device(DEVICE.address, "", DEVICE.sign(consent))
    courthouse.open_channel(b"\x03" * 32, provider=other)
    with boa.reverts("court: no anchor"):
        opening(courthouse, courthouse.disputed())


def test_nobody_disputes_its_own_work(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse()
    courthouse.open_channel(b"\x04" * 32, provider=BUYER)
    with boa.reverts("court: one's own work"):
        opening(courthouse, courthouse.disputed())


def test_a_channel_that_is_none_gives_no_case(house: Courthouse) -> None:
    receipt = house.receipt(channel=b"\x77" * 32)
    made_up = replace(house.disputed(), receipt=receipt, signature=DEVICE.sign(receipt.digest(house.place.domain)))
    with boa.reverts("court: no such channel"):
        opening(house, made_up)


def test_the_engine_has_seats(house: Courthouse) -> None:
    assert house.court.places(ENGINE) == 12
    assert house.court.places(b"\x0f" * 32) == 0
