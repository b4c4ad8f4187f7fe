"""Names of stored files as items of work: what a name stands for, and how a unit says which files it reads.

A unit is a function of the objects that it reads, so its entry lists them, and its id with it: whoever runs it again reads the same bytes,
or sees that it cannot. An object never changes. What opens it is not in here, and in nothing that is signed, kept or shown. Pure.

    >>> part = StoredPart(bytes(32), 100, 10, 20, "genomes/a.fa")
    >>> part.path
    '/job/.stored/0000000000000000.10.20/genomes/a.fa'
    >>> parts_of(canonical.encode(["count", 0, 0, bytes(32), [part.fields()]])) == (part,)
    True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from surge.core import canonical, values
from surge.core.values.stored import FOLDER, stored_path
from surge.errors import InvalidInput

MOST_PARTS: Final = 8
"""Stored files that one unit reads: whoever runs it holds them all open."""

_MARK: Final = b"\xd9\x9c\x4e\x85\x58\x20"
"""How every stored file in a value begins: its tag, a list of five, 32 bytes."""

_READING: Final = b"\x85"
"""How the entry of a unit begins that reads stored files: a list of five. Others have fewer."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """What a stored file's name stands for. Raises `InvalidInput` for what is no part of an object."""

    object: bytes
    """32 bytes: the object's id."""
    size: int
    """Bytes of the object."""
    offset: int
    """Where in it the file begins: 0, but for a file of a folder that was put as a whole."""
    length: int
    """Bytes of the file."""
    name: str
    """What it is called."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> str:
        """The path of the file in a guest."""
        try:
            return stored_path(self.object, self.size, self.offset, self.length, self.name)
        except values.ValueRefused as refused:
            raise InvalidInput(refused.reason, name=self.name) from refused

    @property
    def path(self) -> str:
        """The same."""
        return self.check()

    @property
    def below(self) -> str:
        """Its path below the folder of a unit's stored files."""
        return self.path[len(FOLDER) + 1 :]

    @property
    def end(self) -> int:
        """Where in the object it ends."""
        return self.offset + self.length

    def fields(self) -> list[Any]:
        """As values and entries have it."""
        return [self.object, self.size, self.offset, self.length, self.name]

    def subject(self, job: bytes) -> bytes:
        """What a receipt for bringing its bytes to a device is about, in place of a content: 32 bytes."""
        return canonical.digest(["surge stored part", job, *self.fields()[:4]])

    @classmethod
    def of(cls, row: Any) -> StoredPart:
        """The part in such fields. Raises `InvalidInput`."""
        if not isinstance(row, list) or [type(each) for each in row] != [bytes, int, int, int, str]:
            raise InvalidInput("a stored file is an object, three numbers and a name")
        return cls(*row)


class StoredName(str):
    """The name of a stored file: text that knows what it stands for, and travels as that."""

    __slots__ = ("_resolve",)

    _resolve: Callable[[str], StoredPart]

    def __new__(cls, name: str, resolve: Callable[[str], StoredPart]) -> StoredName:
        """`resolve` says what a name stands for now; raises `InvalidInput` for one that is gone."""
        made = super().__new__(cls, name)
        made._resolve = resolve
        return made

    def resolved(self) -> StoredPart:
        """What it stands for now. Raises `InvalidInput`, `Unavailable`."""
        return self._resolve(str(self))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Copies of it are plain text."""
        return str, (str(self),)


def parts_in(items: Iterable[bytes]) -> tuple[StoredPart, ...]:
    """The stored files in the bytes of values, each once, in one order whatever the order of the items."""
    found = {StoredPart.of(row) for item in items if _MARK in item for row in values.stored_in(item)}
    return tuple(sorted(found, key=lambda part: (part.object, part.offset, part.length, part.name, part.size)))


def parts_of(entry: bytes) -> tuple[StoredPart, ...]:
    """The stored files that a unit's entry lists. Raises `InvalidInput` for what lists none in order, or two of one path."""
    if not entry.startswith(_READING):
        return ()
    decoded = canonical.decode(entry)
    rows = decoded[4] if isinstance(decoded, list) and len(decoded) == 5 else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_PARTS:
        raise InvalidInput(f"a unit reads between 1 and {MOST_PARTS} stored files, or has no list of them")
    parts = tuple(map(StoredPart.of, rows))
    paths = {part.path for part in parts}
    if len(paths) < len(parts) or any(path[:at] in paths for path in paths for at, letter in enumerate(path) if letter == "/"):
        raise InvalidInput("two stored files of a unit are in one place, or one is in another")
    return parts
