"""`Session`: a row of messages each way between two devices, sealed end to end, with flow control.

Sending never makes a task: messages gather in the session, and the link's one writer asks each session in turn for its
next frame. When nothing waits a message leaves at once; under load many share a frame.

Flow control is by credit: a receiver says how many bytes of messages, counted from the start, it has room for, and
says so again as the application takes messages. A peer that sends more is at fault. What is held for a slow reader is
so bounded by the window.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from surge.core.text import printable
from surge.core.types import Address
from surge.errors import InternalFault, InvalidInput, PeerFault, SurgeError, Unavailable
from surge.relay.client.frames import (
    FRAME_TARGET,
    MAX_MESSAGE,
    RECORD_OVERHEAD,
    Kind,
    LostFrame,
    Opener,
    Record,
    Sealer,
)

WINDOW = 4 << 20
"""Bytes of messages a session holds for its reader: some frames in flight at 200 MiB/s and 20 ms."""
FIRST_CREDIT = 1 << 20
"""Bytes of messages either side may send before it is given credit: the peer's window may be as small as this."""
MESSAGE_COST = 64
"""Bytes of window a message takes beside its own: what Python needs to hold it, so that empty ones are not free."""
ALIVE_SECONDS = 2.0
"""After so long without a frame a sign of life is sent."""
PATIENCE_SECONDS = 15.0
"""After so long without a frame from the peer it is taken for gone."""
CLOSE_SECONDS = 5.0
"""How long `close` waits for what was sent to leave this machine."""
MAX_REASON = 200
"""Characters of the reason for a close that are told."""

_CREDIT = struct.Struct(">Q")


