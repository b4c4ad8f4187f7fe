"""Packed folders: many files in one object, and the index that finds each of them.

The files' bytes stand in a row, in the order of their paths as UTF-8; then the index, pages of canonical CBOR; then the directory, which
says where each page is and with which path it begins; then a footer of fixed size. Whoever wants one file of a million reads the footer,
the directory, one page, and the file. Nothing here reads: callers fetch the ranges that are named, and hand in their bytes.

    >>> writer = Writer()
    >>> writer.add("a/b.txt", 5, 0), writer.add("c", 7, 0)
    (0, 5)
    >>> index = writer.finish()
    >>> footer = read_footer(index[-FOOTER:], 12 + len(index))
    >>> directory = read_directory(index[footer.start - 12 : -FOOTER], footer)
    >>> number = directory.page_with("c")
    >>> directory.read_page(number, index[directory.pages[number].start - 12 :][: directory.pages[number].size])[1].offset
    5
"""

from __future__ import annotations

import struct
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from surge.core import canonical
from surge.core.storage.layout import MOST_SIZE
from surge.errors import InvalidInput, PeerFault

MAGIC = b"surgetr1"

_FOOTER = struct.Struct(">8sQQQ")

FOOTER = _FOOTER.size
"""Bytes of the footer."""

MOST_PATH = 4096
"""Bytes of a path, as UTF-8."""

PAGE_ENTRIES = 1024
"""Entries of a page."""

MOST_PAGE = PAGE_ENTRIES * (MOST_PATH + 64)
"""Bytes of a page."""

MOST_PAGES = 1 << 16
"""Pages of an index: 67 million files."""

MOST_DIRECTORY = 64 << 20
"""Bytes of the directory: what a reader holds."""

FIELDS = 5
"""Of an entry, and of a page in the directory."""

_TIMES = 1 << 63


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    path: str
    """Relative, with `/`, in Unicode's composed form (NFC)."""
    offset: int
    """Where its bytes begin in the object."""
    size: int
    """How many they are."""
    mtime: int
    """When it was last written: nanoseconds since 1970."""
    executable: bool = False
    """Whether its owner may run it."""


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One page of the index, as the directory has it."""

    first: str
    """The first path of the page."""
    start: int
    """Where the page begins in the object."""
    size: int
    """Bytes of the page."""
    offset: int
    """Where the bytes of its first file begin."""
    end: int
    """Where those of its last file end."""


@dataclass(frozen=True, slots=True)
class Footer:
    """Where the directory is."""

    start: int
    """Where it begins in the object."""
    size: int
    """Bytes of it."""
    files: int
    """Files in the object."""


def checked_path(path: str) -> str:
    """A path as an index has it. Raises `InvalidInput` for one that leaves its folder, or that some device cannot have.

    >>> len("e" + chr(0x301)), len(checked_path("e" + chr(0x301)))
    (2, 1)
    """
    try:
        path = unicodedata.normalize("NFC", path)
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the path {path!r} is no text: rename the file, and put it again", path=path) from error
    if not 0 < size <= MOST_PATH:
        raise InvalidInput(f"a path has 1 to {MOST_PATH} bytes as UTF-8, not {size}", path=path[:200])
    if "\x00" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidInput(f"the path {path[:200]!r} is not one inside a folder: no empty part, '.', '..' or NUL", path=path)
    return path


class Writer:
    """Writes an index. Files are added in the order of their paths as UTF-8, and their bytes are put in the same order."""

    def __init__(self) -> None:
        self._page: list[list[Any]] = []
        self._pages: list[tuple[str, int, int, int]] = []
        self._parts: list[bytes] = []
        self._order = _Order()
        self._end = 0
        self._files = 0

    def add(self, path: str, size: int, mtime: int, *, executable: bool = False) -> int:
        """A file follows; gives where its bytes begin. Raises `InvalidInput` for a path that is refused, out of order, or under a file."""
        path = checked_path(path)
        self._order.follow(path)
        if self._files == MOST_PAGES * PAGE_ENTRIES:
            raise InvalidInput(f"a packed folder has at most {self._files} files: put its parts by themselves", files=self._files)
        if not 0 <= size <= MOST_SIZE - self._end or not -_TIMES <= mtime < _TIMES:
            raise InvalidInput(f"{path[:200]!r} is too large, or its time is none", size=size, mtime=mtime)
        offset = self._end
        self._page.append([path, offset, size, mtime, executable])
        self._end, self._files = offset + size, self._files + 1
        if len(self._page) == PAGE_ENTRIES:
            self._close_page()
        return offset

    def finish(self) -> bytes:
        """The index, the directory and the footer, which follow the files' bytes. Raises `InvalidInput` if no reader would take them."""
        if self._page:
            self._close_page()
        start, rows = self._end, []
        for first, size, offset, end in self._pages:
            rows.append([first, start, size, offset, end])
            start += size
        directory = canonical.encode(rows)
        if len(directory) > MOST_DIRECTORY:
            raise InvalidInput("the paths of a packed folder are too long together: put its parts by themselves", files=self._files)
        return b"".join([*self._parts, directory, _FOOTER.pack(MAGIC, start, len(directory), self._files)])

    def _close_page(self) -> None:
        data = canonical.encode(self._page)
        self._parts.append(data)
        self._pages.append((self._page[0][0], len(data), self._page[0][1], self._end))
        self._page = []


