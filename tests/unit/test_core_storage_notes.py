"""Headers and chunks: what is sealed opens for its key, in its place, and nowhere else; and no number in a header is believed unseen."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.storage import header as headers
from surge.core.storage import sealing
from surge.core.storage.chunks import Chunks
from surge.core.storage.header import Header, Kind, open_header, seal
from surge.core.storage.layout import CHUNK, MIB, SEALED_CHUNK, sealed_size
from surge.errors import InvalidInput, PeerFault

KEY, IDENTITY = bytes(range(32)), b"o" * 32
GOOD: list[Any] = [1, 1000, 32 * MIB, CHUNK, 20, 30, "file"]


def sealed(plain: bytes, segment: int = 0, first: int = 0) -> bytes:
    out = bytearray(sealed_size(len(plain)))
    Chunks(KEY, IDENTITY).seal_into(segment, first, plain, out)
    return bytes(out)


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_chunks_are_what_the_format_says_and_open_again(size: int) -> None:
    plain = random.Random(size).randbytes(size)
    found = sealed(plain, segment=258, first=3)
    nonce = bytes.fromhex("00000102") + (3).to_bytes(8, "big")
    assert found[:SEALED_CHUNK] == AESGCM(KEY).encrypt(nonce, plain[:CHUNK], IDENTITY)
    assert Chunks(KEY, IDENTITY).open(258, 3, found) == plain
    for first in range(-(-size // CHUNK)):
        assert Chunks(KEY, IDENTITY).open(258, 3 + first, found[first * SEALED_CHUNK :]) == plain[first * CHUNK :]


@pytest.mark.parametrize(
    ("key", "identity", "segment", "first"),
    [(bytes(32), IDENTITY, 0, 0), (KEY, b"p" * 32, 0, 0), (KEY, IDENTITY, 1, 0), (KEY, IDENTITY, 0, 1)],
)
def test_a_chunk_opens_in_its_place_only(key: bytes, identity: bytes, segment: int, first: int) -> None:
    with pytest.raises(PeerFault, match="does not open"):
        Chunks(key, identity).open(segment, first, sealed(b"plain"))


@settings(deadline=None)
@given(st.integers(0, 2 * CHUNK + 36), st.integers(1, 255))
def test_a_flipped_byte_is_noticed(at: int, flip: int) -> None:
    found = bytearray(sealed(bytes(2 * CHUNK + 5)))
    found[at] ^= flip
    with pytest.raises(PeerFault, match=f"chunk {at // SEALED_CHUNK} "):
        Chunks(KEY, IDENTITY).open(0, 0, found)


def test_chunks_that_change_places_or_are_cut_are_noticed() -> None:
    found = sealed(bytes(2 * CHUNK))
    with pytest.raises(PeerFault, match="does not open"):
        Chunks(KEY, IDENTITY).open(0, 0, found[SEALED_CHUNK:] + found[:SEALED_CHUNK])
    with pytest.raises(PeerFault, match="does not open"):
        Chunks(KEY, IDENTITY).open(0, 0, found[:-1])
    with pytest.raises(InvalidInput, match="no plaintext"):
        Chunks(KEY, IDENTITY).open(0, 0, found[: SEALED_CHUNK + 16])


def test_buffers_and_keys_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInput, match="are sealed in"):
        Chunks(KEY, IDENTITY).seal_into(0, 0, b"plain", bytearray(20))
    with pytest.raises(InvalidInput, match="sealed bytes hold"):
        Chunks(KEY, IDENTITY).open_into(0, 0, sealed(b"plain"), bytearray(4))
    for key, identity in ((b"short", IDENTITY), (KEY, b"short")):
        with pytest.raises(InvalidInput, match="32 bytes"):
            Chunks(key, identity)


@settings(deadline=None)
@given(st.integers(0, 1 << 48), st.integers(0, 8), st.sampled_from(Kind), st.integers(1, 32))
def test_a_header_is_read_as_it_was_sealed(size: int, power: int, kind: Kind, n: int) -> None:
    header = Header(size, kind, MIB << power, (n + 1) // 2, n)
    found = seal(header, KEY, IDENTITY)
    assert len(found) <= headers.MOST_HEADER
    assert open_header(found, KEY, IDENTITY) == header
    assert open_header(found, KEY, IDENTITY).layout.size == size


def test_a_header_opens_for_its_key_and_its_object_only() -> None:
    found = seal(Header(5), KEY, IDENTITY)
    for data, key, identity in ((found, bytes(32), IDENTITY), (found, KEY, b"p" * 32), (found[:-1], KEY, IDENTITY), (b"", KEY, IDENTITY)):
        with pytest.raises(PeerFault, match="does not open"):
            open_header(data, key, identity)
    with pytest.raises(PeerFault, match="larger than"):
        open_header(bytes(257), KEY, IDENTITY)


def test_a_header_of_no_object_is_not_sealed() -> None:
    with pytest.raises(InvalidInput, match="an object of"):
        seal(Header(-1), KEY, IDENTITY)


def sealed_fields(fields: Any) -> bytes:
    return sealing.seal(KEY, ["surge header 1", IDENTITY], canonical.encode(fields))


def test_the_fields_of_a_header_are_these() -> None:
    assert open_header(sealed_fields(GOOD), KEY, IDENTITY) == Header(1000)


@pytest.mark.parametrize(
    "lie",
    [
        {0: 2},
        {0: True},
        {1: -1},
        {1: 1 << 49},
        {1: "1000"},
        {1: True},
        {2: 0},
        {2: 3 * MIB},
        {2: 1 << 40},
        {3: CHUNK * 2},
        {4: 0},
        {4: 31},
        {5: 33},
        {5: 1 << 70},
        {6: "folder"},
        {6: b"file"},
    ],
)
def test_a_lie_in_a_header_is_refused(lie: dict[int, Any]) -> None:
    fields = [lie.get(number, value) for number, value in enumerate(GOOD)]
    with pytest.raises(PeerFault, match="cannot be read"):
        open_header(sealed_fields(fields), KEY, IDENTITY)


@pytest.mark.parametrize("fields", [{}, [], GOOD[:-1], [*GOOD, 0], 5, None])
def test_what_is_no_header_is_refused(fields: Any) -> None:
    with pytest.raises(PeerFault, match="cannot be read"):
        open_header(sealed_fields(fields), KEY, IDENTITY)


def test_other_notes_have_other_nonces_and_equal_ones_are_equal() -> None:
    about: list[object] = ["about", 1]
    one, other = sealing.seal(KEY, about, b"one"), sealing.seal(KEY, about, b"two")
    assert one[:12] != other[:12]
    assert one == sealing.seal(KEY, about, b"one")
    assert sealing.seal(KEY, ["about", 2], b"one")[:12] != one[:12]
    assert sealing.open_sealed(KEY, about, one) == b"one"
