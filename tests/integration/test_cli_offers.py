"""What a provider says of itself reaches buyers: `surge network offers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import buyer_functions
import surge
from cli_support import Place, until
from network_support import Town
from surge.errors import InvalidInput
from surge.provider.config import ProviderConfig, Rates

RATES = Rates(gigafuel=2 * 10**15, memory=3 * 10**12, transfer=4 * 10**14, compile=5 * 10**14)


@pytest.fixture(scope="module")
def town(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    config = ProviderConfig(region="eu", milliwatts=15_500, rates=RATES)
    with Town(tmp_path_factory.mktemp("town"), providers=1, relays=1, config=config) as town:
        yield town


def test_everything_a_provider_states_is_listed(town: Town, python_image: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, python_image)
    network = ("--network", town.file)
    (row,) = place.json("network", "offers", *network)
    assert row["device"] == town.devices[0].address
    prices = [row[f"{name}_price"] for name in ("gigafuel", "memory", "transfer", "compile")]
    assert prices == [RATES.gigafuel, RATES.memory, RATES.transfer, RATES.compile]
    assert (row["milliwatts"], row["region"], row["excluded_by"]) == (15_500, "eu", "")
    assert row["relays"] == [town.network.relays[0].url]
    assert row["images"]
    assert row["typical_price"] > row["gigafuel_price"]

    (title, line) = place.surge("network", "offers", *network).text.splitlines()
    assert title.split()[:3] == ["device", "region", "cores"]
    for shown in (row["device"], "eu", "0.002", "15.5"):
        assert shown in line.split(), line
    for option, value, name in (
        ("--max-price", "0.001", "max_price"),
        ("--region", "moon", "region"),
        ("--memory", "3G", "memory"),
        ("--provider", "0x" + "11" * 20, "providers"),
    ):
        assert place.surge("network", "offers", *network, option, value).text.splitlines()[1].split()[-1] == name
    with surge.connect(town.file) as buyer:
        assert [each["excluded_by"] for each in buyer.offers(max_price=1)] == ["max_price"]
        with pytest.raises(TypeError, match="no such option: price"):
            buyer.offers(price=1)  # type: ignore[call-arg]


def test_what_a_wallet_saw_and_what_the_ledger_shows_becomes_a_standing(town: Town, python_image: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, python_image)
    network, device = ("--network", town.file), town.devices[0].address
    assert place.json("provider", "list", *network)[0]["standing"] == 0.5
    with surge.connect(town.file) as buyer:
        assert list(buyer.map(buyer_functions.add_one, range(20), chunk=1)) == list(range(1, 21))
        assert buyer.close_channel(device)["how"] == "together"
        (row,) = buyer.provider(device)
        assert row["reasons"][1]["text"].startswith("20 units accepted here")
        with pytest.raises(InvalidInput, match="nobody knows 0x1111"):
            buyer.provider("0x" + "11" * 20)
    (row,) = place.json("provider", "show", device, *network)
    assert row["reasons"][1]["text"].startswith("20 units accepted here")
    assert any(each["text"].startswith("1 buyer paid it and ") for each in row["reasons"])
    assert sum(each["adds"] for each in row["reasons"]) == pytest.approx(row["standing"], abs=0.001)
    assert row["standing"] > 0.9
    assert row["known"]
    assert place.json("provider", "list", *network)[0]["standing"] == row["standing"]
    assert place.json("network", "offers", *network)[0]["standing"] == row["standing"]
    assert [each["device"] for each in place.json("provider", "show", row["operator"], *network)] == [device]
    said = place.surge("provider", "show", device, *network).text
    assert "20 units accepted here, the last " in said
    assert " SURGE of fees on the ledger" in said


def test_a_device_sees_its_market(town: Town) -> None:
    provider = town.devices[0].provider
    until(lambda: provider.status()["market"] is not None, 30, "a look at the boards")
    seen = provider.status()["market"]
    assert (seen["listed"], seen["others"], seen["bond"]) == (True, 0, None)
