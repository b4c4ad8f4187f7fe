"""What a repair leaves alone: a shard that is challenged, and sources of what nobody is to get."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import surge
from keeping_support import CODE, CONFIG, MIB, UNHURRIED, deals, device_of, eventually, shard_file, town_of
from network_support import Town
from surge.storage.journal import LOST
from surge.storage.keeper_repair import MOST_DEARER, Repairing


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path / "town", providers=CODE[1], parameters=UNHURRIED) as town:
        yield town


def test_what_is_challenged_is_not_released_to_make_way_for_another_shard(town: Town) -> None:
    with surge.connect(town.file) as network:
        network.files.put(random.Random(1).randbytes(MIB), "held", code=CODE, segment_size=MIB)
        victim = deals(network, "held")[0]
        device = device_of(town, victim)
        network.files.audit()
        shard_file(town, victim).unlink()
        network.files.audit()
        eventually(lambda: [each for each in network.files.challenge("held") if each.what == "challenged"])  # the ledger's clock lags
        (work,) = network.files.repair()
        assert (work.what, work.device, "is challenged there" in work.why) == ("failed", victim.device, True), work
        assert device.storage is not None
        assert device.storage.shelf.index.released(victim.id) is None, "with it the holder would escape, and get the fee"
        assert [row.id for row in deals(network, "held", LOST)] == [victim.id]


def test_no_shards_are_read_for_places_that_are_too_dear(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    with surge.connect(town.file) as network:
        network.files.put(random.Random(2).randbytes(MIB), "dear", code=CODE, segment_size=MIB)
        victim = deals(network, "dear")[0]
        shard_file(town, victim).unlink()
        network.files.audit()
        device, usual = device_of(town, victim), town.storage
        town.call(device.stop())
        town.storage = replace(CONFIG, price=(MOST_DEARER + 1) * CONFIG.price)
        town.call(device.start())
        town.storage = usual
    read: list[Any] = []
    whole = Repairing._read

    async def counted(self: Repairing, *args: Any) -> Any:
        read.append(args)
        return await whole(self, *args)

    monkeypatch.setattr(Repairing, "_read", counted)
    with surge.connect(town.file) as network:
        works = eventually(network.files.repair)
        assert [(each.what, "others get" in each.why) for each in works] == [("failed", True)], works
        assert read == [], "whoever holds a shard would be paid for it in every round"
