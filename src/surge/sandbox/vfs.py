"""The guest's files: a tree in memory that no system call stands behind.

Three kinds of node: `Directory`, `Blob` (bytes that never change: input files, the standard library) and `File`
(bytes the guest writes). There are no links, no times and no inode numbers, and directories list in the order of
their names' bytes, so nothing about the host shows.

A tree of input files comes from a zip (`tree_of_zip`). The zip is a stranger's: every name is checked, and a member's
bytes are unpacked when the guest first opens it, never past the size the zip states, nor all together past
`MAX_UNPACKED`.
"""

from __future__ import annotations

import codecs
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final

MAX_NAME: Final = 255
"""Bytes in one name, as on the file systems outputs end up on."""
MAX_PATH: Final = 255
"""Bytes in a path relative to /out: names travel with every result."""
MAX_ENTRIES: Final = 1000
"""Files and directories below /out, for the same reason."""
MAX_MEMBERS: Final = 20_000
"""Members of a zip of input files: each takes memory before the guest runs."""
MAX_UNPACKED: Final = 256 << 20
"""Bytes of compressed members one tree may unpack; stored members are used where they lie and count nothing."""


codecs.lookup("cp437")
"""What `zipfile` reads old names with, loaded now: a worker that is stripped cannot import it any more."""


class BadZip(ValueError):
    """A zip that cannot be shown as files; says which member is wrong and how."""


class Blob:
    """A file that never changes. Its bytes are fetched when first asked for."""

    __slots__ = ("_data", "_fetch", "size")

    def __init__(self, data: bytes | memoryview | None, size: int, fetch: Callable[[], bytes] | None = None) -> None:
        self._data = data
        self._fetch = fetch
        self.size = size

    @classmethod
    def of(cls, data: bytes | memoryview) -> Blob:
        """A file with these bytes."""
        return cls(data, len(data))

    def data(self) -> bytes | memoryview:
        """The bytes.

        Raises:
            OSError: they cannot be unpacked.
        """
        if self._data is None:
            assert self._fetch is not None
            self._data = self._fetch()
        return self._data


class File:
    """A file the guest writes."""

    __slots__ = ("content", "linked", "opened")

    def __init__(self) -> None:
        self.content = bytearray()
        self.linked = True
        """Whether a directory names it."""
        self.opened = 0
        """Descriptors on it; an unlinked file's bytes stay counted until the last is closed."""

    @property
    def size(self) -> int:
        """Bytes in it."""
        return len(self.content)


