"""A town whose devices lend disk, with periods of seconds, and what happens to their shards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import surge
from ledger_support import UNBONDED
from network_support import Device, Town
from surge.core.parameters import EMBEDDED, Parameters
from surge.storage.journal import KEPT, DealRow
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (3, 5)
MIB = 1 << 20

PERIOD = 6
"""Seconds: a device is missed after as many."""

assert EMBEDDED.storage is not None
HASTY = replace(UNBONDED, storage=replace(EMBEDDED.storage, period_seconds=PERIOD, deadline_seconds=PERIOD))
UNHURRIED = UNBONDED
"""Periods of minutes."""


def town_of(folder: Path, providers: int = 7, parameters: Parameters = HASTY) -> Town:
    return Town(folder, providers=providers, storage=CONFIG, parameters=parameters)


def deals(network: surge.Network, name: str | None = None, state: str = KEPT) -> list[DealRow]:
    """Deals in the journal of a network's own files."""
    files: Any = network.files
    found: list[DealRow] = files._call(lambda storage: storage.journal.deals(state=state))
    if name is None:
        return found
    entry = files._call(lambda storage: storage.find(name))[1]
    return [each for each in found if each.object == entry.keys.object]


def device_of(town: Town, row: DealRow) -> Device:
    return next(each for each in town.devices if each.address == row.device)


def shard_file(town: Town, row: DealRow) -> Path:
    """Where a holder has a shard on its disk."""
    device = device_of(town, row)
    assert device.storage is not None
    return device.storage.shelf._place(row.id)


def eventually(done: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Try until it gives something."""
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, "it did not come about"
    return found
