"""Cheats against a running network: real relays, a real ledger, real workers; the buyer's auditor is all that stands against them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import surge
from buyer_functions import add_one
from ledger_support import UNBONDED
from lying_services import Liar, MoreFuel, Trapped, Turncoat, WrongOutput
from network_support import Town

pytestmark = pytest.mark.usefixtures("python_image")


@pytest.mark.parametrize("kind", [WrongOutput, MoreFuel, Trapped], ids=lambda kind: kind.__name__)
def test_a_liar_earns_nothing_and_the_job_is_right(tmp_path: Path, kind: type[Liar]) -> None:
    with Town(tmp_path, providers=2, strangers=True, liars=[kind]) as town, surge.connect(town.file) as network:
        results = network.map(add_one, range(24), chunk=1, fuel=10**10)
        assert list(results) == list(range(1, 25))
        liar, honest = (device.address for device in town.devices)
        assert results.progress.caught == 1
        audits = network.audits(results.job)
        assert {each["provider"] for each in audits.wrong} == {liar}
        assert {each["how"] for each in audits.wrong} == {"here"}
        rows = {each["provider"]: each for each in audits.devices}
        assert rows[liar]["units"] == 0, "nothing it lied about is paid"
        assert rows[honest]["checked"] >= 9
        wrong = [each for each in network.receipts(results.job) if each["device"] == liar and each["kind"] == 1]
        assert wrong
        assert not any(each["accepted"] for each in wrong), "the refusal is on record, and the receipt is evidence"

        again = network.map(add_one, range(6), chunk=1)
        assert list(again) == list(range(1, 7))
        assert liar not in again.progress.units, "it is not asked again"


def test_a_ring_of_operators_that_agrees_on_wrong_answers_loses_to_one_run_here(tmp_path: Path) -> None:
    with Town(tmp_path, providers=3, strangers=True, liars=[WrongOutput, WrongOutput]) as town, surge.connect(town.file) as network:
        results = network.map(add_one, range(12), chunk=1)
        assert list(results) == list(range(1, 13))
        ring = {device.address for device in town.devices[:2]}
        assert {each["provider"] for each in network.audits(results.job).wrong} == ring
        assert len({each["found_result"] for each in network.audits(results.job).wrong}) <= 12


def test_who_turns_after_it_was_credible_is_caught_and_its_results_are_computed_again(tmp_path: Path) -> None:
    with Town(tmp_path, providers=2, strangers=True, liars=[Turncoat]) as town, surge.connect(town.file) as network:
        results = network.map(add_one, range(120), chunk=1, total=120, certainty=0.98)
        found = []
        try:
            for result in results:
                found.append(result)
        except surge.CorrectedResults as error:
            for index in error.details["items"]:
                assert found[index] != index + 1
                found[index] = index + 1
        assert found == list(range(1, 121))
        assert list(network.resume(results.job)) == list(range(1, 121)), "the journal has them right"
        service = town.devices[0].service
        assert isinstance(service, Liar)
        assert service.lies > 0


def test_a_device_without_a_bond_gets_one_unit_at_a_time_and_all_of_them_are_checked(tmp_path: Path) -> None:
    parameters = replace(UNBONDED, min_bond=10**18)
    with Town(tmp_path, providers=2, strangers=True, parameters=parameters) as town, surge.connect(town.file) as network:
        newcomer, bonded = town.devices
        town.call(town.ledger.transfer(town.treasury, bonded.operator.address, tokens=2 * 10**18))
        town.call(town.ledger.bonds.stake(bonded.operator, bonded.operator.address, 10**18))
        town.call(town.ledger.bonds.set_anchor(bonded.operator, b"h" * 32))
        results = network.map(add_one, range(60), chunk=1, certainty=0.9)
        assert list(results) == list(range(1, 61))
        peers = network._client._market.peers  # type: ignore[union-attr]
        assert {device: peer.bond.enough for device, peer in peers.items()} == {newcomer.address: False, bonded.address: True}
        rows = {each["provider"]: each for each in network.audits(results.job).devices}
        assert rows[newcomer.address]["checked"] == rows[newcomer.address]["units"] > 2
        assert "bond is too small" in rows[newcomer.address]["why"]
        assert rows[newcomer.address]["chance"] == 1 > rows[bonded.address]["chance"]
        assert rows[bonded.address]["checked"] < rows[bonded.address]["units"]
