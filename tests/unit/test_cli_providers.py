"""What people see of providers, on a terminal of 80 columns and elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from offers_support import OFFER, who
from surge.buyer.judge import Whom
from surge.buyer.offered import offer_row, standing_row
from surge.cli import console, providers, tables
from surge.cli.console import run_command
from surge.core.standing import Experience, Payment, Record, Standing, standing

NOW = 1_800_000_000.0
KNOWN = standing(
    Record((Payment(NOW - 86_400, who(9), 3 * 10**16),), bond=25 * 10**18),
    Experience(accepted=((NOW, 410),), local=((NOW - 7200, 4),)),
    now=NOW,
    fee_bps=100,
)


class Network:
    """A network with these listings."""

    def __init__(self, bond: int | None) -> None:
        self.bond = bond
        self.storage = 0
        self.asked: list[dict[str, Any]] = []

    def providers(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked.append(asked)
        device = replace(OFFER, device=who(0xABCDEF << 128), region="northern-europe-1", engine_label="wasmtime-49.0.0 x86_64 01020304")
        device = replace(device, storage=self.storage)
        return [offer_row(device, 512 << 20, None, KNOWN, self.bond), offer_row(OFFER, 512 << 20, "max_price", Standing(), self.bond)]

    def provider(self, named: str) -> list[dict[str, Any]]:
        offer = offer_row(OFFER, 512 << 20, None, KNOWN, self.bond)
        whom = Whom(OFFER.device, OFFER.operator, 1)
        return [standing_row(whom, KNOWN, offer, self.bond, NOW), standing_row(whom, Standing(), None, None, None)]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[Network, io.StringIO]:
    screen = io.StringIO()
    width, bond = getattr(request, "param", (80, 25 * 10**18))
    for module in (tables, providers):
        monkeypatch.setattr(module, "out", console.SafeConsole(file=screen, width=width, highlight=False))
    network = Network(bond)
    monkeypatch.setattr(providers, "opened", lambda path: contextlib.nullcontext(network))
    return network, screen


def test_a_list_fits_on_80_columns_and_shows_what_matters(shown: tuple[Network, io.StringIO]) -> None:
    network, screen = shown
    assert run_command(providers.provider, ["list", "--max-price", "0.001", "--provider", who(1)]) == 0
    assert network.asked == [{"max_price": 10**15, "providers": (who(1),)}]
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    whole = " ".join(screen.getvalue().split())
    for word in (
        "device",
        "region",
        "standing",
        "bond",
        "engine",
        "excluded",
        "0.001",
        "1.00",
        "0.50",
        "25",
        "49.0.0",
        "max_price",
        "northern",
    ):
        assert word in whole, (word, whole)
    assert any(line.startswith(OFFER.device[:10] + " ") for line in lines)


@pytest.mark.parametrize("shown", [(120, None)], indirect=True)
def test_where_no_bond_is_known_there_is_no_column_of_it_and_wide_tables_have_whole_addresses(shown: tuple[Network, io.StringIO]) -> None:
    assert run_command(providers.provider, ["list"]) == 0
    text = shown[1].getvalue()
    assert "bond" not in text
    assert OFFER.device in text
    assert "watts" not in text


@pytest.mark.parametrize("shown", [(240, 0)], indirect=True)
def test_where_there_is_room_everything_is_shown(shown: tuple[Network, io.StringIO]) -> None:
    assert run_command(providers.provider, ["list"]) == 0
    assert {"memory", "opening", "watts", "bond"} <= set(shown[1].getvalue().splitlines()[0].split())
    assert OFFER.device in shown[1].getvalue()


@pytest.mark.parametrize("shown", [(80, 25 * 10**18), (240, 0)], indirect=True)
def test_what_storage_costs_is_shown_where_anybody_offers_it(shown: tuple[Network, io.StringIO]) -> None:
    network, screen = shown
    assert run_command(providers.provider, ["list"]) == 0
    assert "storage" not in screen.getvalue()
    network.storage = 2 * 10**15
    assert run_command(providers.provider, ["list"]) == 0
    text = screen.getvalue()
    assert "storage" in text
    assert "0.002" in text
    assert max(map(len, text.splitlines())) <= 240
    assert "…" not in text


def test_a_standing_is_shown_with_every_reason_and_what_it_adds(shown: tuple[Network, io.StringIO]) -> None:
    assert run_command(providers.provider, ["show", OFFER.device]) == 0
    text = shown[1].getvalue()
    for line in (
        f"  device  {OFFER.device}",
        "standing  0.995",
        "  +0.500  where everybody begins",
        "  +0.496  410 units accepted here, the last today",
        "  -0.001  4 units ended with no result, the last today",
        "  +0.000  1 buyer paid it and 0.03 SURGE of fees on the ledger, this week (age itself counts nothing)",
        "  +0.000  its operator stakes 25 SURGE",
        "  offers  a typical unit for 0.001002 SURGE, compared with others' as if for 0.001006 SURGE",
        "          it offers nothing now",
    ):
        assert line in text.splitlines(), (line, text)
    assert text.count("ledger  as far as it was read: back to ") == 1


def test_as_json_nothing_is_left_out(shown: tuple[Network, io.StringIO], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(providers.provider, ["show", OFFER.device, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert sum(each["adds"] for each in first["reasons"]) == pytest.approx(first["standing"], abs=1e-3)
    assert (first["known"], first["bond"], first["offer"]["standing"]) == (True, 25 * 10**18, first["standing"])
    assert (second["offer"], second["bond"], second["ledger_since"]) == (None, None, 0)
