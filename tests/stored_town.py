"""A network with stored files for tests of what devices and holders say that was read: its files, and those who count wrongly."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import surge
from network_support import Device, Town
from surge.core.messages.stored import Fetch
from surge.core.receipts import ReceiptKind
from surge.storage.permitted import PermitReader
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
MIB = 1 << 20
SIZE = MIB + 77


def content(number: int, size: int = SIZE) -> bytes:
    return random.Random(number).randbytes(size)


def put(network: surge.Network, folder: str, count: int = 4) -> list[tuple[str, str]]:
    """Put files; what `digest` gives of them."""
    for number in range(count):
        network.files.put(content(number), f"{folder}/{number:02}", code=(2, 4))
    return [(hashlib.sha256(content(number)).hexdigest(), f"{number:02}") for number in range(count)]


def opener(device: Device, kind: type[PermitReader] = PermitReader) -> PermitReader:
    assert device.storage is not None
    before = device.service.stored.opener
    assert isinstance(before, PermitReader)
    return kind(device.town.network.network_id, before._relays, device.key, device.storage.shelf)


def honest_again(town: Town) -> None:
    """Undo what tests did to the devices of a town."""
    for device in town.devices:
        assert device.storage is not None
        device.storage.shelf.__dict__.pop("read", None)
        device.service.stored.opener = opener(device)
        device.service.stored.__dict__.pop("bring", None)
        device.storage.tolls.__dict__.pop("moved_out", None)


def read_at(network: surge.Network, town: Town) -> dict[str, int]:
    """Bytes of reads that were paid so far, by holder."""
    paid: dict[str, int] = {}
    for row in network.receipts():
        if row["kind"] == ReceiptKind.TRANSFER and row["accepted"] and not int(row["job"] or "0", 16):
            paid[row["device"]] = paid.get(row["device"], 0) + row["quantity"]
    return paid


def unpaid(town: Town) -> dict[str, int]:
    """What holders count as read and not billed, for whatever channel."""
    found = {}
    for device in town.devices:
        assert device.storage is not None
        found[device.address] = sum(traffic.read for traffic in device.storage.tolls._traffic.values())
    return found


class Overstating(PermitReader):
    """Says that it read a hundred times as much, and some of a holder that it did not ask."""

    async def fetch(self, asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
        read = dict(await super().fetch(asked, to))
        return [(each.holder, 100 * read.get(each.holder, MIB)) for each in asked.permits]


class Understating(PermitReader):
    """Says that it read nothing."""

    async def fetch(self, asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
        await super().fetch(asked, to)
        return []


def counted(town: Town) -> dict[str, list[int]]:
    """What honest holders count from now on."""
    found: dict[str, list[int]] = {device.address: [] for device in town.devices}
    for device in town.devices:
        assert device.storage is not None
        count(device.storage.tolls, found[device.address])
    return found


def count(tolls: Any, sizes: list[int], times: int = 1) -> None:
    honest = type(tolls).moved_out

    def moved_out(channel: bytes, size: int) -> None:
        sizes.append(size)
        honest(tolls, channel, times * size)

    tolls.moved_out = moved_out
