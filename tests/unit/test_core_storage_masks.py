"""Masks: nobody's shard looks like another's, any part can be masked by itself, and the keys are what the format says."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.storage.layout import MOST_SHARD
from surge.core.storage.masks import Check, Mask, Place, mask_key, segment_tag
from surge.core.types import Address
from surge.errors import InvalidInput

SECRET = bytes(range(32))
PLACE = Place(b"o" * 32, 3, 7, Address("0x" + "0a" * 20), b"d" * 32)
ELSEWHERE = [
    replace(PLACE, object_id=b"p" * 32),
    replace(PLACE, segment=4),
    replace(PLACE, index=8),
    replace(PLACE, holder=Address("0x" + "0b" * 20)),
    replace(PLACE, deal=b"e" * 32),
]


def test_the_key_is_that_of_rfc_5869() -> None:
    extracted = hmac.digest(bytes(32), SECRET, "sha256")
    info = canonical.encode(["surge mask 1", b"o" * 32, 3, 7, "0x" + "0a" * 20, b"d" * 32])
    assert mask_key(SECRET, PLACE) == hmac.digest(extracted, info + b"\x01", "sha256")


def test_every_place_has_another_mask() -> None:
    keys = {mask_key(secret, place) for secret in (SECRET, bytes(32)) for place in [PLACE, *ELSEWHERE]}
    assert len(keys) == 2 * (1 + len(ELSEWHERE))


def test_the_mask_is_the_counter_mode_of_the_standard() -> None:
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    assert Mask(key).apply(bytes(16)) == bytes.fromhex("e568f68194cf76d6174d4cc04310a854")  # NIST SP 800-38B, D.3: of zeros
    blocks = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    assert Mask(key).apply(bytes(32))[16:] == blocks.update(bytes(15) + b"\x01")


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_any_part_is_masked_by_itself(data: bytes, offset: int) -> None:
    mask = Mask(mask_key(SECRET, PLACE))
    whole = mask.apply(bytes(offset) + data)
    assert mask.apply(data, offset) == whole[offset:]
    assert mask.apply(whole[offset:], offset) == data


def test_the_last_byte_of_the_largest_shard_has_its_mask_and_nothing_beyond() -> None:
    mask = Mask(mask_key(SECRET, PLACE))
    assert mask.apply(bytes(1), MOST_SHARD - 1) == mask.apply(bytes(16), MOST_SHARD - 16)[15:]
    for offset in (-1, MOST_SHARD + 1):
        with pytest.raises(InvalidInput, match="no offset"):
            mask.apply(b"", offset)


def test_two_holders_of_the_same_shard_have_nothing_in_common() -> None:
    shard = hashlib.sha256(b"").digest() * 64
    masked = [Mask(mask_key(SECRET, place)).apply(shard) for place in [PLACE, *ELSEWHERE]]
    blocks = {each[at : at + 16] for each in masked for at in range(0, len(shard), 16)}
    assert len(blocks) == len(masked) * len(shard) // 16


def test_a_segments_tag_is_its_own() -> None:
    tags = {
        segment_tag(secret, identity, segment)
        for secret in (SECRET, bytes(32))
        for identity in (b"o" * 32, b"p" * 32)
        for segment in (0, 1)
    }
    assert len(tags) == 8
    assert {len(tag) for tag in tags} == {32}


def test_a_secret_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 bytes"):
        mask_key(b"short", PLACE)


def checked(*pieces: bytes, secret: bytes = SECRET, identity: bytes = b"o" * 32, segment: int = 3, index: int = 7) -> bytes:
    check = Check(secret, identity, segment, index)
    for piece in pieces:
        check.update(piece)
    return check.digest()


def test_a_check_is_of_the_bytes_and_the_place_however_they_come() -> None:
    assert checked(b"abc", b"", b"def" * 100) == checked(b"abc" + b"def" * 100)
    others = [
        checked(b"abd"),
        checked(b"abc", secret=bytes(32)),
        checked(b"abc", identity=b"p" * 32),
        checked(b"abc", segment=4),
        checked(b"abc", index=8),
    ]
    assert len({checked(b"abc"), *others}) == 6
