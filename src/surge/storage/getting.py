"""Getting what a name stands for onto a disk: files whole or not at all, folders file by file, never outside of where they go.

A file grows beside its place under a name of its own and is renamed when it is whole, so a get that was cut off goes on with the segment it
had not finished, and nobody reads half a file. A folder that is not whole yet has a mark in it: a get that goes on passes over the
files that came since the mark was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from surge.core.storage import trees
from surge.core.storage.catalogue import Entry
from surge.core.storage.header import Kind
from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.storage.client import Storage
from surge.storage.objects import Told, reader, segments
from surge.storage.reading import Reader
from surge.storage.tree_reading import TreeReader


async def get(storage: Storage, name: str, to: Path, told: Told = lambda _: None) -> Path:
    """Get a file, a folder, or a part of a folder to a path; where it is now. Raises `InvalidInput`, `Unavailable`."""
    _, entry, inside = await storage.find(name)
    read = await reader(storage, entry)
    if entry.header.kind == Kind.FILE:
        await _get_file(read, entry, to, told)
    else:
        await _get_tree(read, entry, inside, to, told)
    return to


async def _get_file(read: Reader, entry: Entry, to: Path, told: Told) -> None:
    header = entry.header
    assert entry.keys is not None
    part = to.with_name(_beside(entry.keys.object, to.name))
    file = await asyncio.to_thread(_open_part, part)
    try:
        done = await asyncio.to_thread(_cut, file, header.segment_size)
        if done > header.layout.segments:
            done = await asyncio.to_thread(_restart, file)
        told(min(done * header.segment_size, header.size))
        at = min(done * header.segment_size, header.size)
        async for plain in segments(read, done, header.layout.segments):
            at += len(plain)
            await asyncio.to_thread(_append, file, plain, to, durable=at < header.size)
            del plain  # before the next one is there
            told(at)
        await asyncio.to_thread(_finish, file, part, to)
    finally:
        file.close()


def _open_part(part: Path) -> BinaryIO:
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InvalidInput(f"nothing can be written to {part.parent}: {error.strerror}", path=str(part.parent)) from error
    file = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Unavailable(f"the same is got to {part.parent} just now, by another program or thread", path=str(part.parent)) from error
    return file


def _beside(identity: bytes, name: str) -> str:
    """What a file is called until it is whole: as long as any name may be, and of this object."""
    return f".surge-{hashlib.sha256(identity + name.encode(errors='surrogateescape')).hexdigest()[:24]}.part"


def _cut(file: BinaryIO, segment_size: int) -> int:
    """Whole segments that are there already; what is behind them is cut off."""
    size = file.seek(0, os.SEEK_END)
    done = size // segment_size
    file.truncate(done * segment_size)
    file.seek(done * segment_size)
    return done


def _restart(file: BinaryIO) -> int:
    file.truncate(0)
    file.seek(0)
    return 0


def _append(file: BinaryIO, data: memoryview, to: Path, *, durable: bool) -> None:
    """Write; `durable`: on disk, so that what a later try takes for done is done. What ends the file is made so with all of it."""
    with _translating(to):
        view = data
        while view:
            view = view[file.write(view) or 0 :]
        if durable:
            os.fsync(file.fileno())


def _finish(file: BinaryIO, part: Path, to: Path) -> None:
    with _translating(to):
        os.fsync(file.fileno())
    try:
        part.replace(to)
    except OSError as error:
        raise InvalidInput(f"{to} cannot be written: {error.strerror}", path=str(to)) from error


@contextmanager
def _translating(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"the disk that holds {to.parent} is full or failing: {error.strerror}; make room and get it again, it goes on from here"
        ) from error


# Folders


async def _get_tree(read: Reader, entry: Entry, inside: str, to: Path, told: Told) -> None:
    """A file or a part of a packed folder, or all of it."""
    tree = TreeReader(read, entry.header.size)
    assert entry.keys is not None
    identity, stream = entry.keys.object, _Stream(read, entry.header.segment_size, entry.header.size)
    try:
        if inside and (found := await _found(tree, inside)) is not None:
            await _get_member(stream, _MemberFile(to.parent, to.name, found, identity), found, told)
            return
        await asyncio.to_thread(_make_folder, to)
        mark = to / _beside(identity, inside)
        with await asyncio.to_thread(_open_part, mark) as file:
            since, count = os.stat(file.fileno()).st_ctime_ns, 0
            async for member in tree.entries(inside):
                path = member.path.removeprefix(f"{inside}/") if inside else member.path
                if not await asyncio.to_thread(_is_there, to, path, member, since):
                    await _get_member(stream, _MemberFile(to, path, member, identity), member, told)
                count += 1
            await asyncio.to_thread(mark.unlink)
    finally:
        await stream.close()
    if inside and not count:
        raise InvalidInput(f"there is nothing at {inside!r} in the folder", path=inside)


async def _found(tree: TreeReader, path: str) -> trees.Entry | None:
    """The file at a path of a packed folder; None where there is none: it may be a folder."""
    try:
        return await tree.find(path)
    except InvalidInput:
        return None


def _is_there(folder: Path, path: str, member: trees.Entry, since: int) -> bool:
    """Whether a get that was cut off has brought this file since it began: it gets its time when it is whole."""
    place = folder / path
    try:
        state = place.lstat()
        if place.parent.resolve() != folder.resolve() / Path(path).parent:
            return False  # a link leads there
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_ctime_ns >= since and (state.st_size, state.st_mtime_ns) == (member.size, _time(member))


def _time(member: trees.Entry) -> int:
    return max(0, member.mtime)


class _Stream:
    """Bytes of an object in rising order, segment by segment."""

    def __init__(self, read: Reader, segment_size: int, size: int) -> None:
        self._read = read
        self._segment_size = segment_size
        self._size = size
        self._tasks: dict[int, asyncio.Task[memoryview]] = {}

    async def take(self, offset: int, size: int) -> AsyncIterator[memoryview]:
        """So many bytes from an offset on, segment by segment."""
        end = offset + size
        for number in range(offset // self._segment_size, -(-end // self._segment_size) if size else 0):
            plain = await self._segment(number)
            begin = number * self._segment_size
            yield plain[max(0, offset - begin) : end - begin]

    async def _segment(self, number: int) -> memoryview:
        for old in [each for each in self._tasks if each < number]:
            await self._drop(old)
        for wanted in (number, number + 1):
            if wanted not in self._tasks and wanted * self._segment_size < self._size:
                self._tasks[wanted] = asyncio.create_task(self._read.segment(wanted))
        return await asyncio.shield(self._tasks[number])

    async def _drop(self, number: int) -> None:
        task = self._tasks.pop(number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Ask for no more."""
        for number in list(self._tasks):
            await self._drop(number)


