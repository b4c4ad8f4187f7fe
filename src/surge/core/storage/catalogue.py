"""The catalogue: an owner's names, and for each what opens and finds the object behind it.

It travels as pages, by the hash of the name, each a record of its own (`records`), sealed for the owner. Two writers on two machines may
change it at once: whoever is refused merges its changes into what is there. A name both gave to different objects stays with the later;
the other object keeps a name of its own. Pure.

    >>> split_name("scan.tif", 2)
    'scan (2).tif'
    >>> check_name("results/2026.parquet")
    'results/2026.parquet'
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from surge.core import canonical
from surge.core.storage.header import Header, Kind
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault

VERSION: Final = 1

PAGES: Final = 64
"""Pages of a catalogue: with some 1,300 names in each, 80,000 names. A folder is one name, whatever is in it."""

MAX_PAGE: Final = 380 << 10
"""Bytes of a page, so that it fits a record when it is sealed."""

MAX_NAME: Final = 1024
"""Bytes of a name in UTF-8."""

MAX_READERS: Final = 256
"""People that one object is shared with."""

GONE_SECONDS: Final = 90 * 86_400
"""How long it is remembered that a name was removed: a machine that was off for longer may bring it back."""

MAX_NUMBER: Final = 1 << 60
"""Of sizes in bytes and times in seconds."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens and finds an object."""

    object: bytes
    """32 bytes: its id."""
    content: bytes
    """32 bytes: opens it. Keepers do not have it."""
    mask: bytes
    """32 bytes: finds its shards and takes their masks off."""
    map: bytes
    """32 bytes: the private key that signs its map and releases its shards; empty with what somebody else shared."""
    author: Address
    """Whose signature its map bears: the address of `map`."""

    def fields(self) -> list[Any]:
        """What stands in a page."""
        return [self.object, self.content, self.mask, self.map, self.author]


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom an object is shared with."""

    address: Address
    """The wallet."""
    public: bytes
    """32 bytes: what is sealed for."""
    label: bytes
    """32 bytes: of the owner's record that says the keys."""


@dataclass(frozen=True, slots=True)
class Source:
    """The record by which an object was shared: it says the keys that it has now."""

    author: Address
    """Whose record it is."""
    label: bytes
    """32 bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for, or that it was removed."""

    keys: Keys | None
    """None: the name was removed."""
    header: Header
    """Its size, how it is cut, what it is."""
    created: int
    """When it was put, in Unix seconds."""
    expires: int
    """Until when it is paid for, in Unix seconds; 0 for as long as its keeper goes on."""
    changed: int
    """When the name was last changed, in Unix seconds by the writer's clock, and later than what it replaced in any case."""
    writer: bytes
    """8 bytes: which machine changed it. Of two changes of one time, the higher writer's counts."""
    readers: tuple[Reader, ...] = ()
    """Whom it is shared with."""
    source: Source | None = None
    """Who shared it; None for one's own."""

    @property
    def order(self) -> tuple[int, bytes]:
        """Of two entries of a name the one with the higher counts."""
        return self.changed, self.writer


Names = Mapping[str, Entry]

NOTHING: Final = Header(0)
"""Of a name that was removed."""


def check_name(name: str) -> str:
    """A name as it is kept: NFC, parts divided by `/`. Raises `InvalidInput` for what is no name, or would lead out of its folder."""
    try:
        kept = unicodedata.normalize("NFC", name)
        encoded = kept.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the name {name!r} is no valid Unicode", name=name) from error
    if not kept or len(encoded) > MAX_NAME:
        raise InvalidInput(f"a name has between 1 and {MAX_NAME} bytes in UTF-8, not {len(encoded)}", name=name)
    if any(unicodedata.category(each) == "Cc" for each in kept):
        raise InvalidInput(f"the name {name!r} has control characters in it", name=name)
    if any(part in ("", ".", "..") for part in kept.split("/")):
        raise InvalidInput(f"the name {name!r} has an empty part, or one that leads elsewhere: write it as folder/file", name=name)
    return kept


