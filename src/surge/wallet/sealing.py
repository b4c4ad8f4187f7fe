"""Sealing content for one person: HPKE (RFC 9180), base mode, one message for each envelope.

Whoever has somebody's public key can seal for them, so an envelope says nothing about who made it: what is in it must prove itself.

    >>> key = ReceivingKey(bytes(range(32)))
    >>> envelope = seal(key.public, b"for the doctest", b"content")
    >>> key.open(envelope, b"for the doctest")
    b'content'
"""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from surge.core.messages import MAX_SEALED, Envelope
from surge.errors import InvalidInput, PeerFault

SUITE: Final = (0x0020, 0x0001, 0x0002)
"""DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, as RFC 9180 numbers them: the one suite that is spoken."""

OVERHEAD: Final = 32 + 16
"""Bytes that sealing adds: the encapsulated key and the tag."""

_suite: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class ReceivingKey:
    """Opens what was sealed for it. The key cannot be read, printed or pickled through it."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        """`secret` is an X25519 private key: 32 bytes."""
        if len(secret) != 32:
            raise InvalidInput(f"a key for receiving is 32 bytes, not {len(secret)}")
        self._key = X25519PrivateKey.from_private_bytes(secret)
        self.public: bytes = self._key.public_key().public_bytes_raw()
        """32 bytes: what others seal for."""

    def open(self, envelope: Envelope, info: bytes) -> bytes:
        """What is in an envelope. Raises `PeerFault` unless it was sealed for this key, with this `info`, in the suite spoken here."""
        if (envelope.kem, envelope.kdf, envelope.aead) != SUITE:
            raise PeerFault("an envelope is sealed in a suite that is not spoken here", suite=(envelope.kem, envelope.kdf, envelope.aead))
        try:
            return _suite.decrypt(envelope.sealed, self._key, info)
        except (InvalidTag, ValueError) as error:
            raise PeerFault("an envelope was sealed for another key or about something else, or is damaged") from error

    def __repr__(self) -> str:
        return f"ReceivingKey({self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise InvalidInput("a key does not travel: it is not pickled or copied")


def seal(public: bytes, info: bytes, content: bytes) -> Envelope:
    """Seal content for whoever holds the key to `public`, 32 bytes. Raises `InvalidInput` for more than `MAX_SEALED` bytes, or no key."""
    if len(content) + OVERHEAD > MAX_SEALED:
        raise InvalidInput(f"{len(content)} bytes are more than an envelope holds", size=len(content), most=MAX_SEALED - OVERHEAD)
    try:
        sealed = _suite.encrypt(content, X25519PublicKey.from_public_bytes(public), info)
    except ValueError as error:  # of another size, or a point of small order, for which anyone could open it
        raise InvalidInput("a key to seal for is no usable X25519 key", key=public) from error
    return Envelope(*SUITE, sealed)
