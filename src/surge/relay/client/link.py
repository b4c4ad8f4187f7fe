"""`Link`: one relay, kept connected for as long as it is wanted, and the sessions that go through it.

The link makes a `Wire`, makes the next when it is lost, and replaces it before the login expires without losing a
message: the new wire is subscribed before the old one is drained, what came twice is recognised by its frame counter.
One writer task serves all sessions in turn.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
import time
from collections import deque
from collections.abc import Callable

import msgspec

from surge.core.network import RelayAddress
from surge.core.signing import Signer, recover
from surge.core.text import printable
from surge.core.types import Address
from surge.errors import SurgeError, Unavailable
from surge.relay.board import Welcome
from surge.relay.client.session import Session
from surge.relay.client.wire import Traffic, Wire
from surge.relay.login import MAX_PAYLOAD, PROTOCOL, node_subject, welcome_digest
from surge.relay.pace import Pace

log = logging.getLogger("surge.relay")

CONNECT_SECONDS = 5.0
"""How long one attempt to connect and log in may take."""
ANSWER_SECONDS = 3.0
"""How long a relay may take to answer a question."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0
"""Seconds between attempts to connect; doubled after each failure."""
BEAT_SECONDS = 1.0
"""How often sessions are looked at for silence."""
RENEW_SHARE = 0.8
"""A login is renewed after this share of its life; when that fails, after this share of what is left."""

GONE_PER_SECOND = 20.0
"""Notices about unknown sessions sent per second; frames of a session that is no more cost no more than that."""
MAX_POSTS = 1024
"""Messages outside sessions that may wait for the writer."""
MAX_REASON = 200
"""Bytes of a refusal's reason that are read."""

_jitter = random.SystemRandom()


