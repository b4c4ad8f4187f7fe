"""Trees of input files from zips that strangers made.

The format is read here, strictly, and not by Python's `zipfile`: what that takes for a zip differs between releases of
Python, and a unit must end the same way everywhere. A zip is taken if it is what every tool writes for a folder of
files: no comment at its end, no encryption, members stored or deflated, names in UTF-8, less than 4 GiB.

Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 (structure) and 4.4 (fields).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from surge.sandbox.vfs import MAX_NAME, Blob, Directory

MAX_NODES: Final = 50_000
"""Files and folders of one tree: each takes memory before the guest runs."""
MAX_UNPACKED: Final = 256 << 20
"""Bytes of deflated members one tree may unpack; stored members are used where they lie and count nothing."""
MAX_MEMBER_PATH: Final = 4096
"""Bytes in a member's path, as PATH_MAX on Linux."""

STORED: Final = 0
DEFLATED: Final = 8

_END: Final = struct.Struct("<4sHHHHIIH")
"""Signature, this disk, first disk, members here, members, bytes of the directory, where it starts, comment."""
_ENTRY: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
"""Signature, made by, needs, flags, method, time, date, checksum, packed size, size, lengths of name, extra and
comment, disk, attributes inside and outside, where the local header is."""
_LOCAL: Final = struct.Struct("<4s22sHH")
"""Signature, what the directory says better, lengths of name and extra."""

_FLAGS: Final = 0x080E
"""Allowed: how hard deflate tried, sizes behind the data, a name in UTF-8."""
_UTF8: Final = 0x0800


class BadZip(ValueError):
    """A zip that cannot be shown as files; says which member is wrong and how."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a zip."""

    name: str
    method: int
    packed: memoryview
    """Its bytes as they lie in the zip."""
    size: int
    """Bytes once unpacked."""
    checksum: int


def tree_of_zip(data: memoryview) -> Directory:
    """A read-only tree of a zip's files. `data` is the whole zip, usually a mapped file, and stays in use.

    A deflated member is unpacked when the guest first opens it, never past the size that the zip states.

    Raises:
        BadZip: it is not a zip as described above, or holds an absolute name, one with `..`, an empty or dot part or a
            backslash, two files of one name, or more than `MAX_NODES` or `MAX_UNPACKED`.
    """
    tree = _Tree()
    unpacked = 0
    for member in members(data):
        if member.name.endswith("/"):
            if member.size:
                raise BadZip(f"{member.name!r} is a folder with content")
            tree.directory(_parts(member.name[:-1]), member.name)
        elif member.method == STORED:
            if len(member.packed) != member.size:
                raise BadZip(f"{member.name!r} states two sizes")
            tree.place(member.name, Blob.of(member.packed))
        elif member.method == DEFLATED:
            unpacked += member.size
            if unpacked > MAX_UNPACKED:
                raise BadZip(f"more than {MAX_UNPACKED} bytes once unpacked; store large files uncompressed")
            tree.place(member.name, Blob(None, member.size, partial(unpack, member)))
        else:
            raise BadZip(f"{member.name!r} is compressed by method {member.method}; use store or deflate")
    return tree.root


def members(data: memoryview) -> Iterator[Member]:
    """What a zip's directory lists, in its order.

    1. The end record is the last thing in the zip, and the directory stands right before it.
    2. Each entry is whole, and says nothing that would have it read another way.
    3. Each entry's local header is where it says, under the same name, and its bytes lie before the directory.

    Raises:
        BadZip: one of these does not hold.
    """
    # 1.
    at = len(data) - _END.size
    if at < 0:
        raise BadZip("not a zip: too short")
    signature, disk, first, here, count, length, start, comment = _END.unpack_from(data, at)
    if signature != b"PK\5\6" or comment:
        raise BadZip("not a zip, or one with a comment at its end")
    if disk or first or here != count or start + length != at:
        raise BadZip("a zip of several parts, of more than 4 GiB, or with something before or behind its directory")
    # 2.
    directory, offset = data[start:at], 0
    for _ in range(count):
        if offset + _ENTRY.size > length:
            raise BadZip("the zip's directory is cut short")
        entry = _ENTRY.unpack_from(directory, offset)
        offset += _ENTRY.size
        _, _, _, flags, method, _, _, checksum, packed, size, *lengths, disk, _, _, header = entry
        raw = bytes(directory[offset : offset + lengths[0]])
        offset += sum(lengths)
        if entry[0] != b"PK\1\2" or offset > length:
            raise BadZip("the zip's directory is damaged")
        name = _name(raw, flags)
        if flags & 1:
            raise BadZip(f"{name!r} is encrypted")
        if flags & ~_FLAGS or disk:
            raise BadZip(f"{name!r} is kept in a way (flags {flags:#x}) that is not taken")
        yield Member(name, method, _packed(data[:start], header, raw, packed), size, checksum)
    if offset != length:
        raise BadZip("the zip's directory has more in it than it says")


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError as wrong:
        raise BadZip(f"the name {raw!r} is not in UTF-8, or not marked as such") from wrong


def _packed(before: memoryview, header: int, raw: bytes, size: int) -> memoryview:
    """A member's bytes: behind its local header, whose extra field may differ from the directory's."""
    # 3.
    if header + _LOCAL.size > len(before):
        raise BadZip(f"{raw!r} has no header where the zip says")
    signature, _, name_length, extra_length = _LOCAL.unpack_from(before, header)
    name_at = header + _LOCAL.size
    if signature != b"PK\3\4" or bytes(before[name_at : name_at + name_length]) != raw:
        raise BadZip(f"{raw!r} has no header where the zip says")
    start = name_at + name_length + extra_length
    if start + size > len(before):
        raise BadZip(f"{raw!r} is cut short")
    return before[start : start + size]


class _Tree:
    """A tree in the making, and how many nodes it has."""

    def __init__(self) -> None:
        self.root = Directory()
        self._nodes = 0

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise BadZip(f"more than {MAX_NODES} files and folders")

    def directory(self, parts: list[bytes], name: str) -> Directory:
        at = self.root
        for part in parts:
            child = at.children.get(part)
            if child is None:
                self._count()
                child = at.children[part] = Directory(parent=at)
            if not isinstance(child, Directory):
                raise BadZip(f"{name!r} passes through a file")
            at = child
        return at

    def place(self, name: str, blob: Blob) -> None:
        parts = _parts(name)
        directory = self.directory(parts[:-1], name)
        if parts[-1] in directory.children:
            raise BadZip(f"{name!r} stands there twice")
        self._count()
        directory.children[parts[-1]] = blob


def _parts(path: str) -> list[bytes]:
    if "\\" in path or "\0" in path:
        raise BadZip(f"{path!r} has a backslash or a zero byte in it")
    encoded = path.encode()
    parts = encoded.split(b"/")
    if any(part in (b"", b".", b"..") for part in parts):
        raise BadZip(f"{path!r} is not a plain relative path")
    if len(encoded) > MAX_MEMBER_PATH or any(len(part) > MAX_NAME for part in parts):
        raise BadZip(f"{path[:60]!r}... is too long")
    return parts


def unpack(member: Member) -> bytes:
    """A deflated member's content.

    Raises:
        OSError: it does not unpack to what the zip states.
    """
    unpacker = zlib.decompressobj(-15)
    try:
        content = unpacker.decompress(member.packed, member.size + 1)
    except zlib.error as wrong:
        raise OSError(f"{member.name!r} does not unpack: {wrong}") from wrong
    if len(content) != member.size or zlib.crc32(content) != member.checksum:
        raise OSError(f"{member.name!r} does not unpack to what the zip states")
    return content