class Directory:
    """Names and what they stand for."""

    __slots__ = ("children", "parent", "path_length", "writable")

    def __init__(self, *, writable: bool = False, parent: Directory | None = None, path_length: int = 0) -> None:
        self.children: dict[bytes, Node] = {}
        self.writable = writable
        self.parent = parent
        self.path_length = path_length
        """Bytes in its path below the tree's root."""

    def walk(self) -> Iterator[tuple[bytes, Blob | File]]:
        """Every file below, with its path, in the order of the paths' bytes."""
        found: list[tuple[bytes, Blob | File]] = []
        waiting: list[tuple[bytes, Directory]] = [(b"", self)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, node in directory.children.items():
                if isinstance(node, Directory):
                    waiting.append((prefix + name + b"/", node))
                else:
                    found.append((prefix + name, node))
        found.sort(key=lambda pair: pair[0])
        return iter(found)


Node = Directory | Blob | File


def empty() -> Directory:
    """A read-only directory with nothing in it."""
    return Directory()


def tree_of_files(files: dict[str, bytes | memoryview]) -> Directory:
    """A read-only tree of these files, by path."""
    root = Directory()
    for path, data in files.items():
        _place(root, path, Blob.of(data))
    return root


def tree_of_zip(data: memoryview) -> Directory:
    """A read-only tree of a zip's files. `data` is the whole zip, usually a mapped file, and stays in use.

    Raises:
        BadZip: it is not a zip, or holds something that is not plainly a file or a folder: an absolute name, one with
            `..`, an empty or dot part or a backslash, two files of one name, an encrypted member, a compression other
            than deflate, or more than `MAX_MEMBERS` or `MAX_UNPACKED`.
    """
    root = Directory()
    try:
        with zipfile.ZipFile(_View(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, OSError, IndexError) as wrong:
        raise BadZip(f"not a readable zip: {wrong}") from wrong
    if len(members) > MAX_MEMBERS:
        raise BadZip(f"{len(members)} members, and at most {MAX_MEMBERS} are allowed")
    unpacked = 0
    for member in members:
        if member.flag_bits & 1:
            raise BadZip(f"{member.filename!r} is encrypted")
        if member.is_dir():
            if member.file_size:
                raise BadZip(f"{member.filename!r} is a folder with content")
            _directory(root, member.filename.rstrip("/"))
            continue
        if member.compress_type == zipfile.ZIP_STORED:
            blob = Blob.of(_stored(data, member))
        elif member.compress_type == zipfile.ZIP_DEFLATED:
            unpacked += member.file_size
            if unpacked > MAX_UNPACKED:
                raise BadZip(f"more than {MAX_UNPACKED} bytes once unpacked; store large files uncompressed")
            blob = Blob(None, member.file_size, _deflated(data, member))
        else:
            raise BadZip(f"{member.filename!r} is compressed by method {member.compress_type}; use store or deflate")
        _place(root, member.filename, blob)
    return root


class _View(io.RawIOBase):
    """A memoryview as the seekable file that `zipfile` wants, without a copy of it."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, len(self._data))[whence]
        if at < 0:
            raise ValueError("seek before the start")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _parts(path: str) -> list[bytes]:
    if "\\" in path or "\0" in path:
        raise BadZip(f"{path!r} has a backslash or a zero byte in it")
    try:
        parts = [part.encode() for part in path.split("/")]
    except UnicodeEncodeError as wrong:
        raise BadZip(f"{path!r} is not text") from wrong
    if any(part in (b"", b".", b"..") for part in parts):
        raise BadZip(f"{path!r} is not a plain relative path")
    if any(len(part) > MAX_NAME for part in parts) or len(path) > 4096:
        raise BadZip(f"{path[:60]!r}... is too long")
    return parts


def _directory(root: Directory, path: str) -> Directory:
    return _descend(root, _parts(path), path) if path else root


def _descend(root: Directory, parts: list[bytes], path: str) -> Directory:
    at = root
    for part in parts:
        child = at.children.get(part)
        if child is None:
            child = at.children[part] = Directory(parent=at)
        if not isinstance(child, Directory):
            raise BadZip(f"{path!r} passes through a file")
        at = child
    return at


def _place(root: Directory, path: str, node: Node) -> None:
    parts = _parts(path)
    directory = _descend(root, parts[:-1], path)
    if parts[-1] in directory.children:
        raise BadZip(f"{path!r} stands there twice")
    directory.children[parts[-1]] = node


def _span(data: memoryview, member: zipfile.ZipInfo) -> memoryview:
    """Where a member's (compressed) bytes lie: after its local header, whose name and extra field may differ."""
    at = member.header_offset
    header = bytes(data[at : at + 30]) if at >= 0 else b""
    if len(header) != 30 or header[:4] != b"PK\3\4":
        raise BadZip(f"{member.filename!r} has no header where the zip says")
    start = at + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    span = data[start : start + member.compress_size]
    if len(span) != member.compress_size:
        raise BadZip(f"{member.filename!r} is cut short")
    return span


def _stored(data: memoryview, member: zipfile.ZipInfo) -> memoryview:
    if member.compress_size != member.file_size:
        raise BadZip(f"{member.filename!r} states two sizes")
    return _span(data, member)


def _deflated(data: memoryview, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    span, size, checksum, name = _span(data, member), member.file_size, member.CRC, member.filename

    def unpack() -> bytes:
        unpacker = zlib.decompressobj(-15)
        try:
            content = unpacker.decompress(span, size + 1)
        except zlib.error as wrong:
            raise OSError(f"{name!r} does not unpack: {wrong}") from wrong
        if len(content) != size or zlib.crc32(content) != checksum:
            raise OSError(f"{name!r} does not unpack to what the zip states")
        return content

    return unpack
