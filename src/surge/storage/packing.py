"""What is put: a file, bytes, or a folder whose files are packed into one object with their index behind them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from surge.core.storage import trees
from surge.core.storage.header import Kind
from surge.errors import InvalidInput, Unavailable
from surge.storage.coding import Fill

log = logging.getLogger("surge.storage")


class Content(Protocol):
    """What is put."""

    kind: Kind
    size: int
    """Bytes."""
    source: str
    """Where it comes from: whoever puts the same again goes on with what was cut off. Empty if that cannot be."""
    stamp: str
    """Changes when the content does."""

    def reading(self, offset: int) -> AbstractContextManager[Fill]:
        """Reads on from an offset, while inside."""
        ...


class FileContent:
    """One file."""

    kind = Kind.FILE

    def __init__(self, path: Path) -> None:
        state = _state(path)
        if not stat.S_ISREG(state.st_mode):
            raise InvalidInput(f"{path} is no file and no folder", path=str(path))
        self._path = path
        self.size = state.st_size
        self.source = str(path.resolve())
        self.stamp = f"{state.st_mtime_ns} {state.st_ino} {state.st_size}"

    @contextmanager
    def reading(self, offset: int) -> Iterator[Fill]:
        """See `Content`."""
        with _opened(self._path) as file:
            file.seek(offset)
            yield file.readinto


class BytesContent:
    """Bytes in memory."""

    kind = Kind.FILE
    source = ""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)
        self.stamp = ""

    @contextmanager
    def reading(self, offset: int) -> Iterator[Fill]:
        """See `Content`."""
        yield io.BytesIO(self._data[offset:]).readinto


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    file: Path
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Piece:
    file: Path | None
    """None for the index."""
    skip: int
    size: int


LINK, EMPTY, OTHER = "link", "empty folder", "special file"
"""What a packed folder has no place for; the last is a pipe, a socket or a device."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in a folder that is not put with it."""

    path: str
    """Where it is in the folder."""
    kind: str
    """`LINK`, `EMPTY` or `OTHER`."""


class FolderContent:
    """A folder. Links, empty folders and what is no file are left out, and named in `left_out`."""

    kind = Kind.TREE

    def __init__(self, folder: Path) -> None:
        self.left_out: list[LeftOut] = []
        self._members: list[_Member] = []
        writer, digest = trees.Writer(), hashlib.sha256()
        for path, file, state in sorted(self._walk(folder), key=lambda each: each[0].encode()):
            offset = writer.add(path, state.st_size, state.st_mtime_ns, executable=bool(state.st_mode & stat.S_IXUSR))
            self._members.append(_Member(path, file, state.st_size, offset))
            digest.update(f"{path}\0{state.st_size} {state.st_mtime_ns}\0".encode())
        self._index = writer.finish()
        self._end = self._members[-1].offset + self._members[-1].size if self._members else 0
        self._offsets = [member.offset for member in self._members]
        self.size = self._end + len(self._index)
        self.source = str(folder.resolve())
        self.stamp = digest.hexdigest()

    @property
    def files(self) -> int:
        """How many files it has."""
        return len(self._members)

    def _walk(self, folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            try:
                entries = list(os.scandir(here))
            except OSError as error:
                raise Unavailable(f"{error.filename} cannot be read: {error.strerror}", path=str(error.filename)) from error
            if not entries and here != folder:
                self.left_out.append(LeftOut(here.relative_to(folder).as_posix(), EMPTY))
            for entry in entries:
                path = Path(entry.path)
                _check_text(entry.name, here)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield trees.checked_path(path.relative_to(folder).as_posix()), path, entry.stat(follow_symlinks=False)
                else:
                    kind = LINK if entry.is_symlink() else OTHER
                    self.left_out.append(LeftOut(path.relative_to(folder).as_posix(), kind))

    @contextmanager
    def reading(self, offset: int) -> Iterator[Fill]:
        """See `Content`."""
        with contextlib.ExitStack() as stack:
            yield self._filling(stack, self._pieces(offset))

    def _filling(self, stack: contextlib.ExitStack, pieces: Iterator[_Piece]) -> Fill:
        """Reads piece after piece."""
        read: Fill = io.BytesIO().readinto
        left = 0

        def fill(buffer: memoryview) -> int:
            nonlocal read, left
            while not left:
                stack.close()
                piece = next(pieces, None)
                if piece is None:
                    return 0
                left = piece.size
                if piece.file is None:
                    read = io.BytesIO(memoryview(self._index)[piece.skip :]).readinto
                else:
                    file = stack.enter_context(_opened(piece.file))
                    file.seek(piece.skip)
                    read = file.readinto
            count = read(buffer[:left])
            if not count:
                raise InvalidInput("a file became shorter while it was read: put the folder again when nobody writes to it")
            left -= count
            return count

        return fill

    def _pieces(self, offset: int) -> Iterator[_Piece]:
        """What fills the object from an offset on."""
        if offset < self._end:
            for member in self._members[max(0, bisect_right(self._offsets, offset) - 1) :]:
                skip = max(0, offset - member.offset)
                if skip < member.size:
                    yield _Piece(member.file, skip, member.size - skip)
        skip = max(0, offset - self._end)
        yield _Piece(None, skip, len(self._index) - skip)


def _check_text(name: str, folder: Path) -> None:
    """Raise `InvalidInput` for a file's name that is no text: who gets the folder may have a system that takes no such name."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown, where = (os.fsencode(each).decode(errors="backslashreplace") for each in (name, folder))
        raise InvalidInput(
            f"the name {shown} in the folder {where} is not UTF-8: rename it, or put it in no folder that is put, and put again",
            name=shown,
            folder=where,
        ) from error


def content_of(source: str | Path | bytes) -> FileContent | FolderContent | BytesContent:
    """What a path or bytes stand for. Raises `InvalidInput` where there is nothing."""
    if isinstance(source, bytes):
        return BytesContent(source)
    path = Path(source)
    return FolderContent(path) if path.is_dir() else FileContent(path)


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=str(path)) from error


def _opened(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
