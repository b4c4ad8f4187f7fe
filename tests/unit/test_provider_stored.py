"""What a device keeps of stored files: each for its buyer alone, within a bound, and no longer than its process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from surge.core.messages.stored import Fetch
from surge.core.storage.stored import StoredPart
from surge.core.types import Address
from surge.errors import Unavailable
from surge.provider import stored
from surge.provider.service import Refused
from surge.provider.stored import Key, StoredParts


class Opener:
    """Brings what it is told."""

    def __init__(self) -> None:
        self.brought = 0

    async def fetch(self, asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
        self.brought += 1
        await asyncio.to_thread(to.write_bytes, bytes(asked.length))
        return []


def made(folder: Path, budget: int) -> tuple[StoredParts, Opener]:
    brings = Opener()
    parts = StoredParts(folder, budget=budget, most=budget, unpaid=budget, opener=brings)
    parts.start()
    return parts, brings


PART = StoredPart(bytes(32), 1000, 0, 100, "a")


def key_of(number: int, offset: int = 0) -> Key:
    return Key.of(Address(f"0x{number:040x}"), replace(PART, offset=offset))


def fetch_of() -> Any:
    class Asked:
        length = 100

    return Asked()


async def test_what_one_buyer_had_brought_is_nobody_elses(tmp_path: Path) -> None:
    parts, brings = made(tmp_path, 1000)
    assert await parts.bring(key_of(1), fetch_of()) == []
    assert await parts.bring(key_of(1), fetch_of()) is None
    assert parts.path(key_of(2)) is None, "the object's id opens nothing"
    await parts.bring(key_of(2), fetch_of())
    assert brings.brought == 2


async def test_what_is_in_use_stays_and_the_rest_makes_room(tmp_path: Path) -> None:
    parts, _ = made(tmp_path, 250)
    await parts.bring(key_of(1, 0), fetch_of())
    with parts.pinned([key_of(1, 0)]):
        await parts.bring(key_of(1, 100), fetch_of())
        await parts.bring(key_of(1, 200), fetch_of())
        assert [parts.path(key_of(1, at)) is not None for at in (0, 100, 200)] == [True, False, True]
        with parts.pinned([key_of(1, 200)]), pytest.raises(Unavailable, match="in use fill the 250 bytes"):
            await parts.bring(key_of(1, 300), fetch_of())
    assert len(list(tmp_path.iterdir())) == 2
    parts.start()
    assert not list(tmp_path.iterdir()), "nothing outlives the process"


async def test_files_without_bytes_are_bounded_by_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_HERE", 8)
    parts, _ = made(tmp_path, 250)
    asked: Any = SimpleNamespace(length=0)
    keys = [replace(key_of(1, number), length=0) for number in range(20)]
    with parts.pinned(keys[:2]):
        for key in keys:
            await parts.bring(key, asked)
        assert len(list(tmp_path.iterdir())) == 8
        assert [parts.path(key) is not None for key in keys] == [True] * 2 + [False] * 12 + [True] * 6
    with parts.pinned(keys[:2] + keys[-6:]), pytest.raises(Unavailable, match="in use"):
        await parts.bring(keys[9], asked)


async def test_what_fails_to_come_takes_no_room(tmp_path: Path) -> None:
    parts, brings = made(tmp_path, 250)

    async def fail(asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
        to.write_bytes(b"half")
        raise Unavailable("the holders are away")

    brings.fetch = fail  # type: ignore[method-assign]
    for _ in range(5):
        with pytest.raises(Unavailable, match="away"):
            await parts.bring(key_of(1), fetch_of())
    assert (parts._reserved, list(tmp_path.iterdir()), parts._locks) == (0, [], {})


def test_no_more_is_brought_for_a_channel_than_its_buyer_may_owe(tmp_path: Path) -> None:
    parts, _ = made(tmp_path, 250)
    parts.owe(b"c", b"one", 1000)  # one is always brought
    with pytest.raises(Refused, match="1000 bytes of stored files were brought here unpaid"):
        parts.owe(b"c", b"two", 1)
    parts.owe(b"c", b"one", 1000)
    parts.owe(b"other", b"two", 100)
    parts.owes_nothing(b"c", b"one")
    parts.owe(b"c", b"two", 200)
    with pytest.raises(Refused):
        parts.owe(b"c", b"three", 100)
    receipt: Any = type("Answered", (), {"channel": b"c", "subject": b"two"})
    parts.answered(receipt)
    parts.owe(b"c", b"three", 100)