def split_name(name: str, number: int) -> str:
    """The name that the other of two objects gets."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    numbered = f"{stem} ({number}){dot}{suffix}" if stem else f"{last} ({number})"
    return folder + slash + numbered


def page_of(name: str) -> int:
    """The page that has this name."""
    return hashlib.sha256(name.encode()).digest()[0] % PAGES


def pages_of(names: Iterable[str]) -> set[int]:
    """The pages that have these names."""
    return {page_of(name) for name in names}


def merge(base: Names, mine: Names, theirs: Names) -> dict[str, Entry]:
    """Bring my changes since `base` into `theirs`.

    >>> a = Entry(None, NOTHING, 0, 0, 1, bytes(8))
    >>> sorted(merge({"gone": a}, {"mine": a}, {"gone": a, "other": a}))
    ['mine', 'other']
    """
    merged = dict(theirs)
    for name in sorted(base.keys() | mine.keys()):
        before, ours, other = base.get(name), mine.get(name), theirs.get(name)
        if ours in (before, other):
            continue
        if ours is None:  # forgotten here, after `GONE_SECONDS`
            if other == before:
                merged.pop(name, None)
            continue
        if other is None or other == before:
            merged[name] = ours
            continue
        first, second = (ours, other) if ours.order > other.order else (other, ours)
        merged[name] = first
        if second.keys is not None and (first.keys is None or first.keys.object != second.keys.object):
            if first.keys is None:  # removed there, changed here: what somebody still wanted stays
                merged[name] = second
            else:
                merged[free_name(name, mine, theirs, merged)] = second
    return merged


def free_name(name: str, *taken: Names) -> str:
    """The first name after this one that nobody has."""
    number = 2
    while any(split_name(name, number) in each for each in taken):
        number += 1
    return split_name(name, number)


def changed_at(now: int, before: Entry | None) -> int:
    """When a change made now is said to be made: later than what it replaces, whatever the two clocks say."""
    return now if before is None else max(now, before.changed + 1)


def removed(before: Entry, now: int, writer: bytes) -> Entry:
    """The entry of a name that is removed."""
    return replace(before, keys=None, header=NOTHING, changed=changed_at(now, before), writer=writer, readers=(), source=None)


def without_old(names: Names, now: int) -> dict[str, Entry]:
    """The names without those that were removed long ago."""
    return {name: entry for name, entry in names.items() if entry.keys is not None or now - entry.changed < GONE_SECONDS}


def encode_page(names: Names, page: int) -> bytes:
    """One page's canonical bytes. Raises `InvalidInput` when it holds too much."""
    rows = [[name, *_fields(entry)] for name, entry in sorted(names.items()) if page_of(name) == page]
    data = canonical.encode([VERSION, page, rows])
    if len(data) > MAX_PAGE:
        raise InvalidInput(f"the catalogue is full: {len(names)} names. Put folders instead of single files: a folder is one name")
    return data


def _fields(entry: Entry) -> list[Any]:
    keys, header = entry.keys, entry.header
    return [
        keys.fields() if keys else None,
        *(header.size, str(header.kind), header.segment_size, header.k, header.n),
        *(entry.created, entry.expires, entry.changed, entry.writer),
        [[each.address, each.public, each.label] for each in entry.readers],
        None if entry.source is None else [entry.source.author, entry.source.label],
    ]


def decode_page(data: bytes, page: int) -> dict[str, Entry]:
    """The names of a page. Raises `PeerFault`: it was sealed by a machine that had the wallet, and may be of a version unknown here."""
    try:
        version, number, rows = canonical.decode(data)
        if version != VERSION:
            raise InvalidInput(f"it is of version {version!r}: a newer Surge wrote it")
        if number != page or len(data) > MAX_PAGE:
            raise InvalidInput("it is another page, or too large")
        names = {check_name(row[0]): _entry(row[1:]) for row in rows}
        if len(names) != len(rows) or any(page_of(name) != page for name in names):
            raise InvalidInput("a name stands there twice, or on the wrong page")
    except (InvalidInput, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        raise PeerFault(f"a page of the catalogue cannot be read: {error}") from error
    return names


def keys_of(fields: list[Any]) -> Keys:
    """The keys in the fields of a page. Raises `InvalidInput`."""
    object_id, content, mask, map_key, author = fields
    if any(type(each) is not bytes or len(each) != 32 for each in (object_id, content, mask)):
        raise InvalidInput("its keys are not 32 bytes each")
    if type(map_key) is not bytes or len(map_key) not in (0, 32):
        raise InvalidInput("its map's key is not 32 bytes")
    return Keys(object_id, content, mask, map_key, address(author))


def _entry(row: list[Any]) -> Entry:
    fields, size, kind, segment_size, k, n, created, expires, changed, writer, readers, source = row
    keys = None if fields is None else keys_of(fields)
    numbers = (size, segment_size, k, n, created, expires, changed)
    if any(type(each) is not int or not 0 <= each <= MAX_NUMBER for each in numbers):
        raise InvalidInput("a number in it is none, or out of bounds")
    header = Header(size, Kind(kind), segment_size, k, n)
    _ = header.layout
    if type(writer) is not bytes or len(writer) != 8 or len(readers) > MAX_READERS:
        raise InvalidInput("its writer or its readers are not what they may be")
    people = tuple(Reader(address(who), _bytes(public), _bytes(label)) for who, public, label in readers)
    shared = None if source is None else Source(address(source[0]), _bytes(source[1]))
    return Entry(keys, header, created, expires, changed, writer, people, shared)


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != 32:
        raise InvalidInput("a key or a label is not 32 bytes")
    return value
