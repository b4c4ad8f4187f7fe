"""Storage written again from docs/storage.md, plainly and slowly, with nothing of Surge's: what another program would do."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK, FRAGMENT, LEAF = 65536, 65536, 1024


def cbor(value: object) -> bytes:
    """Deterministic CBOR of integers from 0, bytes, text and lists (RFC 8949, 4.2.1)."""

    def head(major: int, number: int) -> bytes:
        if number < 24:
            return bytes([major << 5 | number])
        size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
        return bytes([major << 5 | 24 + size.bit_length() - 1]) + number.to_bytes(size, "big")

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    assert isinstance(value, list)
    return head(4, len(value)) + b"".join(map(cbor, value))


def hkdf(secret: bytes, info: list[object]) -> bytes:
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, cbor(info) + b"\x01", "sha256")


def seal_segment(plain: bytes, number: int, object_key: bytes, object_id: bytes) -> bytes:
    return b"".join(
        AESGCM(object_key).encrypt(number.to_bytes(4, "big") + chunk.to_bytes(8, "big"), plain[at : at + CHUNK], object_id)
        for chunk, at in enumerate(range(0, len(plain), CHUNK))
    )


def times(one: int, other: int) -> int:
    total = 0
    while other:
        if other & 1:
            total ^= one
        one = one << 1 ^ (0x11D if one & 0x80 else 0)
        other >>= 1
    return total


def inverse(value: int) -> int:
    return next(other for other in range(1, 256) if times(value, other) == 1)


def shards(sealed: bytes, k: int, n: int) -> list[bytes]:
    """The n unmasked shards of a sealed segment."""
    tables = {
        (row, column): bytes(times(inverse(row ^ column), value) for value in range(256)) for row in range(k, n) for column in range(k)
    }
    found = [b""] * n
    for at in range(0, len(sealed), k * FRAGMENT):
        stripe = sealed[at : at + k * FRAGMENT]
        size = (len(stripe) + 32 * k - 1) // (32 * k) * 32
        stripe = stripe.ljust(k * size, b"\x00")
        data = [stripe[column * size : (column + 1) * size] for column in range(k)]
        for index in range(n):
            if index < k or k == 1:
                found[index] += data[index % k]
                continue
            total = 0
            for column in range(k):
                total ^= int.from_bytes(data[column].translate(tables[index, column]), "big")
            found[index] += total.to_bytes(size, "big")
    return found


def mask(shard: bytes, mask_secret: bytes, place: list[object]) -> bytes:
    """`place` is object id, segment, index, device, deal."""
    return Cipher(algorithms.AES256(hkdf(mask_secret, ["surge mask 1", *place])), modes.CTR(bytes(16))).encryptor().update(shard)


def check(shard: bytes, mask_secret: bytes, object_id: bytes, segment: int, index: int) -> bytes:
    nonce = segment.to_bytes(4, "big") + index.to_bytes(8, "big")
    return AESGCM(hkdf(mask_secret, ["surge check 1", object_id])).encrypt(nonce, b"", shard)


def levels(shard: bytes) -> list[list[bytes]]:
    """The tree of a masked shard, from its leaves to its root."""
    found = [[hashlib.sha256(b"\x00" + shard[at : at + LEAF]).digest() for at in range(0, len(shard), LEAF)]]
    while len(found[-1]) > 1:
        below = found[-1]
        found.append([hashlib.sha256(b"\x01" + b"".join(below[at : at + 8])).digest() for at in range(0, len(below), 8)])
    return found


def proof(shard: bytes, leaf: int) -> bytes:
    found = b""
    for level in levels(shard)[:-1]:
        group = leaf // 8 * 8
        found += b"".join(level[at] for at in range(group, min(group + 8, len(level))) if at != leaf)
        leaf //= 8
    return found


def note(secret: bytes, about: list[object], body: bytes) -> bytes:
    """A header or a page of a map, sealed."""
    nonce = hmac.digest(hkdf(secret, ["surge nonce 1", *about]), body, "sha256")[:12]
    return nonce + AESGCM(hkdf(secret, ["surge note 1", *about])).encrypt(nonce, body, cbor(about))
