"""Records: small signed, numbered notes of an author, which several holders keep so that one of them is found.

A record is one author's, under one label; the highest version counts. What is in it is the author's affair, and sealed; holders check that
it is signed, and never go back to a lower version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from surge.core import canonical
from surge.core.signing import SIGNATURE_SIZE, Signer, check_signed, personal_digest
from surge.core.types import Address
from surge.core.types import address as parse_address
from surge.errors import InvalidInput, PeerFault

LABEL = 32
"""Bytes of a label."""

MOST_BODY = 400 << 10
"""Bytes of a body: what travels in one message, with its signature."""

MOST_RECORD = MOST_BODY + 256
"""Bytes of an encoded record."""

MOST_VERSION = (1 << 63) - 1
"""The highest version: what a message's field carries."""

_PURPOSE = b"surge record 1\n"


@dataclass(frozen=True, slots=True)
class Record:
    """A note of its author's, signed. What `decode` and `sign` give is verified."""

    author: Address
    """Whose it is."""
    label: bytes
    """Which of the author's records it is: 32 bytes."""
    version: int
    """From 1; the highest counts."""
    body: bytes
    """What it says."""
    signature: bytes
    """The author's, over all of this: 65 bytes."""

    def encode(self) -> bytes:
        """The canonical bytes, which travel and are kept."""
        return canonical.encode([self.author, self.label, self.version, self.body, self.signature])


def page_label(number: int) -> bytes:
    """The label of a numbered page: the number, big-endian.

    >>> page_label(258).hex()[-8:]
    '00000102'
    """
    return number.to_bytes(LABEL, "big")


def signed_digest(author: Address, label: bytes, version: int, body: bytes) -> bytes:
    """What an author signs: 32 bytes."""
    return personal_digest(_PURPOSE + canonical.encode([author, label, version, hashlib.sha256(body).digest()]))


def sign(signer: Signer, label: bytes, version: int, body: bytes) -> Record:
    """A record of the signer's. Raises `InvalidInput` for what no holder takes."""
    _check(label, version, body)
    return Record(signer.address, label, version, body, signer.sign(signed_digest(signer.address, label, version, body)))


def decode(data: bytes) -> Record:
    """The record in canonical bytes, which come from a stranger. Raises `PeerFault`.

    1. It is well formed, and within its bounds.
    2. Its author signed it.
    """
    # 1
    if len(data) > MOST_RECORD:
        raise PeerFault(f"a record of {len(data)} bytes is larger than {MOST_RECORD}", size=len(data))
    try:
        fields = canonical.decode(data)
        if not isinstance(fields, list) or [type(each) for each in fields] != [str, bytes, int, bytes, bytes]:
            raise InvalidInput("a field is missing or of another kind")
        author, label, version, body, signature = fields
        if parse_address(author) != author or len(signature) != SIGNATURE_SIZE:
            raise InvalidInput("its author or its signature is malformed")
        _check(label, version, body)
    except InvalidInput as error:
        raise PeerFault(f"a record cannot be read: {error}", data=data[:256]) from error
    # 2
    check_signed(signed_digest(author, label, version, body), signature, author, "a record")
    return Record(author, label, version, body, signature)


def newest(records: Iterable[Record]) -> Record | None:
    """The record with the highest version. Of two with one version, which only their author can have made, all readers take the same."""
    return max(records, key=lambda record: (record.version, record.encode()), default=None)


def _check(label: bytes, version: int, body: bytes) -> None:
    if len(label) != LABEL:
        raise InvalidInput(f"a record's label is {LABEL} bytes, not {len(label)}")
    if not 1 <= version <= MOST_VERSION:
        raise InvalidInput(f"a record's version is 1 to {MOST_VERSION}, not {version}", version=version)
    if len(body) > MOST_BODY:
        raise InvalidInput(f"a record's body has at most {MOST_BODY} bytes, not {len(body)}", size=len(body))
