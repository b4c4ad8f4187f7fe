"""Frames: how messages of a session are packed, sealed and opened. Pure.

A frame is eight bytes of counter, then AES-256-GCM of its records under a nonce that is the counter. Counters run from
0 without a gap, so a frame that was dropped, doubled, moved or changed shows. A record is one byte of kind, four bytes
of length and its body; one frame carries as many small messages as had gathered.

A `REKEY` record says that the *next* frame is sealed with a key derived from this one, and that this one is forgotten:
at the latest after 2^20 frames or one hour, so that a key that leaks opens little of what was said before.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from surge.errors import PeerFault

MAX_MESSAGE = 512 << 10
"""Bytes of one message of a session."""
FRAME_TARGET = 256 << 10
"""A frame takes messages up to about this many bytes; a larger message has a frame of its own."""
RECORD_OVERHEAD = 5
TAG = 16
"""Bytes that sealing adds."""
FRAME_OVERHEAD = 8 + TAG
MAX_FRAME = MAX_MESSAGE + FRAME_TARGET + 4096
"""Bytes of the largest frame an honest peer makes; below the relay's limit of 1 MiB."""
REKEY_FRAMES = 1 << 20
REKEY_SECONDS = 3600.0

_COUNTER = struct.Struct(">Q")
_HEAD = struct.Struct(">BI")


class Kind(IntEnum):
    """What a record is."""

    MESSAGE = 0
    """A message of the application."""
    CREDIT = 1
    """Eight bytes: how many bytes of messages, counted from the start, the receiver has room for."""
    ALIVE = 2
    """Nothing but a sign of life."""
    REKEY = 3
    """The next frame has the next key."""
    CLOSE = 4
    """The sender sends no more; the body is a reason in UTF-8."""


Record = tuple[int, bytes]
"""The kind and the body of one record."""


class LostFrame(Exception):
    """A frame is missing: one with a later counter came."""


def _next_key(key: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, info=b"surge session 1 rekey").derive(key)


def pack(records: Sequence[Record], lead: int = 0, tail: int = 0) -> bytearray:
    """The plain text of a frame, between so many bytes that are left free for others."""
    text = bytearray(lead + sum(RECORD_OVERHEAD + len(body) for _, body in records) + tail)
    at = lead
    for kind, body in records:
        _HEAD.pack_into(text, at, kind, len(body))
        at += RECORD_OVERHEAD
        text[at : at + len(body)] = body
        at += len(body)
    return text


def unpack(text: bytes | memoryview) -> list[Record]:
    """The records of a plain text. Raises PeerFault when it is not exactly a row of records."""
    records: list[Record] = []
    position, end = 0, len(text)
    while position < end:
        if end - position < RECORD_OVERHEAD:
            raise PeerFault("a frame ends inside a record", size=end)
        kind, length = _HEAD.unpack_from(text, position)
        position += RECORD_OVERHEAD
        if length > end - position or length > MAX_MESSAGE:
            raise PeerFault("a record is longer than its frame or than a message may be", length=length)
        if kind > Kind.CLOSE:
            raise PeerFault(f"a frame has a record of unknown kind {kind}", kind=kind)
        records.append((kind, bytes(text[position : position + length])))
        position += length
    return records


class Sealer:
    """Seals the frames of one direction."""

    def __init__(self, key: bytes, now: float) -> None:
        self._key, self._cipher = key, AESGCM(key)
        self._counter = 0
        self._next_rekey = (REKEY_FRAMES, now + REKEY_SECONDS)

    def seal(self, records: list[Record], now: float, lead: int = 0) -> bytearray:
        """A frame of these records, after `lead` bytes that are left free; `now` in monotonic seconds.

        It is sealed where it stands: every copy of what is this large costs about as much as sealing it.
        """
        rekey = self._counter >= self._next_rekey[0] or now >= self._next_rekey[1]
        if rekey:
            records = [*records, (Kind.REKEY, b"")]
        counter = _COUNTER.pack(self._counter)
        frame = pack(records, lead + _COUNTER.size, TAG)
        frame[lead : lead + _COUNTER.size] = counter
        with memoryview(frame) as view, view[lead + _COUNTER.size :] as sealed, sealed[:-TAG] as text:
            self._cipher.encrypt_into(b"\0\0\0\0" + counter, text, None, sealed)
        self._counter += 1
        if rekey:
            self._key = _next_key(self._key)
            self._cipher = AESGCM(self._key)
            self._next_rekey = (self._counter + REKEY_FRAMES, now + REKEY_SECONDS)
        return frame


class Opener:
    """Opens the frames of one direction."""

    def __init__(self, key: bytes) -> None:
        self._key, self._cipher = key, AESGCM(key)
        self._counter = 0

    def open(self, frame: bytes | bytearray) -> list[Record]:
        """The records of the next frame; none for one that was opened before. One that can be written to is opened where it stands.

        Raises LostFrame when a frame is missing, PeerFault when this one was changed, cut or is too large.
        """
        if not FRAME_OVERHEAD <= len(frame) <= MAX_FRAME:
            raise PeerFault(f"a frame has {len(frame)} bytes; it may have {FRAME_OVERHEAD} to {MAX_FRAME}")
        counter = bytes(frame[: _COUNTER.size])
        number = _COUNTER.unpack(counter)[0]
        if number < self._counter:
            return []
        if number > self._counter:
            raise LostFrame(f"frame {self._counter} is missing: {number} came")
        with memoryview(frame) as view, view[_COUNTER.size :] as sealed:
            try:
                if view.readonly:
                    records = unpack(self._cipher.decrypt(b"\0\0\0\0" + counter, sealed, None))
                else:
                    with sealed[:-TAG] as text:
                        self._cipher.decrypt_into(b"\0\0\0\0" + counter, sealed, None, text)
                        records = unpack(text)
            except InvalidTag as error:
                raise PeerFault("a frame was changed on its way, or is not the peer's", counter=number) from error
        self._counter += 1
        if records and records[-1][0] == Kind.REKEY:
            self._key = _next_key(self._key)
            self._cipher = AESGCM(self._key)
        return records
