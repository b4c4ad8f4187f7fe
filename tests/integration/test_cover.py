"""Long units over a real network: who has none of a device's trust yet gets them all the same, by raising its channel's floor."""

from __future__ import annotations

from pathlib import Path

import pytest

import surge
from buyer_functions import add_one, turn
from network_support import Town
from surge.errors import NotEnough
from surge.provider.config import ProviderConfig

OPENING = 10**15
"""Wei: the floor that devices ask for, a gigafuel at the default price."""

LONG = 18_000_000
"""Rounds that take some six times as much."""


def test_a_long_unit_is_stopped_the_floor_raised_and_its_buyer_gets_the_result(tmp_path: Path) -> None:
    """What it lost on the way is what the floor pays; it is told so in words, and does nothing."""
    with Town(tmp_path, providers=1, config=ProviderConfig(opening=OPENING)) as town, surge.connect(town.file) as network:
        results = network.map(turn, [LONG])
        assert list(results) == [LONG]
        (channel,) = network.channels()
        assert channel["floor"] > OPENING
        said = [entry["text"] for entry in network.job_log(results.job) if "floor" in entry["text"]]
        assert said
        assert "takes more than" in said[0]
        assert channel["floor"] < 32 * OPENING, "what is pledged and lost on the way is in proportion to the unit"
        refused = town.devices[0].provider.tally.refusals["cover"]
        assert 1 <= refused <= 3, "each rise covers four times as much"
        assert list(network.map(turn, [LONG, LONG])) == [LONG, LONG]
        assert town.devices[0].provider.tally.refusals["cover"] == refused, "what is pledged covers the next"


def test_a_budget_that_cannot_carry_a_long_unit_says_so_with_figures(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1, config=ProviderConfig(opening=OPENING)) as town, surge.connect(town.file) as network:
        with pytest.raises(NotEnough) as caught:
            list(network.map(turn, [LONG], budget=2 * OPENING))
        assert "SURGE" in str(caught.value)


def test_small_units_never_ask_for_cover_and_their_window_grows_as_before(tmp_path: Path) -> None:
    with Town(tmp_path, providers=1) as town, surge.connect(town.file) as network:
        assert list(network.map(add_one, range(600), chunk=1)) == list(range(1, 601))
        (device,) = town.devices
        (desk,) = device.provider.reception.desks
        assert device.provider.tally.refusals["cover"] == 0
        assert desk.account.window == device.config.window_max
        (channel,) = network.channels()
        assert channel["floor"] == device.config.opening
