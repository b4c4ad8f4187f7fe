"""Taking back: a reader is left out of what comes, by keys that it does not get. What it read or copied before, nobody takes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from surge.core.storage.catalogue import Entry
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.storage import objects, sharing
from surge.storage.client import Storage, Stored
from surge.storage.coding import Fill
from surge.storage.deals import FOREVER
from surge.storage.objects import Told
from surge.storage.reading import Reader


class StoredContent:
    """What is stored already, put anew: read segment by segment, as it goes."""

    def __init__(self, entry: Entry, reader: Reader, loop: asyncio.AbstractEventLoop) -> None:
        assert entry.keys is not None
        self.kind = entry.header.kind
        self.size = entry.header.size
        self.source = f"surge:{entry.keys.object.hex()}"  # no path begins like this: what was cut off is taken up, and nothing else
        self.stamp = self.source  # an object does not change
        self._segment_size = entry.header.segment_size
        self._reader = reader
        self._loop = loop

    @contextmanager
    def reading(self, offset: int) -> Iterator[Fill]:
        """See `Content`. For other threads than the loop's."""
        at, segment, plain = offset, -1, memoryview(b"")

        def fill(buffer: memoryview) -> int:
            nonlocal at, segment, plain
            if at >= self.size:
                return 0
            number, skip = divmod(at, self._segment_size)
            if number != segment:
                plain = asyncio.run_coroutine_threadsafe(self._reader.segment(number), self._loop).result()
                segment = number
            part = plain[skip : skip + len(buffer)]
            buffer[: len(part)] = part
            at += len(part)
            return len(part)

        yield fill


async def unshare(storage: Storage, name: str, who: Address, told: Told = lambda _: None) -> Stored:
    """Leave a reader out of an object from now on. One that is cut off is taken up by the next call.

    1. The reader's record is emptied: it is not told new keys.
    2. The object is put anew, under fresh keys, which the other readers are told, and the old shards are dropped.

    Raises `InvalidInput` where it is not shared with this one, `Unavailable` where the object cannot be read or put.
    """
    found, entry, inside = await storage.locate(name)
    reader = next((each for each in entry.readers if each.address == who), None)
    if inside or reader is None:
        raise InvalidInput(f"{name!r} is not shared with {who}: `surge stat` shows with whom", name=name, address=who)
    # 1
    await sharing.withdraw(storage, reader)
    # 2
    header, now = entry.header, int(time.time())
    content = StoredContent(entry, await objects.reader(storage, entry), asyncio.get_running_loop())
    offering = {each.operator for each in await objects.candidates(storage, None)}
    return await objects.put(
        storage,
        content,
        found,
        seconds=max(entry.expires - now, await storage.period()) if entry.expires else FOREVER,
        code=(header.k, header.n) if header.n <= len(offering) else None,
        segment_size=header.segment_size,
        readers=tuple(each for each in entry.readers if each.address != who),
        told=told,
    )