def read_footer(data: bytes, size: int) -> Footer:
    """The footer, which is the last `FOOTER` bytes of an object of this size. Raises `PeerFault`."""
    if len(data) != FOOTER or size < FOOTER:
        raise PeerFault(f"a packed folder ends in {FOOTER} bytes that say where its index is; these are {len(data)}")
    magic, start, length, files = _FOOTER.unpack(data)
    if magic != MAGIC:
        raise PeerFault("the object is no packed folder that is known here", magic=magic)
    if start + length + FOOTER != size or not 0 < length <= MOST_DIRECTORY or files > MOST_PAGES * PAGE_ENTRIES:
        raise PeerFault("a packed folder's footer names no directory in it", start=start, length=length, files=files)
    return Footer(start, length, files)


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the pages of an index are."""

    pages: tuple[PageEntry, ...]
    """All of them, in the order of their paths."""
    files: int
    """Files in the object."""

    def page_with(self, path: str) -> int | None:
        """The number of the page that a path is in, if it is there at all."""
        found = bisect_right(self.pages, path.encode(), key=lambda page: page.first.encode()) - 1
        return None if found < 0 else found

    def entries_of(self, number: int) -> int:
        """Entries that a page has."""
        return min(PAGE_ENTRIES, self.files - number * PAGE_ENTRIES)

    def read_page(self, number: int, data: bytes) -> list[Entry]:
        """The entries of a page. Raises `PeerFault` for one that is not as the directory says.

        1. It is well formed, and has as many entries as it must.
        2. Its paths are inside the folder, in order, and none is under another that is a file.
        3. Its files stand in a row, where the directory has them.
        """
        page = self.pages[number]
        try:
            # 1
            entries = [Entry(*_row(row, (str, int, int, int, bool))) for row in _rows(data, self.entries_of(number))]
            # 2
            _check_paths(entry.path for entry in entries)
            follower = self.pages[number + 1].first.encode() if number + 1 < len(self.pages) else None
            if entries[0].path != page.first or (follower is not None and entries[-1].path.encode() >= follower):
                raise InvalidInput("its paths are not those that the directory has there")
            # 3
            at = page.offset
            for entry in entries:
                if entry.offset != at or entry.size < 0 or not -_TIMES <= entry.mtime < _TIMES:
                    raise InvalidInput(f"{entry.path[:200]!r} is not where the one before it ends, or its size or time is none")
                at += entry.size
            if at != page.end:
                raise InvalidInput("its files do not end where the directory says")
        except InvalidInput as error:
            raise PeerFault(f"a page of a packed folder's index cannot be read: {error}", page=number) from error
        return entries


def read_directory(data: bytes, footer: Footer) -> Directory:
    """The directory that a footer names. Raises `PeerFault`.

    1. It is well formed, and has as many pages as the files need.
    2. The first paths are inside the folder, and in order.
    3. The files of the pages stand in a row from the object's beginning, then the pages, up to the directory.
    """
    try:
        # 1
        pages = tuple(PageEntry(*_row(row, (str, int, int, int, int))) for row in _rows(data, -(-footer.files // PAGE_ENTRIES)))
        # 2
        _check_paths(page.first for page in pages)
        # 3
        files = 0
        for page in pages:
            if page.offset != files or page.end < files:
                raise InvalidInput("its pages' files do not stand in a row")
            files = page.end
        at = files
        for page in pages:
            if page.start != at or not 0 < page.size <= MOST_PAGE:
                raise InvalidInput("its pages do not stand in a row")
            at += page.size
        if at != footer.start:
            raise InvalidInput("its pages do not end where it begins")
    except InvalidInput as error:
        raise PeerFault(f"a packed folder's directory cannot be read: {error}") from error
    return Directory(pages, footer.files)


def _rows(data: bytes, count: int) -> list[Any]:
    rows = canonical.decode(data, most=count * (1 + FIELDS))
    if not isinstance(rows, list) or len(rows) != count:
        raise InvalidInput(f"it is no list of {count}")
    return rows


def _row(value: Any, kinds: Sequence[type]) -> list[Any]:
    if not isinstance(value, list) or [type(each) for each in value] != list(kinds):
        raise InvalidInput("a field is missing or of another kind")
    return value


def _check_paths(paths: Iterable[str]) -> None:
    order = _Order()
    for path in paths:
        if checked_path(path) != path:
            raise InvalidInput(f"the path {path[:200]!r} is not in its composed form")
        order.follow(path)


class _Order:
    """Paths as they follow one another: each after the one before it, and none below one that is a file."""

    def __init__(self) -> None:
        self._last = b""
        self._above: list[bytes] = []

    def follow(self, path: str) -> None:
        """The next path. Raises `InvalidInput`."""
        encoded = path.encode()
        if encoded <= self._last:
            raise InvalidInput(f"the path {path[:200]!r} is there twice, or out of order", path=path)
        # What begins with a path follows it without a gap, so the files that the next path may be below are a stack. Each of them begins
        # with those before it, which it is not below: so the next path, which begins with the last one, is below none of those either.
        while self._above and not encoded.startswith(self._above[-1]):
            self._above.pop()
        if self._above and encoded[len(self._above[-1])] == ord("/"):
            raise InvalidInput(f"the path {path[:200]!r} is below one that is a file", path=path)
        self._above.append(encoded)
        self._last = encoded
