"""One direct connection: packets over TCP, and the session that it carries.

The device speaks first: 16 bytes that say what it is, and 32 random ones, which the handshake signs in place of the caller's login. Then
both send packets: a letter, four bytes of length, big-endian, and so many bytes. The letters are those of a relay's subjects.

    letter   from       body
    h        caller     its hello, first
    a        device     the answer
    x        device     instead of an answer: why there is none, as text
    s        both       a frame of the session

Bytes are received into the place where their packet is put together, a place as large as announced, which is bounded before; and sent only
while the socket takes them, so that a peer that does not read is given no more than the session's window and a buffer.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import cast

from surge.core.text import printable
from surge.errors import PeerFault, Unavailable
from surge.relay.client.frames import MAX_FRAME
from surge.relay.client.session import Session
from surge.relay.pace import Pace

MAGIC = b"surge direct 1\r\n"
"""What a device says before anything else."""
CHALLENGE = 32
GREETING = len(MAGIC) + CHALLENGE

HELLO, ANSWER, REFUSAL, FRAME = b"haxs"

MAX_REASON = 200
"""Bytes of a refusal's reason."""
WRITE_BUFFER = 1 << 20
"""Bytes that may wait for the socket before sessions wait."""
ROOM = 64 << 10
"""Bytes that are received at once, where no larger packet is on its way."""
BEAT_SECONDS = 1.0
"""How often the session is looked at for silence."""
CLOSE_SECONDS = 2.0
"""How long what was sent may take to leave when the connection is closed."""
FRAMES_PER_SECOND = 20_000.0
"""Frames taken of one peer in a second: a flood of empty ones costs no more than some tenths of a core, and the others their turn."""

_HEAD = struct.Struct(">BI")


class Connection(asyncio.BufferedProtocol):
    """A connection on either side, open until `lost` is called. One that breaks the rules below is dropped."""

    def __init__(self, *, limits: dict[int, int], took: Callable[[Connection, int, bytes], None], greeting: int = 0) -> None:
        """`limits` says how large a packet of each letter may be now; `took` is given all packets but the session's frames.

        With `greeting`, the other side's first bytes, so many, are given to `took` under letter 0.
        """
        self.limits = limits
        self.session: Session | None = None
        self.reason = "the other side closed it"
        """Why it is gone, as far as known."""
        self.lost: Callable[[Connection], None] = lambda connection: None
        """Called once, when it is gone, before its session is ended."""
        self.host = self.peer = "nowhere"
        """The other side's address; and with its port, for people."""
        self._took = took
        self._transport: asyncio.Transport | None = None
        self._room = bytearray(ROOM)
        self._held = 0
        self._body = bytearray(greeting) if greeting else None
        self._letter = self._have = 0
        self._writable, self._pumping = True, False
        self._timer: asyncio.TimerHandle | None = None
        self._pace = Pace(FRAMES_PER_SECOND, 1.0, time.monotonic())

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._transport is not None and not self._transport.is_closing()

    # As a carrier of one session

    @property
    def name(self) -> str:
        """See `Carrier`."""
        return f"direct {self.peer}"

    def answer(self, source: str, token: str, answer: bytes) -> None:
        """See `Carrier`."""
        self.send(ANSWER, answer)

    def refuse(self, source: str, token: str, reason: str) -> None:
        """See `Carrier`."""
        self.send(REFUSAL, reason.encode()[:MAX_REASON])
        self.close()

    def carries(self, source: str, token: str) -> bool:
        """See `Carrier`."""
        return self.session is not None

    def add(self, session: Session) -> None:
        """See `Carrier`."""
        self.session = session
        session.lead = _HEAD.size
        self.limits = {FRAME: MAX_FRAME}
        self._beat()

    def forget(self, session: Session) -> None:
        """See `Carrier`. The connection ends with its session."""
        self.close()

    def wake(self, session: Session) -> None:
        """See `Carrier`. What is sent in one turn of the loop shares frames."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        while self._writable and self.is_open and self.session is not None and (frame := self.session.next_frame()) is not None:
            _HEAD.pack_into(frame, 0, FRAME, len(frame) - _HEAD.size)
            assert self._transport is not None
            self._transport.write(memoryview(frame))

    def _beat(self) -> None:
        if self.session is not None and self.is_open:
            self.session.beat(time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    # Sending

    def send(self, letter: int, body: bytes) -> None:
        """Sends a packet, if the connection is still there."""
        if self._transport is not None and self.is_open:
            self._transport.write(_HEAD.pack(letter, len(body)) + body)

    def greet(self, challenge: bytes) -> None:
        """Says what a device says first."""
        assert self._transport is not None
        self._transport.write(MAGIC + challenge)

    def close(self) -> None:
        """Closes it; what was sent leaves first, for a moment."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def abort(self, reason: str) -> None:
        """Drops it at once."""
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.host, port = (transport.get_extra_info("peername") or ("nowhere", 0))[:2]
        self.peer = f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone, and the session with it."""
        if error is not None:
            self.reason = str(error)
        if self._timer is not None:
            self._timer.cancel()
        self.lost(self)
        session, self.session = self.session, None
        if session is not None:
            session.end(Unavailable(f"the connection to {session.peer} was lost: {self.reason}", peer=session.peer))

    def pause_writing(self) -> None:
        """Enough waits for the socket."""
        self._writable = False

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable = True
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: into the packet that is on its way, if one is."""
        return memoryview(self._room)[self._held :] if self._body is None else memoryview(self._body)[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        """Takes what came. A peer that breaks the protocol is dropped."""
        try:
            if self._body is None:
                self._held += nbytes
                self._unpack()
            else:
                self._have += nbytes
                if self._have == len(self._body):
                    body, self._body = self._body, None
                    self._take(self._letter, body)
        except PeerFault as error:
            self.abort(f"it broke the protocol: {error}")

    def _unpack(self) -> None:
        """Takes the packets that are here; of one whose end is not, the beginning."""
        at = 0
        with memoryview(self._room) as room:
            while self._held - at >= _HEAD.size and self.is_open:
                letter, size = _HEAD.unpack_from(room, at)
                if size > self.limits.get(letter, -1):
                    raise PeerFault(f"a packet {printable(chr(letter))} of {size} bytes is not taken now", letter=letter, size=size)
                at += _HEAD.size
                if size > self._held - at:
                    self._letter, self._body, self._have = letter, bytearray(size), self._held - at
                    self._body[: self._have] = room[at : self._held]
                    at = self._held
                    break
                at += size
                self._take(letter, bytearray(room[at - size : at]))
            room[: self._held - at] = room[at : self._held]
        self._held -= at

    def _take(self, letter: int, body: bytearray) -> None:
        if letter != FRAME:
            self._took(self, letter, bytes(body))
        elif self.session is not None:
            if (pause := self._pace.spend(1, time.monotonic())) > 0:
                self._rest(pause)
            self.session.take_frame(body)

    def _rest(self, seconds: float) -> None:
        assert self._transport is not None
        if self._transport.is_reading():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._transport is not None and self.is_open:
            self._transport.resume_reading()
