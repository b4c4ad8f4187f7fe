"""The chunks of a segment: AES-256-GCM under the object key, each bound to its object and to its place in it.

>>> chunks = Chunks(bytes(32), b"o" * 32)
>>> sealed = bytearray(sealed_size(CHUNK + 5))
>>> chunks.seal_into(0, 0, b"a" * (CHUNK + 5), sealed)
>>> chunks.open(0, 1, sealed[SEALED_CHUNK:])
b'aaaaa'
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from surge.core.storage.layout import CHUNK, SEALED_CHUNK, plain_size, sealed_size
from surge.core.storage.masks import SECRET
from surge.errors import InvalidInput, PeerFault


class Chunks:
    """Seals and opens the chunks of one object. A key serves one content only: a changed file is another object."""

    __slots__ = ("_aead", "object_id")

    def __init__(self, object_key: bytes, object_id: bytes) -> None:
        """Both 32 bytes. Raises `InvalidInput` for others."""
        if len(object_key) != SECRET or len(object_id) != SECRET:
            raise InvalidInput(f"an object's key and its id are {SECRET} bytes each")
        self._aead = AESGCM(object_key)
        self.object_id = object_id
        """The object's id: 32 bytes."""

    def seal_into(self, segment: int, first: int, plain: bytes | bytearray | memoryview, out: bytearray | memoryview) -> None:
        """Seal a run of a segment's plaintext that begins with chunk `first`; `out` has exactly the size of the sealed chunks."""
        source, target = memoryview(plain), memoryview(out)
        if len(target) != sealed_size(len(source)):
            raise InvalidInput(f"{len(source)} bytes are sealed in {sealed_size(len(source))}, not in {len(target)}")
        for number in range(-(-len(source) // CHUNK)):
            self._aead.encrypt_into(
                _nonce(segment, first + number),
                source[number * CHUNK : (number + 1) * CHUNK],
                self.object_id,
                target[number * SEALED_CHUNK : (number + 1) * SEALED_CHUNK],
            )

    def open_into(self, segment: int, first: int, sealed: bytes | bytearray | memoryview, out: bytearray | memoryview) -> None:
        """Open a run of sealed chunks that begins with chunk `first`; `out` has exactly the size of their plaintext. Raises `PeerFault`."""
        source, target = memoryview(sealed), memoryview(out)
        if len(target) != plain_size(len(source)):
            raise InvalidInput(f"{len(source)} sealed bytes hold {plain_size(len(source))}, not {len(target)}")
        for number in range(-(-len(source) // SEALED_CHUNK)):
            try:
                self._aead.decrypt_into(
                    _nonce(segment, first + number),
                    source[number * SEALED_CHUNK : (number + 1) * SEALED_CHUNK],
                    self.object_id,
                    target[number * CHUNK : (number + 1) * CHUNK],
                )
            except InvalidTag as error:
                raise PeerFault(
                    f"chunk {first + number} of segment {segment} does not open: it is damaged, or the key is another object's",
                    segment=segment,
                    chunk=first + number,
                ) from error

    def open(self, segment: int, first: int, sealed: bytes | bytearray | memoryview) -> bytes:
        """The plaintext of a run of sealed chunks that begins with chunk `first`. Raises `PeerFault` if one does not open."""
        plain = bytearray(plain_size(len(sealed)))
        self.open_into(segment, first, sealed, plain)
        return bytes(plain)


def _nonce(segment: int, chunk: int) -> bytes:
    return segment.to_bytes(4, "big") + chunk.to_bytes(8, "big")
