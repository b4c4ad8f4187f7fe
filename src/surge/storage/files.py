"""`network.files`: an owner's files, for callers without an event loop.

network.files.put("scan.tif")
with network.files.open("scan.tif", "rb") as file:
    file.seek(1000)
    header = file.read(64)
"""

from __future__ import annotations

import fnmatch
import io
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from surge.buyer.background import Background
from surge.buyer.client import Client
from surge.core.storage import shares
from surge.core.storage.catalogue import check_name
from surge.core.storage.header import Kind
from surge.core.storage.layout import SEGMENT
from surge.core.storage.stored import StoredName
from surge.core.types import address as parse_address
from surge.errors import InvalidInput
from surge.storage import getting, objects, rekeying, sharing
from surge.storage.client import Storage, Stored
from surge.storage.deals import FOREVER
from surge.storage.keeping import Keeping
from surge.storage.openings import Openings
from surge.storage.packing import FolderContent, content_of
from surge.storage.quoting import Details, Quote, details, missing, quote
from surge.storage.ranges import RangeReader
from surge.storage.streaming import stream

T = TypeVar("T")

DAYS = 30.0
"""For how long something is kept, unless its owner says otherwise."""

BUFFER = 1 << 20
"""Bytes that an open file reads ahead."""


class Files(Keeping):
    """Files on a network. Every method may be called from any thread."""

    def __init__(self, client: Client, background: Background) -> None:
        self._client = client
        self._background = background
        self._storage: Storage | None = None
        self._openings = Openings(self._opened)
        client.stored = self._openings

    async def _opened(self) -> Storage:
        if self._storage is None:
            self._storage = await Storage.open(self._client, self._owner)
        return self._storage

    def _call(self, work: Callable[[Storage], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            storage = await self._opened()
            try:
                return await work(storage)
            finally:
                await storage.note_spoiled()

        return self._background.call(run())

    def _change(self, work: Callable[[Storage], Coroutine[Any, Any, T]]) -> T:
        try:
            return self._call(work)
        finally:
            self._openings.changed()

    def _named(self, name: str) -> StoredName:
        return StoredName(name, lambda name: self._background.call(self._openings.part(name)))

    def close(self) -> None:
        """Pay what was read. `Network.close` does it."""
        storage, self._storage = self._storage, None
        if storage is not None:
            self._close_keeper()
            self._background.call(storage.close())

    def settle(self) -> None:
        """Pay what was read so far. `close` does it too."""
        self._call(lambda storage: storage.fleet.bill_all())

    # Whole files

    def put(
        self,
        source: str | Path | bytes,
        name: str | None = None,
        *,
        days: float | timedelta = DAYS,
        code: tuple[int, int] | None = None,
        max_price: int | None = None,
        segment_size: int = SEGMENT,
        told: Callable[[int], None] = lambda _: None,
    ) -> Stored:
        """Store a file, a folder or bytes; returns once as many devices hold their shards as a third may go of.

        Links, empty folders and what is no file are not put with a folder: `left_out` of what is returned names them.

        Args:
            source: a path, or bytes.
            name: what it is called; by default the last part of the path.
            days: for how long it is kept and paid for, also as a timedelta; 0 for as long as its keeper goes on.
            code: how many shards of a segment are enough, and how many there are, such as (20, 30); by default as the devices allow.
            max_price: wei for a gigabyte over a month, at most.
            segment_size: bytes that are coded together: a power of two, 1 to 256 MiB.
            told: called from time to time with the bytes that are safe.

        Raises:
            InvalidInput: there is no such file, or it has no name.
            Unavailable: too few devices take it. The same call again goes on from there.
        """
        content = content_of(source)
        called = name if name is not None else ("" if isinstance(source, bytes) else Path(source).resolve().name)
        if not called:
            raise InvalidInput("bytes need a name: put(data, name)")
        seconds = _seconds(days)

        async def work(storage: Storage) -> Stored:
            stored = await objects.put(
                storage, content, called, seconds=seconds, code=code, max_price=max_price, segment_size=segment_size, told=told
            )
            return replace(stored, missing=await missing(storage, stored))

        stored = self._change(work)
        return replace(stored, left_out=tuple(content.left_out)) if isinstance(content, FolderContent) else stored

    def quote(
        self,
        source: str | Path | bytes,
        *,
        days: float | timedelta = DAYS,
        code: tuple[int, int] | None = None,
        max_price: int | None = None,
        segment_size: int = SEGMENT,
    ) -> Quote:
        """What `put` with these arguments would cost, and the code that the devices at hand allow. Nothing is put."""
        content, seconds = content_of(source), _seconds(days)
        return self._call(
            lambda storage: quote(storage, content, seconds=seconds, code=code, max_price=max_price, segment_size=segment_size)
        )

    def get(self, name: str, to: str | Path | None = None, *, told: Callable[[int], None] = lambda _: None) -> Path:
        """Get a file or a folder, to a path; by default its own name, here. What was cut off goes on.

        Raises:
            InvalidInput: nothing is stored as that.
            Unavailable: too few of its devices are there now, or the disk is full.
        """
        path = Path(to if to is not None else check_name(name).rsplit("/", 1)[-1])
        if os.path.isdir(path) and self.stat(name).kind == Kind.FILE:
            path = path / name.rsplit("/", 1)[-1]
        return self._call(lambda storage: getting.get(storage, name, path, told))

    def read(self, name: str) -> bytes:
        """All bytes of a file, in memory."""
        with self.open(name) as file:
            data: bytes = file.read()
        return data

    def stream(self, name: str) -> Iterator[bytes | memoryview]:
        """All bytes of a file, one piece after another, in constant memory."""
        pieces = self._call(lambda storage: stream(storage, name))

        async def following() -> bytes | memoryview | None:
            return await anext(pieces, None)

        try:
            while (piece := self._background.call(following())) is not None:
                yield piece
        finally:
            self._background.call(pieces.aclose())

    # Open files

    def open(self, name: str, mode: str = "rb", **put: Any) -> IO[Any]:
        """Open a stored file: "rb" to read it wherever one likes, "r" as text, "wb" to write one, which is put when it is closed.

        Only what is read is fetched. `put` is what `put` takes besides, for writing.
        """
        if mode in ("rb", "r", "rt"):
            ranges = self._call(lambda storage: RangeReader.open(storage, name))
            raw = io.BufferedReader(_Reading(self._background, ranges), BUFFER)
            return raw if mode == "rb" else io.TextIOWrapper(raw, encoding="utf-8")
        if mode == "wb":
            return cast(IO[bytes], _Writing(lambda path: self.put(path, name, **put)))
        raise InvalidInput(f'a stored file is opened with "rb", "r" or "wb", not {mode!r}', mode=mode)

    # Names

    def ls(self, below: str = "") -> list[Stored]:
        """What is stored, by name; below a folder where one is named. Each `name` is one as `glob` gives it."""
        return [replace(each, name=self._named(each.name)) for each in self._call(lambda storage: objects.listed(storage, below))]

    def glob(self, pattern: str) -> list[StoredName]:
        """Names that a pattern matches, such as `genomes/*.fa`; `*` also stands for `/`.

        They are text, and more than that as items of a map, or within them: there a name becomes the path of the file, which whoever runs
        the function reads from its holders. `str(name)` is the text alone.
        """
        folder = pattern.partition("*")[0].rpartition("/")[0]
        return [self._named(each.name) for each in self.ls(folder) if fnmatch.fnmatchcase(each.name, pattern)]

    def stat(self, name: str) -> Stored:
        """What a name stands for. Raises `InvalidInput`."""
        return self._call(lambda storage: objects.described(storage, name))

    def details(self, name: str) -> Details:
        """What a name stands for, where it is and what that costs. Raises `InvalidInput`, `Unavailable`."""
        return self._call(lambda storage: details(storage, name))

    def mv(self, name: str, to: str) -> None:
        """Give it another name. Raises `InvalidInput` where the other is taken."""
        self._change(lambda storage: storage.move(name, to))

    def rm(self, name: str) -> int:
        """Remove it: its key is destroyed, and its holders are told to drop the shards. How many of them signed that they did."""
        return self._change(lambda storage: objects.remove(storage, name))

    # Other people

    def share(self, name: str, address: str | None = None, *, key: str | None = None) -> str:
        """Give a person what opens something; the link by which they take it.

        Args:
            name: what; a folder as a whole.
            address: their wallet, whose published key is sealed for.
            key: the key that they handed over as text, where they published none.

        Raises:
            InvalidInput: it is not yours, or they published no key.
        """
        if key is None and address is None:
            raise InvalidInput("share with an address, or with a key that was handed over")
        wanted = None if address is None else parse_address(address)

        async def give(storage: Storage) -> str:
            if key is None:
                assert wanted is not None
                return await sharing.share(storage, name, await sharing.reader_of(storage, wanted))
            record = shares.parse_key(key)
            if wanted not in (None, record.author):
                raise InvalidInput(f"this key is that of {record.author}, not of {wanted}", address=record.author)
            return await sharing.share(storage, name, (record.author, record.body))

        return self._call(give)

    def unshare(self, name: str, address: str, *, told: Callable[[int], None] = lambda _: None) -> Stored:
        """Leave a person out from now on: it is put anew, under fresh keys. What they read or copied before cannot be taken back."""
        who = parse_address(address)
        return self._change(lambda storage: rekeying.unshare(storage, name, who, told))

    def accept(self, link: str, name: str | None = None) -> str:
        """Take what somebody shared; the name that it has here. Raises `InvalidInput` where nothing is shared with this wallet."""
        return self._change(lambda storage: sharing.accept(storage, link, name))

    def publish(self) -> None:
        """Say for which key others seal what they share with this wallet. The first `put` does it too."""
        self._call(sharing.publish)

    def key(self) -> str:
        """That key as text, to hand over."""

        async def text(storage: Storage) -> str:
            return shares.key_text(sharing.key_record(storage))

        return self._call(text)


def _seconds(days: float | timedelta) -> int:
    """The term of a put; `FOREVER` for 0."""
    seconds = days.total_seconds() if isinstance(days, timedelta) else days * 86_400
    return round(seconds) or (FOREVER if not seconds else 1)


class _Reading(io.RawIOBase):
    """A stored file as Python reads files."""

    def __init__(self, background: Background, ranges: RangeReader) -> None:
        self._background = background
        self._ranges = ranges
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ranges.size}[whence]
        if base + offset < 0:
            raise InvalidInput(f"{base + offset} is before the file's beginning", offset=offset)
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start = min(self._at, self._ranges.size)
        end = min(start + len(view), self._ranges.size)
        if start < end:
            view[: end - start] = self._background.call(self._ranges.read(start, end))
        self._at = end if start < end else self._at
        return end - start


class _Writing(io.RawIOBase):
    """Collects what is written, and puts it when it is closed; nothing, if what wrote it failed."""

    def __init__(self, put: Callable[[Path], object]) -> None:
        self._put = put
        self._folder = tempfile.TemporaryDirectory(prefix="surge-")
        self._path = Path(self._folder.name) / "content"
        self._file: IO[bytes] = self._path.open("w+b")

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()
            try:
                self._put(self._path)
            finally:
                self._folder.cleanup()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            super().close()
            self._file.close()
            self._folder.cleanup()
