"""Records: only their author makes them, and what a stranger sends is a record or is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.storage import records
from surge.core.storage.records import MOST_BODY, MOST_RECORD, MOST_VERSION, Record, decode, newest, page_label, sign
from surge.errors import InvalidInput, PeerFault
from surge.wallet import KeySigner

AUTHOR, OTHER = KeySigner(bytes(31) + b"\x07"), KeySigner(bytes(31) + b"\x08")
LABEL = page_label(0)


@settings(deadline=None)
@given(st.integers(0, 1 << 255), st.integers(1, MOST_VERSION), st.binary(max_size=300))
def test_a_record_is_read_as_it_was_signed(page: int, version: int, body: bytes) -> None:
    record = sign(AUTHOR, page_label(page), version, body)
    assert decode(record.encode()) == record
    assert (record.author, record.version, record.body) == (AUTHOR.address, version, body)


def test_the_largest_record_fits_its_bounds() -> None:
    record = sign(AUTHOR, b"\xff" * 32, MOST_VERSION, bytes(MOST_BODY))
    assert len(record.encode()) <= MOST_RECORD
    assert decode(record.encode()) == record


@pytest.mark.parametrize(
    ("label", "version", "body"),
    [
        (b"short", 1, b""),
        (b"l" * 33, 1, b""),
        (LABEL, 0, b""),
        (LABEL, -1, b""),
        (LABEL, MOST_VERSION + 1, b""),
        (LABEL, 1, bytes(MOST_BODY + 1)),
    ],
)
def test_what_no_holder_takes_is_neither_signed_nor_read(label: bytes, version: int, body: bytes) -> None:
    with pytest.raises(InvalidInput, match="a record's"):
        sign(AUTHOR, label, version, body)
    signature = AUTHOR.sign(records.signed_digest(AUTHOR.address, label, version, body))
    with pytest.raises(PeerFault, match="cannot be read"):
        decode(Record(AUTHOR.address, label, version, body, signature).encode())


@pytest.mark.parametrize("field", range(5))
def test_a_record_says_what_its_author_signed(field: int) -> None:
    fields: list[Any] = canonical.decode(sign(AUTHOR, LABEL, 5, b"body").encode())
    signed_by_other = sign(OTHER, LABEL, 5, b"body").signature
    fields[field] = [OTHER.address, page_label(1), 6, b"bodz", signed_by_other][field]
    with pytest.raises(PeerFault, match="signed by"):
        decode(canonical.encode(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        canonical.encode({}),
        canonical.encode([]),
        canonical.encode([AUTHOR.address, LABEL, True, b"", bytes(65)]),
        canonical.encode([AUTHOR.address, LABEL, 1, "", bytes(65)]),
        canonical.encode([AUTHOR.address.upper(), LABEL, 1, b"", bytes(65)]),
        canonical.encode(["0x", LABEL, 1, b"", bytes(65)]),
        canonical.encode([AUTHOR.address, LABEL, 1, b"", bytes(64)]),
        canonical.encode([AUTHOR.address, LABEL, 1, b"", bytes(65), 0]),
        canonical.encode([AUTHOR.address, LABEL, 1, b"", bytes(65)]) + b"\x00",
        b"\x9b" + b"\xff" * 8,
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault, match="cannot be read"):
        decode(data)


def test_a_record_too_large_is_refused_unread() -> None:
    with pytest.raises(PeerFault, match="is larger than"):
        decode(bytes(MOST_RECORD + 1))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        decode(data)


def test_the_newest_has_the_highest_version_and_all_readers_agree() -> None:
    old, new = sign(AUTHOR, LABEL, 1, b"z"), sign(AUTHOR, LABEL, 2, b"a")
    rival = sign(AUTHOR, LABEL, 2, b"b")
    assert newest([]) is None
    assert newest([new, old]) == newest([old, new]) == new
    assert newest([new, rival, old]) == newest([old, rival, new])
