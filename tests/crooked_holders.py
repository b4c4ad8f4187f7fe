"""Real devices that keep real shards, and whose answers are changed, held back or made up, as a test says while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from network_support import Device, Town
from surge.provider.service import Context, Order, Reply
from surge.storage.service import Storage

Trick = Callable[["Crooked", Reply, bytes], Awaitable[Reply] | Reply]
"""Makes another answer of the honest one; gets whose it is, and the call's body."""


class Crooked(Storage):
    """Honest, until `tricks` has something for a method."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tricks: dict[str, Trick] = {}
        self.instead: dict[str, Callable[[Crooked, bytes], Reply]] = {}
        """What is answered without doing anything, by method."""
        self.calls: list[tuple[str, bytes]] = []
        """The calls that came, with their bodies."""
        self.well = asyncio.Event()

    def accept(self, method: str, body: bytes, context: Context) -> Order:
        self.calls.append((method, body))
        order, trick, instead = super().accept(method, body, context), self.tricks.get(method), self.instead.get(method)
        if instead is not None:
            return _Made(order, lambda: instead(self, body))
        return order if trick is None else _Twisted(self, order, trick, body)

    def asked(self, method: str) -> int:
        """How often a method was called."""
        return sum(each == method for each, _ in self.calls)


class _Twisted:
    """An order whose answer is changed."""

    def __init__(self, storage: Crooked, order: Order, trick: Trick, body: bytes) -> None:
        self._storage, self._order, self._trick, self._body = storage, order, trick, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._order, name)

    async def run(self) -> Reply:
        changed = self._trick(self._storage, await self._order.run(), self._body)
        return changed if isinstance(changed, Reply) else await changed


class _Made:
    """An order that is not carried out: its answer is made up."""

    def __init__(self, order: Order, answer: Callable[[], Reply]) -> None:
        self._order, self._answer = order, answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._order, name)

    async def run(self) -> Reply:
        return self._answer()


def crooked(device: Device) -> Crooked:
    """A device's storage."""
    assert isinstance(device.storage, Crooked)
    return device.storage


def late(seconds: float) -> Trick:
    """Answers after so many seconds."""

    async def wait(storage: Crooked, reply: Reply, body: bytes) -> Reply:
        await asyncio.sleep(seconds)
        return reply

    return wait


async def never(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """No answer comes, until all is well again."""
    await storage.well.wait()
    return reply


def honest(town: Town) -> None:
    """All is well again."""

    async def change() -> None:
        for storage in map(crooked, town.devices):
            storage.tricks.clear()
            storage.instead.clear()
            storage.calls.clear()
            storage.well.set()
            storage.well = asyncio.Event()

    town.call(change())


def shards_on_disk(device: Device) -> list[Path]:
    """The files of the shards that a device keeps."""
    return sorted(path for path in (device.folder / "storage" / "shards").glob("*/*") if path.suffix != ".part")


def kept(devices: Sequence[Device]) -> int:
    """Shards that devices keep, all together."""
    return sum(device.storage.shelf.totals[0] for device in devices if device.storage is not None)