class Link:
    """One relay. `run` is its only long task; whoever makes the link owns it."""

    def __init__(
        self,
        endpoint: RelayAddress,
        signer: Signer,
        *,
        tls: ssl.SSLContext | None,
        on_hello: Callable[[Link, Address, str, bytes], bool],
        on_change: Callable[[Link], None],
    ) -> None:
        self.endpoint = endpoint
        self.address: Address = signer.address
        self._signer, self._tls = signer, tls
        self._on_hello, self._on_change = on_hello, on_change
        self.sessions: dict[tuple[str, str], Session] = {}
        """Open sessions by the peer's login and token."""
        self.calls: dict[tuple[Address, str], asyncio.Future[bytes]] = {}
        """Hellos that wait for their answer, by device and token."""
        self.attempts = 0
        """How often it has connected or failed to."""
        self.last_error: SurgeError | None = None
        """Why the last attempt failed, or why the connection was lost."""
        self.traffic = Traffic()
        """What crossed it since it was made."""
        self.stopped = ""
        """Why the relay carries nothing for this client but what goes to itself; empty while it carries."""
        self._wire: Wire | None = None
        self._expires = 0.0
        self._publishing = asyncio.Lock()
        self._posts: deque[tuple[str, bytes, str]] = deque()
        self._ready: deque[Session] = deque()
        self._wake = asyncio.Event()
        now = time.monotonic()
        self._gone_pace = Pace(GONE_PER_SECOND, 1.0, now)
        self._message_pace, self._size_pace = Pace(1e9, 1.0, now), Pace(1e12, 1.0, now)

    @property
    def is_connected(self) -> bool:
        """Whether the relay can be used now."""
        return self._wire is not None and not self.stopped

    @property
    def answers(self) -> bool:
        """Whether the relay itself can be reached now, though it may carry nothing further."""
        return self._wire is not None

    def reaches(self, device: Address) -> bool:
        """Whether messages may get to `device` through it."""
        return self.is_connected or (self.answers and device == self.endpoint.address)

    # Keeping connected

    async def run(self) -> None:
        """Keeps the link connected until cancelled."""
        backoff = FIRST_BACKOFF
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._beat())
                while True:
                    try:
                        wire, welcome = await self._open()
                    except SurgeError as error:
                        self._tell(error)
                        await asyncio.sleep(backoff * _jitter.uniform(0.75, 1.25))
                        backoff = min(backoff * 2, LONGEST_BACKOFF)
                        continue
                    backoff = FIRST_BACKOFF
                    wire.deliver_to(self._deliver)
                    self._wire = wire
                    self._adopt(welcome)
                    self._tell(self._trouble())
                    await self._keep(wire)
        finally:
            wire_left, self._wire = self._wire, None
            self._end_sessions(Unavailable(f"the relay {self.endpoint.url} is no longer used", relay=self.endpoint.url))
            if wire_left is not None:
                await wire_left.close()

    async def _open(self) -> tuple[Wire, Welcome]:
        """A wire that is logged in at the right relay, and what that relay says."""
        wire = await Wire.connect(self.endpoint.url, self.endpoint.address, self._signer, self._tls, CONNECT_SECONDS, self.traffic)
        challenge = os.urandom(32)
        try:
            answer = await wire.ask("hello", challenge, ANSWER_SECONDS)
            welcome = msgspec.msgpack.decode(answer, type=Welcome)
            digest = welcome_digest(self.endpoint.address, self.address, challenge)
            signer = recover(digest, welcome.signature)
            if signer != self.endpoint.address or welcome.version != PROTOCOL:
                raise Unavailable(f"the relay {self.endpoint.url} is not {self.endpoint.address}", signer=signer)
        except (msgspec.MsgspecError, ValueError) as error:
            await wire.close()
            raise Unavailable(f"the relay {self.endpoint.url} gives a malformed welcome") from error
        except BaseException:
            await wire.close()
            raise
        return wire, welcome

    def _adopt(self, welcome: Welcome) -> None:
        now = time.monotonic()
        self.stopped = printable(welcome.stopped)
        self._expires = now + welcome.login_seconds
        self._message_pace = Pace(max(1, welcome.messages_per_second), 1.0, now)
        self._size_pace = Pace(max(MAX_PAYLOAD, welcome.bytes_per_second), 1.0, now)

    def _trouble(self) -> SurgeError | None:
        """What is wrong with a relay that answers."""
        return Unavailable(f"it carries nothing for this device: {self.stopped}", relay=self.endpoint.url) if self.stopped else None

    def _tell(self, error: SurgeError | None) -> None:
        if error is not None and str(error) != str(self.last_error):
            log.info("the relay %s cannot be used: %s", self.endpoint.url, error)
        elif error is None and self.last_error is not None:
            log.info("the relay %s can be used again", self.endpoint.url)
        self.last_error = error
        self.attempts += 1
        self._on_change(self)

    async def _keep(self, wire: Wire) -> None:
        """Returns when the connection is lost; renews the login before it expires."""
        while True:
            renew_in = max(1.0, (self._expires - time.monotonic()) * RENEW_SHARE)
            try:
                async with asyncio.timeout(renew_in):
                    await wire.closed.wait()
                break
            except TimeoutError:
                pass
            try:
                fresh, welcome = await self._open()
            except Unavailable as error:
                log.warning("cannot renew the login: %s", error)
                continue
            await self._replace(wire, fresh)
            wire = fresh
            self._adopt(welcome)
        self._wire = None
        lost = Unavailable(f"the relay {self.endpoint.url} was lost: {wire.reason}", relay=self.endpoint.url)
        self._end_sessions(lost)
        await wire.close()
        self._tell(lost)

    async def _replace(self, old: Wire, fresh: Wire) -> None:
        """Moves to `fresh` so that order is kept both ways.

        Outward: nothing is published on `fresh` before the relay has all of `old`. Inward: `fresh` holds back what
        comes until `old`, unsubscribed, has delivered its last.
        """
        async with self._publishing:
            try:
                await old.flush(ANSWER_SECONDS)
            except Unavailable:
                self._end_sessions(Unavailable(f"the relay {self.endpoint.url} was lost during renewal"))
            self._wire = fresh
        await old.finish(ANSWER_SECONDS)
        fresh.deliver_to(self._deliver)

    # Sending

    async def publish(self, subject: str, data: bytes | bytearray, reply: str = "") -> None:
        """Publishes a message. Raises Unavailable while the link is down."""
        now = time.monotonic()
        pause = max(self._message_pace.spend(1, now), self._size_pace.spend(len(data), now))
        if pause > 0:
            await asyncio.sleep(pause)
        async with self._publishing:
            if self._wire is None:
                raise self.last_error or Unavailable(f"the relay {self.endpoint.url} is not connected")
            await self._wire.publish(subject, data, reply)

    async def ask(self, operation: str, body: bytes) -> bytes:
        """The relay's answer to a question to its board. Raises Unavailable."""
        if self._wire is None:
            raise self.last_error or Unavailable(f"the relay {self.endpoint.url} is not connected")
        return await self._wire.ask(operation, body, ANSWER_SECONDS)

    def post(self, subject: str, data: bytes, reply: str = "") -> None:
        """Has the writer publish a message that belongs to no session. Dropped when the link is down or choked."""
        if self._wire is not None and len(self._posts) < MAX_POSTS:
            self._posts.append((subject, data, reply))
            self._wake.set()

    async def _write(self) -> None:
        """Publishes what was posted, then the frames of all sessions, one of each in turn."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._posts or self._ready:
                while self._posts:
                    try:
                        await self.publish(*self._posts.popleft())
                    except Unavailable as error:
                        log.debug("not sent: %s", error)
                if self._ready:
                    await self._write_frame(self._ready.popleft())

    async def _write_frame(self, session: Session) -> None:
        session.queued = False
        frame = session.next_frame()
        if frame is None:
            return
        try:
            peer = Address(session.peer_login)
            await self.publish(node_subject(peer, self.address, "s", session.token), frame, self.nobody_subject(peer, session.token))
        except Unavailable as error:
            session.end(error)
            return
        if session.has_frame:
            self.wake(session)

    def wake(self, session: Session) -> None:
        """Has the writer ask this session for a frame."""
        if not session.queued:
            session.queued = True
            self._ready.append(session)
            self._wake.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = time.monotonic()
            for session in list(self.sessions.values()):
                session.beat(now)

    # Receiving

    def _deliver(self, subject: str, data: bytes, nobody: bool) -> None:
        """Routes a message: frames to their session, everything else to whoever made the link."""
        parts = subject.split(".")
        if len(parts) != 5:
            return
        _, _, sender, kind, token = parts
        source = Address(sender)
        session = self.sessions.get((source, token))
        if kind == "s":
            if session is not None:
                session.take_frame(data)
                return
            self.traffic.junk += len(data)
            if self._gone_pace.take(1, time.monotonic()):
                self.post(node_subject(source, self.address, "g", token), b"")
        elif kind == "g":
            if session is not None:
                session.end(Unavailable(f"{session.peer} no longer knows this session", peer=session.peer))
        elif kind == "h":
            if not nobody and not self._on_hello(self, source, token, data):
                self.traffic.junk += len(data)
        elif kind == "n":
            if nobody and source == self.address:  # the relay's word; a stranger's would bear its address
                self._nobody_listens(token)
        elif kind in ("a", "x"):
            self._take_answer(source, kind, token, data)
        else:
            self.traffic.junk += len(data)

    def nobody_subject(self, peer: Address, token: str) -> str:
        """Where the relay shall say that nobody listens to `peer`: a client that is gone is known at once by this."""
        return node_subject(self.address, self.address, "n", f"{peer}-{token}")

    def _nobody_listens(self, token: str) -> None:
        peer, _, token = token.partition("-")
        away = Unavailable(f"{peer} is not connected to the relay {self.endpoint.url}", peer=peer)
        session = self.sessions.get((Address(peer), token))
        if session is not None:
            session.end(away)
        call = self.calls.get((Address(peer), token))
        if call is not None and not call.done():
            call.set_exception(away)

    def _take_answer(self, source: Address, kind: str, token: str, data: bytes) -> None:
        """An answer or a refusal to a hello of ours."""
        call = self.calls.get((source, token))
        if call is None or call.done():
            self.traffic.junk += len(data)
            return
        if kind == "a":
            call.set_result(data)
        else:
            reason = printable(data[:MAX_REASON].decode(errors="replace"))
            call.set_exception(Unavailable(f"{source} refused the session: {reason}", reason=reason))

    # What the listener asks of it

    @property
    def name(self) -> str:
        """See `Carrier`."""
        return self.endpoint.url

    def answer(self, source: str, token: str, answer: bytes) -> None:
        """See `Carrier`."""
        self.post(node_subject(Address(source), self.address, "a", token), answer)

    def refuse(self, source: str, token: str, reason: str) -> None:
        """See `Carrier`."""
        self.post(node_subject(Address(source), self.address, "x", token), reason.encode())

    def carries(self, source: str, token: str) -> bool:
        """See `Carrier`."""
        return (source, token) in self.sessions

    def add(self, session: Session) -> None:
        """Has the link carry a session from now on."""
        self.sessions[session.peer_login, session.token] = session

    def forget(self, session: Session) -> None:
        """The session has ended."""
        self.sessions.pop((session.peer_login, session.token), None)

    def _end_sessions(self, error: SurgeError) -> None:
        for session in list(self.sessions.values()):
            session.end(error)
        for call in self.calls.values():
            if not call.done():
                call.set_exception(error)
        self._posts.clear()
