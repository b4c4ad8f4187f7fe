"""What a person gets who is let in: the keys of an object but the one that signs its map, and where that map is.

Two records take part. A wallet says in one of its own, under `RECEIVING`, for which key others may seal. A share is a record of the
sharer's, sealed for that key by HPKE; a higher version of it has other keys, or is empty once it was taken back. Pure.

    >>> parse_link(link(Address("0x" + "11" * 20), bytes(32)))[0]
    '0x1111111111111111111111111111111111111111'
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from surge.core import canonical
from surge.core.storage import records
from surge.core.storage.catalogue import MAX_NUMBER, Keys, check_name, keys_of
from surge.core.storage.header import Header, Kind
from surge.core.storage.records import Record
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault

VERSION: Final = 1

RECEIVING: Final = hashlib.sha256(b"surge receiving 1").digest()
"""The label under which a wallet says for which key others seal."""

PUBLIC: Final = 32
"""Bytes of a key to seal for: X25519."""

LINK: Final = "surge://share/"
KEY: Final = "surge://key/"

MOST_SHARE: Final = 4096
"""Bytes of a share: a name, and a few keys and numbers."""


@dataclass(frozen=True, slots=True)
class Share:
    """What is in a share."""

    name: str
    """What the sharer calls it: a suggestion."""
    keys: Keys
    """Without the key of the map."""
    header: Header
    """Its size, how it is cut, what it is."""
    created: int
    """When it was put, in Unix seconds."""
    expires: int
    """Until when it is paid for, in Unix seconds; 0 for as long as its keeper goes on."""


def about(author: Address, recipient: Address, label: bytes) -> bytes:
    """What a share is sealed about: it opens as this record for this person only."""
    return canonical.encode(["surge share 1", author, recipient, label])


def encode(share: Share) -> bytes:
    """Canonical bytes."""
    header, keys = share.header, share.keys
    return canonical.encode(
        [
            VERSION,
            share.name,
            [keys.object, keys.content, keys.mask, b"", keys.author],
            *(header.size, str(header.kind), header.segment_size, header.k, header.n),
            *(share.created, share.expires),
        ]
    )


def decode(data: bytes) -> Share:
    """The share that somebody sealed. Raises `PeerFault`: its sharer may say anything."""
    try:
        fields = canonical.decode(data) if len(data) <= MOST_SHARE else None
        if not isinstance(fields, list) or not fields or type(fields[0]) is not int or fields[0] != VERSION:
            raise InvalidInput("it is of a version that is not known here, or too long")
        _, name, keys, size, kind, segment_size, k, n, created, expires = fields
        numbers = (size, segment_size, k, n, created, expires)
        if any(type(each) is not int or not 0 <= each <= MAX_NUMBER for each in numbers) or type(name) is not str or type(kind) is not str:
            raise InvalidInput("a field is of another kind, or out of bounds")
        header = Header(size, Kind(kind), segment_size, k, n)
        _ = header.layout
        found = keys_of(keys)
        if found.map:
            raise InvalidInput("the key of its map is not given away")
        return Share(check_name(name), found, header, created, expires)
    except (InvalidInput, TypeError, ValueError) as error:
        raise PeerFault(f"what was shared cannot be read: {error}") from error


def link(author: Address, label: bytes) -> str:
    """Where a share is, as people send it."""
    return f"{LINK}{author}/{label.hex()}"


def parse_link(text: str) -> tuple[Address, bytes]:
    """Author and label of a share. Raises `InvalidInput`."""
    author, slash, label = text.strip().removeprefix(LINK).partition("/")
    try:
        found = bytes.fromhex(label)
        if not text.strip().startswith(LINK) or not slash or len(found) != records.LABEL:
            raise ValueError
        return address(author), found
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no share: it looks like {LINK}0x.../..., as `surge share` prints it", link=text) from error


def key_text(record: Record) -> str:
    """A wallet's key for receiving, as people send it: the record itself, which proves whose it is."""
    return KEY + base64.urlsafe_b64encode(record.encode()).decode().rstrip("=")


def parse_key(text: str) -> Record:
    """The record in such a text. Raises `InvalidInput`."""
    encoded = text.strip().removeprefix(KEY)
    try:
        record = records.decode(base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True))
        public_key(record, record.author)
    except (PeerFault, ValueError, binascii.Error) as error:
        raise InvalidInput(f"this is no key for receiving: it looks like {KEY}..., as `surge accept --key` prints it ({error})") from error
    return record


def public_key(record: Record, author: Address) -> bytes:
    """The key that a wallet's record says. Raises `PeerFault` for another's record, or one that says none."""
    if (record.author, record.label) != (author, RECEIVING) or len(record.body) != PUBLIC:
        raise PeerFault("a record is none that says a key for receiving", author=record.author)
    return record.body