def _make_folder(to: Path) -> None:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{to} is no folder and cannot be made one: {error.strerror}", path=str(to)) from error


async def _get_member(stream: _Stream, file: _MemberFile, member: trees.Entry, told: Told) -> None:
    """One file of a folder to its place."""
    try:
        await asyncio.to_thread(file.open)
        at = member.offset
        async for data in stream.take(member.offset, member.size):
            await asyncio.to_thread(file.write, data)
            at += len(data)
            told(at)
        await asyncio.to_thread(file.finish)
    finally:
        file.close()


class _MemberFile:
    """One file below a folder, whatever links lie there: each folder on the way is opened from the one above it, and links are refused."""

    def __init__(self, folder: Path, path: str, member: trees.Entry, identity: bytes) -> None:
        *self._above, self._name = trees.checked_path(path).split("/")
        self._top, self._path, self._member, self._size = folder, path, member, 0
        self._beside = _beside(identity, path)
        self._file = self._folder = -1

    def open(self) -> None:
        """Open it, and make the folders above it."""
        member, flags = self._member, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with self._translating():
            self._folder = os.open(self._top, flags)
            for part in self._above:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=self._folder)
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=self._folder)
                os.close(self._folder)
                self._folder = below
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self._beside, flags, 0o777 if member.executable else 0o666, dir_fd=self._folder)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise Unavailable(f"{self._path!r} cannot be written where it is to go: {error.strerror}", path=self._path) from error

    def write(self, data: memoryview) -> None:
        """Append."""
        with self._translating():
            while data:
                count = os.write(self._file, data)
                self._size += count
                data = data[count:]

    def finish(self) -> None:
        """It is whole: give it its name and time."""
        if self._size != self._member.size:
            raise PeerFault(f"the folder's index says {self._member.size} bytes of {self._path!r}, and there are {self._size}")
        with self._translating():
            os.utime(self._file, ns=(_time(self._member), _time(self._member)))
            os.replace(self._beside, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._beside = ""

    def close(self) -> None:
        """Drop it, unless it was finished."""
        if self._file >= 0:
            os.close(self._file)
            if self._beside:
                os.unlink(self._beside, dir_fd=self._folder)
        if self._folder >= 0:
            os.close(self._folder)
        self._file = self._folder = -1
