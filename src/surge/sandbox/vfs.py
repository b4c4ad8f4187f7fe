"""The guest's files: a tree in memory that no system call stands behind.

Three kinds of node: `Directory`, `Blob` (bytes that never change: input files, the standard library) and `File`
(bytes the guest writes). There are no links, no times and no inode numbers, and directories list in the order of
their names' bytes, so nothing about the host shows.

Trees of input files are made from zips: see `zipped`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from surge.core import units

MAX_NAME: Final = 255
"""Bytes in one name, as on the file systems outputs end up on."""
MAX_PATH: Final = units.MAX_PATH
"""Bytes in a path relative to /out."""
MAX_ENTRIES: Final = units.MAX_FILES
"""Files and directories below /out."""


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

    __slots__ = ("children", "listing", "parent", "path_length", "writable")

    def __init__(self, *, writable: bool = False, parent: Directory | None = None, path_length: int = 0) -> None:
        self.children: dict[bytes, Node] = {}
        self.writable = writable
        self.parent = parent
        self.path_length = path_length
        """Bytes in its path below the tree's root."""
        self.listing: list[tuple[bytes, int]] | None = None
        """Names and file types, for all descriptors of a directory that does not change; None before the first asks."""

    def listed(self) -> dict[bytes, Node]:
        """What listing it shows."""
        return self.children

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


class Deferred(Directory):
    """A read-only directory whose content is fetched when something first looks into it."""

    __slots__ = ("_fetch",)

    def __init__(self, fetch: Callable[[], Directory]) -> None:
        self.writable = False
        self.parent = None
        self.path_length = 0
        self._fetch = fetch

    def __getattr__(self, name: str) -> dict[bytes, Node]:
        """Called for what is not there: `children`, until it is."""
        if name != "children":
            raise AttributeError(name)
        self.children = self._fetch().children
        return self.children


Node = Directory | Blob | File


def empty() -> Directory:
    """A read-only directory with nothing in it."""
    return Directory()


def tree_of_files(files: dict[str, bytes | memoryview]) -> Directory:
    """A read-only tree of these files, by plain relative path."""
    root = Directory()
    for path, data in files.items():
        *folders, name = path.encode().split(b"/")
        at = root
        for folder in folders:
            child = at.children.setdefault(folder, Directory(parent=at))
            assert isinstance(child, Directory)
            at = child
        at.children[name] = Blob.of(data)
    return root


class Veiled(Directory):
    """A read-only directory in which more can be opened than listing it shows."""

    __slots__ = ("_shown",)

    def __init__(self, shown: dict[bytes, Node], hidden: dict[bytes, Node]) -> None:
        super().__init__()
        self.children = {**shown, **hidden}
        self._shown = shown

    def listed(self) -> dict[bytes, Node]:
        """What is no secret."""
        return self._shown


def joined(tree: Directory, name: bytes, files: dict[str, bytes | memoryview]) -> Directory:
    """A tree, and below it a folder with these files, which stands under its name whatever the tree has there.

    Neither the folder nor what is in it is listed: whoever knows a path opens it, and nobody sees what others were given.
    """
    return Veiled(tree.children, {name: Veiled({}, tree_of_files(files).children)})
