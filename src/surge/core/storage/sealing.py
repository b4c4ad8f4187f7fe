"""Sealing the notes about an object: its header and the pages of its map.

AES-256-GCM whose nonce is an HMAC of the note under a key of its own: so nothing here needs randomness, a page that is written again in
another version gets another nonce, and equal notes are equal sealed.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from surge.core import canonical
from surge.core.storage.masks import derived
from surge.errors import PeerFault

NONCE = 12

OVERHEAD = NONCE + 16
"""Bytes that sealing adds."""


def seal(secret: bytes, about: list[object], note: bytes) -> bytes:
    """Seal a note. `about` says what it is of, as canonical values; who opens it says the same."""
    nonce = hmac.digest(derived(secret, ["surge nonce 1", *about]), note, "sha256")[:NONCE]
    return nonce + AESGCM(derived(secret, ["surge note 1", *about])).encrypt(nonce, note, canonical.encode(about))


def open_sealed(secret: bytes, about: list[object], sealed: bytes) -> bytes:
    """The note. Raises `PeerFault` unless it was sealed with this secret and is about this."""
    try:
        if len(sealed) < OVERHEAD:
            raise InvalidTag
        return AESGCM(derived(secret, ["surge note 1", *about])).decrypt(sealed[:NONCE], sealed[NONCE:], canonical.encode(about))
    except InvalidTag as error:
        raise PeerFault("a sealed note does not open: it is damaged, about something else, or sealed with another key") from error
