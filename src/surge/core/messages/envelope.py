"""The sealed envelope: content for one person, whoever carries it (HPKE, RFC 9180).

Its suite is named by the three numbers of RFC 9180, section 7. What it is about, `info`, is not in it: sealer and opener know it, and an
envelope that was made for something else does not open.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core import canonical
from surge.core.messages.compute import Body
from surge.core.messages.fields import decode
from surge.core.types import Address

MAX_SEALED = 128 << 20
"""Bytes of what is sealed in one envelope, and what sealing adds: code, module and input of one unit."""

MAX_ENVELOPE = MAX_SEALED + 64
"""Bytes of an envelope."""

Number = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class Envelope(Body, frozen=True):
    """Something that one key opens."""

    kem: Number
    kdf: Number
    aead: Number
    sealed: Annotated[bytes, msgspec.Meta(min_length=48, max_length=MAX_SEALED)]
    """The encapsulated key, then the ciphertext with its tag."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """An envelope's bytes."""
    return _encoder.encode(envelope)


def decode_envelope(data: bytes) -> Envelope:
    """The envelope in some bytes, or `PeerFault`."""
    return decode(_decoder, data, "an envelope", most=MAX_ENVELOPE)


def inputs_info(network: bytes, court: Address, case: int, juror: Address) -> bytes:
    """What an envelope with a case's inputs is about: for this juror of this case of this court on this network, and nothing else."""
    return canonical.encode(["surge court inputs 1", network, court, case, juror])
