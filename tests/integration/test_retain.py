"""Holding devices ready over a real network: from Python, and by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import surge
from buyer_functions import add_one
from cli_support import Place, until
from network_support import Town
from surge.core.receipts import ReceiptKind
from surge.provider.config import ProviderConfig

pytestmark = pytest.mark.timeout(300)

PRICE = 36 * 10**17
"""Wei: 3.6 SURGE for a core over an hour, a thousandth a second."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, python_image: Path) -> Iterator[Town]:
    config = ProviderConfig(cores=1, retainer=PRICE)
    with Town(tmp_path_factory.mktemp("retain"), providers=2, relays=1, config=config) as town:
        yield town


def test_a_device_is_held_for_its_buyer_works_for_it_and_is_paid_for_the_seconds(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.core.retainers.PING_SECONDS", 0.5)
    monkeypatch.setattr("surge.core.retainers.PERIOD_SECONDS", 2)
    held, free = town.devices
    with surge.connect(town.file) as network:
        rows = {row["device"]: row for row in network.offers()}
        assert rows[held.address]["retainer_price"] == PRICE
        with pytest.raises(surge.NoProvider, match="ask more than"):
            network.retain(1, hours=1, max_price=PRICE - 1)
        with network.retain(held.address, hours=1, max_price=PRICE) as retainer:
            assert retainer.devices == [held.address]
            assert list(network.map(add_one, range(4), providers=retainer.devices)) == [1, 2, 3, 4]
            until(lambda: retainer.paid > 0, 30, "a period to be paid")
            (turns,) = [service.turns for service in held.provider._services.values() if service.name == "compute"]  # type: ignore[attr-defined]
            assert turns.is_shut("somebody else")
            assert list(network.map(add_one, range(4), providers=[free.address])) == [1, 2, 3, 4]
            assert not retainer.wait(0.01)
        (state,) = retainer.status()
        assert state.ended == "it was released"
        assert state.paid == state.seconds * PRICE // 3600
        assert not turns.is_shut("somebody else")
        receipts = [row for row in network.receipts() if row["kind"] == ReceiptKind.RETAINER]
        assert sum(row["amount"] for row in receipts) == retainer.paid
        assert {row["device"] for row in receipts} == {held.address}


def test_hours_end_by_themselves_and_odd_ones_are_refused(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.core.retainers.PING_SECONDS", 0.5)
    with surge.connect(town.file) as network:
        for hours in (0, -1, "2", 10**6):
            with pytest.raises(surge.InvalidInput, match="hours"):
                network.retain(1, hours=hours)  # type: ignore[arg-type]
        retainer = network.retain(2, hours=2 / 3600)
        assert retainer.wait(30)
        assert {each.ended for each in retainer.status()} == {"its time is over"}


def test_the_command_holds_until_it_is_stopped_and_says_what_was_paid(town: Town, tmp_path: Path, python_image: Path) -> None:
    place = Place(tmp_path, python_image)
    held = town.devices[0].address
    words = ("retain", held, "--hours", "1", "--max-price", "4", "--network", town.file, "--json")
    with place.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stderr is not None
            said = child.stderr.readline().decode()
            assert said == f"{held} keeps 1 core free, each for 3.6 SURGE an hour\n"
            os.kill(child.pid, signal.SIGTERM)
            out, _ = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 0
    (row,) = json.loads(out)
    assert (row["device"], row["ended"]) == (held, "it was released")
    assert "ask more than" in place.surge("retain", "1", "--hours", "1", "--max-price", "1", "--network", town.file, code=4).err
