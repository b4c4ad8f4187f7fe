"""Records in a network of many devices: left and found by people who know the author and nothing else."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from surge.core.storage.records import Record
from surge.core.types import Address
from surge.errors import Unavailable
from surge.storage.notes import ASKED, MOST_LIKELY, Notes, Outdated, nearest
from surge.wallet import KeySigner

AUTHOR = KeySigner(b"a" * 32)
LABEL = b"l" * 32


@dataclass
class Device:
    there: dict[tuple[Address, bytes], Record] = field(default_factory=dict)

    async def put_record(self, record: Record) -> Record | None:
        known = self.there.setdefault((record.author, record.label), record)
        if known.version < record.version:
            self.there[record.author, record.label] = known = record
        return None if known == record else known


class Network:
    """Many devices, some of which are away."""

    def __init__(self, count: int) -> None:
        lot = random.Random(count)
        self.devices = {Address("0x" + lot.randbytes(20).hex()): Device() for _ in range(count)}
        self.away: set[Address] = set()
        self.silent: set[Address] = set()
        self.slow: set[Address] = set()
        self.asked: list[Address] = []

    async def offers(self) -> dict[Address, Device]:
        return dict(random.Random(len(self.asked)).sample(sorted(self.devices.items(), key=lambda each: each[0]), len(self.devices)))

    async def holder(self, device: Address) -> Device:
        if device in self.away:
            raise Unavailable("away")
        if device in self.silent:
            await asyncio.Event().wait()
        return self.devices[device]

    async def record_at(self, device: Address, author: Address, label: bytes) -> bytes:
        self.asked.append(device)
        if device in self.silent:
            await asyncio.Event().wait()
        found = (await self.holder(device)).there.get((author, label))
        return b"" if found is None else found.encode()

    def failed(self, device: Address, error: Exception) -> None:
        self.away.add(device)

    def late(self, device: Address) -> None:
        self.slow.add(device)

    def is_shunned(self, device: Address) -> bool:
        return device in self.away | self.slow


def notes(network: Network) -> Notes:
    found: Any = network
    return Notes(found)


async def test_a_record_is_found_among_many_devices_by_who_knows_its_author() -> None:
    network = Network(1000)
    mine = notes(network)
    held = sorted(network.devices)[500:530]
    devices = await mine.findable(AUTHOR.address, held)
    assert set(held) < set(devices)
    await mine.leave(AUTHOR, LABEL, 1, b"body", devices)
    found = await notes(network).newest(AUTHOR.address, LABEL)
    assert found is not None
    assert found.body == b"body"
    assert len(network.asked) == ASKED
    network.away = set(nearest(AUTHOR.address, network.devices)[:4])
    assert await notes(network).newest(AUTHOR.address, LABEL), "one of those that everybody asks is enough"


async def test_what_is_left_at_ones_own_devices_is_found_by_who_knows_some_of_them() -> None:
    network = Network(1000)
    mine, held = notes(network), nearest(AUTHOR.address, network.devices)[-30:]
    await mine.leave(AUTHOR, LABEL, 1, b"body", held)
    owner = notes(network)
    owner.likely = held[:MOST_LIKELY]
    assert await owner.newest(AUTHOR.address, LABEL)
    assert len(network.asked) == ASKED


async def test_who_failed_a_moment_ago_is_no_place_to_be_found_at() -> None:
    network = Network(100)
    first = nearest(AUTHOR.address, network.devices)
    network.away = set(first[:3])
    assert await notes(network).findable(AUTHOR.address, []) == first[3:8]


async def test_a_few_devices_are_all_asked() -> None:
    network = Network(7)
    await notes(network).leave(AUTHOR, LABEL, 2, b"two", sorted(network.devices)[:1])
    assert await notes(network).newest(AUTHOR.address, LABEL)
    assert sorted(network.asked) == sorted(network.devices)
    with pytest.raises(Outdated):
        await notes(network).leave(AUTHOR, LABEL, 1, b"one", sorted(network.devices)[:1])


async def test_who_says_nothing_is_not_waited_for_once_enough_have_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.storage.fleet.PATIENCE", 0.05)
    network = Network(6)
    notes = Notes(network)  # type: ignore[arg-type]
    await notes.leave(AUTHOR, LABEL, 1, b"one", list(network.devices))
    network.silent = set(list(network.devices)[:2])
    async with asyncio.timeout(5):
        found = await notes.newest(AUTHOR.address, LABEL)
    assert found is not None
    assert found.body == b"one"
    assert network.slow == network.silent


async def test_a_record_is_left_with_others_when_some_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.storage.fleet.PATIENCE", 0.05)
    network = Network(14)
    notes, devices = Notes(network), list(network.devices)  # type: ignore[arg-type]
    network.silent = set(devices[:2])
    async with asyncio.timeout(5):
        assert await notes.leave(AUTHOR, LABEL, 1, b"one", devices) == 10, "two others have it"
        assert network.slow == network.silent
        assert await notes.leave(AUTHOR, LABEL, 2, b"two", devices) == 10
    assert all(not network.devices[each].there for each in network.silent)


async def test_too_few_who_keep_a_record_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.storage.fleet.PATIENCE", 0.05)
    network = Network(4)
    notes, devices = Notes(network), list(network.devices)  # type: ignore[arg-type]
    network.silent = set(devices[:2])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await notes.leave(AUTHOR, LABEL, 1, b"one", devices)


async def test_a_newer_version_is_waited_for_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(6)
    notes = Notes(network)  # type: ignore[arg-type]
    await notes.leave(AUTHOR, LABEL, 1, b"one", list(network.devices))
    last = list(network.devices)[-1]
    await notes.leave(AUTHOR, LABEL, 2, b"two", [last])
    others_told, before = asyncio.Event(), network.record_at

    async def record_at(device: Address, author: Address, label: bytes) -> bytes:
        if device == last:
            await others_told.wait()
            await asyncio.sleep(0.1)  # it is slower
        found = await before(device, author, label)
        if len(network.asked) == 5:
            others_told.set()
        return found

    monkeypatch.setattr(network, "record_at", record_at)
    found = await notes.newest(AUTHOR.address, LABEL)
    assert found is not None
    assert found.body == b"two"
