"""Masks: what makes each holder's shard unlike anything that others can compute.

Reed-Solomon alone would let k holders compute everybody's shard, and so answer audits for a holder that has nothing. So a shard is XORed
with AES-256 in counter mode under a key of its own, which follows from the object's mask secret and from where the shard is: moving it
masks it anew. Whoever has the mask secret can mend and check an object, and sees only what the object key sealed.

    >>> place = Place(bytes(32), 0, 7, Address("0x" + "0a" * 20), bytes(32))
    >>> mask = Mask(mask_key(bytes(32), place))
    >>> mask.apply(mask.apply(b"abcdef")[4:], 4)
    b'ef'
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from surge.core import canonical
from surge.core.storage.layout import MOST_SHARD
from surge.core.types import Address
from surge.errors import InvalidInput

SECRET = 32
"""Bytes of an object's id, object key and mask secret, and of a deal's id."""

CHECK = 16
"""Bytes of a check."""

_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shard is, once: the same shard at another holder, or at the same one again, has another deal."""

    object_id: bytes
    """The object's id: 32 bytes."""
    segment: int
    """The segment's number, from 0."""
    index: int
    """The shard's number in the segment, from 0."""
    holder: Address
    """The device that keeps it."""
    deal: bytes
    """The deal's id: 32 random bytes, new for every placement."""


def derived(secret: bytes, info: list[object]) -> bytes:
    """A 32-byte key from a 32-byte secret, by HKDF-SHA256 (RFC 5869) without salt. Raises `InvalidInput` for a secret of another size."""
    if len(secret) != SECRET:
        raise InvalidInput(f"a secret of an object is {SECRET} bytes, not {len(secret)}")
    return HKDF(SHA256(), 32, None, canonical.encode(info)).derive(secret)


def mask_key(mask_secret: bytes, place: Place) -> bytes:
    """The key of a shard's mask: 32 bytes."""
    return derived(mask_secret, ["surge mask 1", place.object_id, place.segment, place.index, place.holder, place.deal])


def segment_tag(mask_secret: bytes, object_id: bytes, segment: int) -> bytes:
    """What all shards of a segment have in common, to those who have several of them: 32 bytes that say nothing else."""
    return hmac.digest(mask_secret, canonical.encode(["surge segment 1", object_id, segment]), "sha256")


class Mask:
    """A shard's mask, at any offset. What it does undoes it."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """`key` is the mask's key: 32 bytes."""
        self._key = algorithms.AES256(key)

    def stream(self, offset: int = 0) -> CipherContext:
        """The mask from an offset of the shard on, for `update` or `update_into`."""
        if not 0 <= offset <= MOST_SHARD:
            raise InvalidInput(f"{offset} is no offset in a shard", offset=offset)
        blocks, skip = divmod(offset, _BLOCK)
        context = Cipher(self._key, modes.CTR(blocks.to_bytes(_BLOCK, "big"))).encryptor()
        if skip:
            context.update(bytes(skip))
        return context

    def apply(self, data: bytes | bytearray | memoryview, offset: int = 0) -> bytes:
        """The bytes masked, or unmasked, that are at this offset of the shard."""
        return self.stream(offset).update(data)


class Check:
    """A checksum of an unmasked shard, made as its bytes come: a repair compares what it rebuilt, before anybody is paid for keeping it.

    A GMAC (NIST SP 800-38D) under a key derived from the mask secret. It is several times faster than SHA-256, and stands only in pages
    that whoever has that secret makes and reads; what holders send is checked against the masked shard's tree.
    """

    __slots__ = ("_context",)

    def __init__(self, mask_secret: bytes, object_id: bytes, segment: int, index: int) -> None:
        key = derived(mask_secret, ["surge check 1", object_id])
        nonce = segment.to_bytes(4, "big") + index.to_bytes(8, "big")
        self._context = Cipher(algorithms.AES256(key), modes.GCM(nonce)).encryptor()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """The shard goes on with these bytes."""
        self._context.authenticate_additional_data(data)

    def digest(self) -> bytes:
        """The checksum of all the bytes: 16 bytes. Once."""
        self._context.finalize()
        return self._context.tag