class Session:
    """An open session. `Relays.dial` and `Relays.listen` make them."""

    def __init__(
        self,
        *,
        peer: Address,
        login: str,
        token: str,
        relay: str,
        context: bytes,
        keys: tuple[bytes, bytes],
        wake: Callable[[Session], None],
        forget: Callable[[Session], None],
        window: int = WINDOW,
        confirmed: Callable[[Session], None] | None = None,
    ) -> None:
        now = time.monotonic()
        self.peer = peer
        """The identity the peer proved."""
        self.peer_login = login
        """The address the peer is logged in at the relay with; on a direct connection its host."""
        self.relay = relay
        """The URL of the relay this session goes through, or `direct HOST:PORT`."""
        self.context = context
        """What the caller's hello said."""
        self.token = token
        """The session's part of its subject."""
        self.queued = False
        """Whether the link's writer has this session in its row."""
        self.lead = 0
        """Bytes that are left free before each frame, for what carries it."""
        self.kept = False
        """Whether the application holds on to the caller: until then it has a stranger's place."""
        self._sealer, self._opener = Sealer(keys[0], now), Opener(keys[1])
        self._wake, self._forget, self._confirmed = wake, forget, confirmed
        self.window = max(window, FIRST_CREDIT)
        """Bytes of messages held for the reader at most."""
        self._incoming: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._received = self._consumed = 0
        self._granted = FIRST_CREDIT
        self._outgoing: deque[bytes] = deque()
        self._outgoing_size = 0
        self._control: list[Record] = []
        self._senders: deque[tuple[bytes, int, asyncio.Future[None]]] = deque()
        self._sent, self._allowed = 0, FIRST_CREDIT
        self._last_sent = self._last_heard = now
        self._error: SurgeError | None = None
        self._finishing = False
        self._drained = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Session with {self.peer} through {self.relay}, {'open' if self.is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._error is None and not self._finishing

    # What the application calls

    async def send(self, message: bytes) -> None:
        """Sends a message of at most `MAX_MESSAGE` bytes; waits while the peer has no room.

        Returns when the message is queued in order, not when it arrived. Raises Unavailable or PeerFault when the
        session is gone.
        """
        if len(message) > MAX_MESSAGE:
            raise InvalidInput(f"a message may be {MAX_MESSAGE} bytes, not {len(message)}; cut it up", size=len(message))
        cost = len(message) + MESSAGE_COST
        self._check_open()
        if not self._senders and self._has_room(cost):
            self._enqueue(message, cost)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (message, cost, turn)
        self._senders.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._senders:
                self._senders.remove(entry)
                self._admit()
            raise

    async def receive(self) -> bytes:
        """The next message. Raises Unavailable when the session has ended, PeerFault when the peer broke its rules.

        Messages that arrived before an orderly end can still be received.
        """
        while not self._incoming:
            if self._error is not None:
                raise self._error
            if self._reader is not None:
                raise InternalFault("two tasks receive from one session")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._incoming.popleft()
        self._consumed += len(message) + MESSAGE_COST
        if self._consumed + self.window - self._granted >= self.window // 4 and self._error is None:
            self._grant()
        return message

    def keep(self) -> None:
        """The caller has shown that it means business: its session is no longer ended to make room for strangers."""
        self.kept = True

    async def close(self, reason: str = "closed") -> None:
        """Ends the session; what was sent before leaves first, for at most some seconds."""
        if self.is_open:
            self._finishing = True
            self._drained.clear()
            self._control.append((Kind.CLOSE, reason[:MAX_REASON].encode()))
            self._wake(self)
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._drained.wait()
            except TimeoutError:
                pass  # a stuck relay: the peer will miss the signs of life
        self.end(Unavailable(f"the session with {self.peer} was closed here: {reason}", peer=self.peer))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages until the session ends in an orderly way or not; only a PeerFault is raised."""
        while True:
            try:
                yield await self.receive()
            except Unavailable:
                return

    # What the link calls

    def next_frame(self) -> bytearray | None:
        """The next frame to publish, after `lead` free bytes, or None when nothing waits."""
        if self._error is not None or not (self._control or self._outgoing):
            return None
        closing = self._finishing and self._control and self._control[-1][0] == Kind.CLOSE
        records = self._control[:-1] if closing else self._control
        close = self._control[-1:] if closing else []
        size = sum(len(body) + RECORD_OVERHEAD for _, body in records)
        outgoing = self._outgoing
        while outgoing and (not size or size + len(outgoing[0]) <= FRAME_TARGET):
            message = outgoing.popleft()
            records.append((Kind.MESSAGE, message))
            size += len(message) + RECORD_OVERHEAD
            self._outgoing_size -= len(message) + MESSAGE_COST
        if outgoing:
            self._control = close
        else:
            records += close
            self._control = []
            self._drained.set()
        now = time.monotonic()
        self._last_sent = now
        self._admit()
        return self._sealer.seal(records, now, self.lead)

    @property
    def has_frame(self) -> bool:
        """Whether `next_frame` would give one."""
        return self._error is None and bool(self._control or self._outgoing)

    def take_frame(self, frame: bytes | bytearray) -> None:
        """Takes a frame that arrived from the peer's login under this session's token."""
        if self._error is not None:
            return
        try:
            records = self._opener.open(frame)
            if records and self._confirmed is not None:
                confirmed, self._confirmed = self._confirmed, None
                confirmed(self)
                self.start()
            for kind, body in records:
                self._take_record(kind, body)
        except LostFrame as error:
            self.end(Unavailable(f"a part of the session with {self.peer} was lost: {error}", peer=self.peer))
        except PeerFault as error:
            self.end(error)

    def _take_record(self, kind: int, body: bytes) -> None:
        self._last_heard = time.monotonic()
        if kind == Kind.MESSAGE:
            self._received += len(body) + MESSAGE_COST
            if self._received > self._granted:
                raise PeerFault(
                    "the peer sent more than it was given credit for",
                    peer=self.peer,
                    received=self._received,
                    granted=self._granted,
                )
            self._incoming.append(body)
            self._rouse_reader()
        elif kind == Kind.CREDIT:
            if len(body) != _CREDIT.size:
                raise PeerFault("a credit is not eight bytes", peer=self.peer)
            allowed = _CREDIT.unpack(body)[0]
            if allowed < self._allowed:
                raise PeerFault("the peer took credit back", peer=self.peer, allowed=allowed, before=self._allowed)
            self._allowed = allowed
            self._admit()
        elif kind == Kind.CLOSE:
            reason = printable(body[: 4 * MAX_REASON].decode(errors="replace"))
            self.end(Unavailable(f"{self.peer} closed the session: {reason}", peer=self.peer, reason=reason))

    def beat(self, now: float) -> None:
        """Called each second or so: sends a sign of life when due, ends the session when the peer gave none."""
        if self._error is not None:
            return
        if now - self._last_heard > PATIENCE_SECONDS:
            self.end(Unavailable(f"{self.peer} was not heard of for {PATIENCE_SECONDS:.0f} s", peer=self.peer))
        elif now - self._last_sent > ALIVE_SECONDS and not self.has_frame:
            self._control.append((Kind.ALIVE, b""))
            self._wake(self)

    def end(self, error: SurgeError) -> None:
        """Ends the session with this error; the first error stays."""
        if self._error is not None:
            return
        self._error = error
        self._outgoing.clear()
        self._control.clear()
        self._drained.set()
        while self._senders:
            _, _, turn = self._senders.popleft()
            if not turn.done():
                turn.set_exception(error)
        self._rouse_reader()
        self._forget(self)

    def start(self) -> None:
        """Gives the peer credit for the whole window. The caller's first frame also confirms its keys by this."""
        self._grant()

    # Inside

    def _grant(self) -> None:
        self._granted = self._consumed + self.window
        self._control.append((Kind.CREDIT, _CREDIT.pack(self._granted)))
        self._wake(self)

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._error
        if self._finishing:
            raise Unavailable(f"the session with {self.peer} is being closed here", peer=self.peer)

    def _has_room(self, cost: int) -> bool:
        return self._sent + cost <= self._allowed and self._outgoing_size < WINDOW

    def _admit(self) -> None:
        """Lets waiting senders go on, in order, while there is room."""
        while self._senders and self._has_room(self._senders[0][1]):
            message, cost, turn = self._senders.popleft()
            if not turn.done():
                turn.set_result(None)
                self._enqueue(message, cost)

    def _enqueue(self, message: bytes, cost: int) -> None:
        self._sent += cost
        self._outgoing.append(message)
        self._outgoing_size += cost
        self._wake(self)

    def _rouse_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
