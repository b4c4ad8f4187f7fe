"""An object's header: how large it is, how it is cut and coded, and what it is. Sealed under the object key, so holders and keepers do not
learn it; it is in the owner's catalogue, and kept as a record as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from surge.core import canonical
from surge.core.storage import sealing
from surge.core.storage.layout import CHUNK, DATA, SEGMENT, SHARDS, Layout
from surge.errors import InvalidInput, PeerFault

VERSION = 1
"""Of the format: chunks, code, masks and trees."""

LABEL = b"\xff" * 32
"""Of the record that a header is kept as, among the pages of the object's map."""

MOST_HEADER = 256
"""Bytes of a sealed header."""


class Kind(StrEnum):
    """What an object is."""

    FILE = "file"
    """One file."""
    TREE = "tree"
    """A folder's files, packed (`trees.py`)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one needs, beside the object key and the map, to read an object."""

    size: int
    """Bytes of the object."""
    kind: Kind = Kind.FILE
    """What it is."""
    segment_size: int = SEGMENT
    """Plaintext bytes of a segment, but the last."""
    k: int = DATA
    """Shards of a segment that are enough."""
    n: int = SHARDS
    """Shards of a segment that there are."""

    @property
    def layout(self) -> Layout:
        """How the object is cut. Raises `InvalidInput` for numbers that no object has; a decoded header's are checked."""
        return Layout(self.size, self.segment_size, self.k, self.n)


def seal(header: Header, object_key: bytes, object_id: bytes) -> bytes:
    """The header, sealed. Raises `InvalidInput` for numbers that no object has."""
    _ = header.layout
    fields = [VERSION, header.size, header.segment_size, CHUNK, header.k, header.n, str(header.kind)]
    return sealing.seal(object_key, ["surge header 1", object_id], canonical.encode(fields))


def open_header(sealed: bytes, object_key: bytes, object_id: bytes) -> Header:
    """The header that was sealed for an object. Raises `PeerFault`.

    1. It was sealed with this key, for this object.
    2. Its format is known here.
    3. Its numbers are an object's.
    """
    if len(sealed) > MOST_HEADER:
        raise PeerFault(f"a header of {len(sealed)} bytes is larger than {MOST_HEADER}", size=len(sealed))
    # 1
    note = sealing.open_sealed(object_key, ["surge header 1", object_id], sealed)
    try:
        fields = canonical.decode(note)
        # 2
        if not isinstance(fields, list) or not fields or type(fields[0]) is not int or fields[0] != VERSION:
            raise InvalidInput("its format is not known here; a newer program may read it")
        if [type(each) for each in fields] != [int] * 6 + [str]:
            raise InvalidInput("a field is missing or of another kind")
        _, size, segment_size, chunk, k, n, kind = fields
        # 3
        if chunk != CHUNK:
            raise InvalidInput(f"chunks are {CHUNK} bytes, not {chunk}")
        header = Header(size, Kind(kind), segment_size, k, n)
        _ = header.layout
    except (InvalidInput, ValueError) as error:
        raise PeerFault(f"a header cannot be read: {error}") from error
    return header
