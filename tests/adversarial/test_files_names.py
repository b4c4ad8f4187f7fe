"""Names on devices that forget, fall back, lie or are away, and between machines that write at once or do not see each other."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from surge.core.storage import records
from surge.core.storage.catalogue import Entry, Keys, page_of, removed
from surge.core.storage.header import Header
from surge.core.storage.records import Record
from surge.core.types import Address
from surge.errors import PeerFault, SurgeError, Unavailable
from surge.storage.journal import KEPT, DealRow, FilesJournal
from surge.storage.names import ROOT, Book
from surge.storage.notes import ASKED, Notes
from surge.wallet import KeySigner

NOW = 1_800_000_000
WALLET = KeySigner(b"w" * 32)
STRANGER = KeySigner(b"s" * 32)


@dataclass
class Holder:
    """A device that keeps records as holders do."""

    records: dict[tuple[str, bytes], Record] = field(default_factory=dict)
    away: bool = False
    tells: Record | None = None
    """What it says in place of what it has."""

    async def put_record(self, record: Record) -> Record | None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("it is away")
        key = (record.author, record.label)
        there = self.records.get(key)
        if there is not None and (there.version > record.version or (there.version == record.version and there != record)):
            return there
        self.records[key] = record
        return None


class Fleet:
    """Devices by number."""

    def __init__(self, count: int) -> None:
        self.holders = {Address(f"0x{number + 1:040x}"): Holder() for number in range(count)}
        self.faults: list[SurgeError] = []

    def __getitem__(self, number: int) -> Holder:
        return list(self.holders.values())[number]

    async def offers(self) -> dict[Address, None]:
        return dict.fromkeys(self.holders)

    async def holder(self, device: Address) -> Holder:
        return self.holders[device]

    def is_shunned(self, device: Address) -> bool:
        return False

    def failed(self, device: Address, error: SurgeError) -> None:
        if isinstance(error, PeerFault):
            self.faults.append(error)

    async def record_at(self, device: Address, author: Address, label: bytes) -> bytes:
        await asyncio.sleep(0)
        holder = self.holders[device]
        if holder.away:
            raise Unavailable("it is away")
        record = holder.tells or holder.records.get((author, label))
        return b"" if record is None else record.encode()

    def away(self, numbers: Iterable[int]) -> None:
        """These are away, and no others."""
        for number, holder in enumerate(self.holders.values()):
            holder.away = number in set(numbers)


class Machine:
    """One of several with the same wallet."""

    def __init__(self, fleet: Fleet, folder: Path, name: str) -> None:
        self.fleet, self.folder, self.name = fleet, folder, name
        self.journal = FilesJournal(folder / f"{name}.db")
        self.book = self._book()

    def _book(self) -> Book:
        fleet: Any = self.fleet
        return Book(WALLET, b"k" * 32, self.journal, Notes(fleet), fleet, self.name.encode().ljust(8))

    def again(self) -> None:
        """Its program starts anew."""
        self.journal.close()
        self.journal = FilesJournal(self.folder / f"{self.name}.db")
        self.book = self._book()

    async def holds(self) -> None:
        """It has a deal with every device."""
        rows = [
            DealRow(
                *(secrets.token_bytes(32), bytes(32), 0, shard, device, device, bytes(32), bytes(16), 1, 1, 1),
                *(0, 0, 0, 0, None, KEPT),
            )
            for shard, device in enumerate(self.fleet.holders)
        ]
        await self.journal.put_deals(rows)

    async def put(self, *names: str, now: int = NOW) -> None:
        fresh = {name: entry(now, self.book.writer) for name in names}
        await self.book.change(lambda there: there | fresh, list(self.fleet.holders), now)

    async def remove(self, name: str, now: int = NOW + 100) -> None:
        await self.book.change(lambda there: there | {name: removed(there[name], now, self.book.writer)}, list(self.fleet.holders), now)

    async def names(self) -> set[str]:
        return {name for name, entry in (await self.book.read()).items() if entry.keys is not None}


def entry(now: int, writer: bytes) -> Entry:
    keys = Keys(secrets.token_bytes(32), bytes(32), bytes(32), bytes(32), WALLET.address)
    return Entry(keys, Header(7, k=2, n=3), now, 0, now, writer)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(6)


async def test_two_machines_that_write_in_one_moment_keep_what_both_wrote(fleet: Fleet, tmp_path: Path) -> None:
    a, b = Machine(fleet, tmp_path, "a"), Machine(fleet, tmp_path, "b")
    await a.put("first")
    await b.book.read()
    await asyncio.gather(a.put("from a", "both"), b.put("from b", "both"))
    assert await a.names() == await b.names() == {"first", "from a", "from b", "both", "both (2)"}


async def test_an_older_root_is_not_believed_by_who_knew_a_newer(fleet: Fleet, tmp_path: Path) -> None:
    a = Machine(fleet, tmp_path, "a")
    await a.put("one")
    old = fleet[0].records[WALLET.address, ROOT]
    await a.put("two")
    for holder in fleet.holders.values():
        holder.tells = old
    a.again()
    assert await a.names() == {"one", "two"}
    for holder in fleet.holders.values():
        holder.tells = None
    await a.put("three")
    assert await Machine(fleet, tmp_path, "new").names() == {"one", "two", "three"}


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_was_written_without_seeing_the_newest_does_not_overwrite_it(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture, restarts: bool
) -> None:
    a, b = Machine(fleet, tmp_path, "a"), Machine(fleet, tmp_path, "b")
    for machine in (a, b):
        await machine.holds()
    await a.put("old", "gone")
    await b.book.read()
    fleet.away(range(3))
    await b.put("from b")  # left with the last three
    await b.remove("gone")
    fleet.away(range(3, 6))
    await a.put("from a 1", "old too")  # it finds the old ones, and leaves its own with the first three
    await a.put("from a 2")
    await a.put("from a 3")
    fleet.away(())
    if restarts:
        a.again()
        b.again()
    together = {"old", "old too", "from a 1", "from a 2", "from a 3", "from b"}
    assert await b.names() == together
    assert await a.names() == together
    assert await Machine(fleet, tmp_path, "new").names() == together
    assert "two machines that did not see each other" in caplog.text


async def test_a_page_that_vanished_takes_only_its_names_and_is_not_overwritten(fleet: Fleet, tmp_path: Path) -> None:
    a = Machine(fleet, tmp_path, "a")
    names = [f"name {number}" for number in range(20)]
    await a.put(*names)
    lost = page_of(names[0])
    label = a.book._pages[lost][0]
    kept = [holder.records.pop((WALLET.address, label)) for holder in fleet.holders.values()]
    new = Machine(fleet, tmp_path, "new")
    rest = {name for name in names if page_of(name) != lost}
    assert await new.names() == rest
    with pytest.raises(Unavailable, match=r"page \d+ of your names is not found"):
        new.book.check_there(["name 0"])
    new.book.check_there(rest)
    with pytest.raises(Unavailable, match=r"page \d+ of your names is not found"):
        await new.put("name 0")
    other = next(f"more {number}" for number in range(100) if page_of(f"more {number}") != lost)
    await new.put(other)
    new.again()
    assert await new.names() == rest | {other}
    assert await a.names() == {*names, other}, "who still has the page has its names"
    fleet[3].records[WALLET.address, label] = kept[3]
    assert await new.names() == {*names, other}


async def test_one_holder_of_all_is_enough_to_find_a_record(fleet: Fleet, tmp_path: Path) -> None:
    await Machine(fleet, tmp_path, "a").put("one")
    for number in range(5):
        fleet[number].records.clear()
    assert await Machine(fleet, tmp_path, "new").names() == {"one"}


async def test_records_are_found_among_more_devices_than_are_asked_at_once(tmp_path: Path) -> None:
    fleet = Fleet(3 * ASKED)
    a = Machine(fleet, tmp_path, "a")
    only = list(fleet.holders)[-4:]
    fresh = {"far": entry(NOW, bytes(8))}
    await a.book.change(lambda there: there | fresh, only, NOW)
    assert await Machine(fleet, tmp_path, "new").names() == {"far"}


async def test_records_of_another_author_or_label_are_a_fault_and_not_believed(fleet: Fleet, tmp_path: Path) -> None:
    a = Machine(fleet, tmp_path, "a")
    await a.put("one")
    good = fleet[0].records[WALLET.address, ROOT]
    forged = Record(WALLET.address, ROOT, 99, good.body, good.signature)
    fleet[0].tells = records.sign(STRANGER, ROOT, 100, good.body)
    fleet[1].tells = records.sign(WALLET, bytes(32), 100, good.body)
    fleet[2].tells = forged
    assert await Machine(fleet, tmp_path, "new").names() == {"one"}
    assert len(fleet.faults) >= 3


async def test_with_nobody_there_names_are_unavailable_and_not_empty(fleet: Fleet, tmp_path: Path) -> None:
    await Machine(fleet, tmp_path, "a").put("one")
    fleet.away(range(6))
    with pytest.raises(Unavailable, match="no device tells"):
        await Machine(fleet, tmp_path, "new").names()
