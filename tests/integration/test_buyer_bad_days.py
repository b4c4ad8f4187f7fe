"""Bad days of a buyer over a real network: what goes away, what runs out, and what a user sees of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import surge
from buyer_functions import add_one, spin, turn
from network_support import Town, free_port
from surge.buyer.cases import verify_case
from surge.core.network import RelayAddress
from surge.provider.config import ProviderConfig, Rates
from surge.wallet import KeySigner, Keystore

ITEMS = list(range(24))
WANTED = [spin(item) for item in ITEMS]


def at(results: surge.buyer.results.Results, count: int, act: Callable[[], None]) -> list[int]:
    """Read `count` results, act while the rest is under way, and read the rest."""
    found = [next(results) for _ in range(count)]
    acting = threading.Thread(target=act)
    acting.start()
    found += list(results)
    acting.join()
    return found


def test_a_relay_dies_and_the_other_carries_on(tmp_path: Path) -> None:
    with Town(tmp_path, providers=2, relays=2) as town, surge.connect(town.file) as network:
        results = network.map(spin, ITEMS, chunk=1)
        assert at(results, 3, lambda: town.stop_relay(0)) == WANTED
        assert list(network.map(add_one, range(5))) == [1, 2, 3, 4, 5]


def test_both_relays_die_and_one_comes_back(tmp_path: Path) -> None:
    with Town(tmp_path, providers=2, relays=2) as town, surge.connect(town.file) as network:

        def night() -> None:
            town.stop_relay(0)
            town.stop_relay(1)
            time.sleep(3)
            town.start_relay(1)

        results = network.map(spin, ITEMS, chunk=1)
        assert at(results, 3, night) == WANTED
        receipts = [network.receipt(row["receipt"])["subject"] for row in network.receipts(results.job) if row["kind"] == 1]
        assert len(receipts) == len(set(receipts))


def test_a_provider_leaves_mid_job_and_the_other_finishes(tmp_path: Path) -> None:
    with Town(tmp_path, providers=2) as town, surge.connect(town.file) as network:
        results = network.map(spin, ITEMS, chunk=1)
        assert at(results, 4, lambda: town.call(town.devices[0].stop())) == WANTED


def test_the_only_provider_restarts_and_nothing_is_done_or_paid_twice(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town, surge.connect(town.file) as network:

        def restart() -> None:
            town.call(town.devices[0].stop())
            town.call(town.devices[0].start())

        results = network.map(spin, ITEMS, chunk=1)
        assert at(results, 4, restart) == WANTED
        subjects = [network.receipt(row["receipt"])["subject"] for row in network.receipts(results.job) if row["kind"] == 1]
        assert len(subjects) == len(set(subjects)) == len(ITEMS)


def test_the_ledger_is_away_while_a_job_runs(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town, surge.connect(town.file) as network:
        list(network.map(add_one, range(3)))

        def away() -> None:
            town.stop_ledger()
            time.sleep(4)
            town.start_ledger()

        assert at(network.map(spin, ITEMS, chunk=1), 2, away) == WANTED


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_a_deposit_runs_out_while_the_ledger_is_away(tmp_path: Path, seconds: int) -> None:
    config = ProviderConfig(rates=Rates(gigafuel=10**18), opening=10**17, requote_percent=0)
    with Town(tmp_path, providers=1, tokens=100 * 10**18, config=config) as town, surge.connect(town.file) as network:
        told: list[str] = []

        def away() -> None:
            town.stop_ledger()
            time.sleep(seconds)
            town.start_ledger()

        results = network.map(spin, ITEMS, chunk=1)
        results.progress.tell = told.append
        assert at(results, 1, away) == WANTED
        assert len([text for text in told if "larger deposit" in text]) == 1, told
        subjects = [network.receipt(row["receipt"])["subject"] for row in network.receipts(results.job) if row["kind"] == 1]
        assert len(subjects) == len(set(subjects)) == len(ITEMS)


def test_without_tokens_a_job_says_so_and_goes_on_when_there_are_some(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1, tokens=10**12) as town, surge.connect(town.file) as network:
        results = network.map(add_one, range(5))
        with pytest.raises(surge.NotEnough, match="send it tokens"):
            list(results)
        town.fund(tokens=10**18)
        assert list(network.resume(results.job)) == [1, 2, 3, 4, 5]


def test_without_gas_money_a_job_says_so(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1, coin=0) as town, surge.connect(town.file) as network:
        with pytest.raises(surge.NotEnough, match="gas"):
            list(network.map(add_one, range(5)))
        town.fund(coin=10**18)
        assert list(network.map(add_one, range(5))) == [1, 2, 3, 4, 5]


def test_a_channel_that_runs_empty_is_filled_again(tmp_path: Path) -> None:
    """A unit costs about 0.3 gigafuel: two of them are more than the first deposit."""
    rates = Rates(gigafuel=10**18)
    config = ProviderConfig(rates=rates, opening=10**17, requote_percent=0)
    with Town(tmp_path, providers=1, tokens=12 * 10**18, config=config) as town, surge.connect(town.file) as network:
        results = network.map(spin, ITEMS[:8], chunk=1)
        assert list(results) == WANTED[:8]
        (channel,) = network.channels()
        assert channel["deposit"] > 12 * 10**18 // 16
        assert channel["vouched"] == results.progress.price


def test_a_wallet_that_runs_empty_stops_the_job_which_can_be_resumed(tmp_path: Path) -> None:
    rates = Rates(gigafuel=10**18)
    config = ProviderConfig(rates=rates, opening=10**17, requote_percent=0)
    with Town(tmp_path, providers=1, tokens=2 * 10**18, config=config) as town, surge.connect(town.file) as network:
        results = network.map(spin, ITEMS, chunk=1)
        with pytest.raises(surge.NotEnough, match="tokens"):
            list(results)
        assert network.job(results.job).state == "failed"
        town.fund(tokens=100 * 10**18)
        assert list(network.resume(results.job)) == WANTED
        subjects = [network.receipt(row["receipt"])["subject"] for row in network.receipts(results.job) if row["kind"] == 1]
        assert len(subjects) == len(set(subjects)) == len(ITEMS)


def test_a_deadline_stops_the_job_which_can_be_resumed(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town, surge.connect(town.file) as network:
        rounds = [10, 10, 10, 40_000_000, 40_000_001]
        results = network.map(turn, rounds, chunk=1, deadline=1)
        with pytest.raises(surge.Unavailable, match="deadline"):
            list(results)
        assert list(network.resume(results.job)) == rounds


def test_the_network_is_left_in_the_middle_and_the_job_resumed(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town:
        with surge.connect(town.file) as network:
            results = network.map(spin, ITEMS, chunk=1)
            next(results)
        with surge.connect(town.file) as network:
            assert network.job(results.job).state == "stopped"
            assert list(network.resume(results.job)) == WANTED


def test_an_error_in_the_middle_of_a_job_says_how_to_go_on(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town:
        jobs = []

        def interrupted() -> None:
            with surge.connect(town.file) as network:
                results = network.map(spin, ITEMS, chunk=1)
                jobs.append(results.job[:12])
                next(results)
                network.submit(spin, 1)  # calls are not gone on with, and so not told of
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as caught:
            interrupted()
        (note,) = caught.value.__notes__
        assert f"network.resume('{jobs[0]}')" in note
        with surge.connect(town.file) as network:
            assert list(network.resume(jobs[0])) == WANTED


def test_a_relay_that_is_not_there_and_a_file_that_is_none(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town:
        town.file.write_bytes(replace(town.network, relays=(*nobody(1), *town.network.relays)).encode())
        with surge.connect(town.file) as network:
            assert list(network.map(add_one, range(3))) == [1, 2, 3]
    (tmp_path / "network.json").write_text("hello")
    with pytest.raises(surge.InvalidInput, match="JSON"):
        surge.connect(tmp_path / "network.json")
    with pytest.raises(surge.InvalidInput, match="no network file"):
        surge.connect(tmp_path / "nowhere.json")


def test_a_stale_network_file_whose_relays_are_gone_names_them(tmp_path: Path) -> None:
    """Its contracts are right and the ledger answers, so that nothing but the relays is to blame."""
    with Town(tmp_path, providers=1) as town:
        gone, buyer = nobody(2), Keystore(town.folder / "buyer" / "wallet").address("buyer")
        held = town.call(town.ledger.token_balance(buyer))
        town.file.write_bytes(replace(town.network, relays=gone).encode())
        began = time.monotonic()
        with pytest.raises(surge.Unavailable) as caught:
            surge.connect(town.file)
        assert time.monotonic() - began < 30
        assert "0 of 2 relays answered" in caught.value.message
        assert "take a newer network file" in caught.value.message
        for relay in gone:
            assert f"{relay.url} (cannot connect" in caught.value.message
        assert town.network.rpc[0] not in caught.value.message
        assert town.call(town.ledger.token_balance(buyer)) == held, "nothing was deposited"
        town.file.write_bytes(town.network.encode())
        with surge.connect(town.file) as network:
            assert list(network.map(add_one, range(3))) == [1, 2, 3]


def nobody(count: int) -> tuple[RelayAddress, ...]:
    """Relays at which nobody listens."""
    return tuple(RelayAddress(f"nats://127.0.0.1:{free_port()}", KeySigner.random().address) for _ in range(count))


def test_a_job_that_is_slower_than_its_fuel_says_has_new_prices_after_its_first_unit(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town, surge.connect(town.file) as network:
        rehearsal = network.check(spin, 1)
        device = town.devices[0]
        town.call(device.stop())
        stated = tmp_path / "providers" / "0" / "compute" / "speed.json"
        measured = json.loads(stated.read_text())
        # The rehearsal's are wall seconds, which the tests beside this one stretch.
        stated.write_text(json.dumps({**measured, "fuel_per_second": int(10 * rehearsal.fuel / rehearsal.seconds)}))
        town.call(device.start())
        results = network.map(spin, ITEMS, chunk=6)
        assert list(results) == WANTED
        assert any("has new prices" in event["text"] for event in network.job_log(results.job))
        units = [row for row in network.receipts(results.job) if row["kind"] == 1]
        prices = [price(row) for row in units]
        assert 1.5 * min(prices) < max(prices) < 16 * min(prices)
        assert all(row["accepted"] for row in units)
        for row in (min(units, key=price), max(units, key=price)):
            report = verify_case(network.export_case(row["receipt"], tmp_path / "case.json"), town.network.rpc)
            assert all(check.holds for check in report.checks), report.as_dict()


def price(row: dict[str, Any]) -> float:
    """Wei for a unit of fuel, as a receipt bills it."""
    return float(row["amount"] / row["quantity"])
