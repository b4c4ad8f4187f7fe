"""A NATS client connection: the text protocol of nats-server, and nothing more.

It replaces nats-py where the other end is a stranger. nats-py signs for whoever answers, follows a server into plain
text, gathers whatever length is announced, and may neither return nor free its socket when the server freezes. Here
the caller sees the server's INFO before anything is signed, every length is bounded before it is gathered, a silent
server is noticed, and `close` always ends. Connections are never re-opened: whoever owns one makes another.

Messages are handed over inside `data_received`, in order, without a task or a queue between; publishing writes to the
socket's buffer at once, and `drain` waits while that is full.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from surge.core.stack import parse_json
from surge.core.text import printable
from surge.errors import PeerFault, Unavailable
from surge.relay.login import MAX_PAYLOAD

MAX_LINE = 16 << 10
"""Bytes of one line of the protocol; INFO with many addresses is the longest."""
MAX_ANNOUNCED = MAX_PAYLOAD + 4096
"""Bytes of one message with its headers."""
WRITE_BUFFER = 1 << 20
"""Bytes that may wait for the socket before `drain` waits."""
PING_SECONDS = 5.0
MAX_UNANSWERED = 2
"""A frozen server is noticed after so many unanswered pings."""
CLOSE_SECONDS = 1.0
"""How long what was published may take to leave when the connection is closed."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came."""

    subject: str
    reply: str
    data: bytes
    status: int
    """0, or the status a server puts in place of an answer: 503 when nobody listens."""


Credentials = Callable[[dict[str, Any]], dict[str, Any]]
"""Given the server's INFO, what CONNECT shall say to log in; raises to refuse this server."""


class NatsConnection(asyncio.Protocol):
    """One connection, open from `open` until `closed` is set."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        """Set when the connection is gone."""
        self.reason = "it was closed"
        """Why it is gone, as far as known."""
        self.complaints: deque[str] = deque(maxlen=8)
        """What the server complained about, latest last; refused subjects among it."""
        self.on_message: Callable[[Message], None] = lambda message: None
        self.info: dict[str, Any] = {}
        """What the server said about itself."""
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._pending: tuple[str, str, int, int] | None = None
        self._line_future: asyncio.Future[str] | None = None
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._unanswered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        credentials: Credentials,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = 5.0,
    ) -> NatsConnection:
        """Connects and logs in. With `tls`, a server that does not speak TLS is refused before it is told anything.

        Raises Unavailable saying what failed, or what `credentials` raises.
        """
        where = f"{host}:{port}"
        connection: NatsConnection | None = None
        try:
            async with asyncio.timeout(timeout):
                loop = asyncio.get_running_loop()
                line = loop.create_future()
                _, connection = await loop.create_connection(lambda: cls._awaiting(line), host, port)
                await connection._log_in(await line, host, credentials, tls)
        except BaseException as error:
            if connection is not None:
                connection.abort("it could not be opened")
            if isinstance(error, TimeoutError):
                raise Unavailable(f"{where} did not answer within {timeout:.0f} s") from error
            if isinstance(error, OSError | ValueError):  # ssl's errors are OSErrors, JSON's ValueErrors
                raise Unavailable(f"cannot connect to {where}: {_said(error)}") from error
            raise
        return connection

    @classmethod
    def _awaiting(cls, line: asyncio.Future[str]) -> NatsConnection:
        connection = cls()
        connection._line_future = line
        return connection

    async def _log_in(self, line: str, host: str, credentials: Credentials, tls: ssl.SSLContext | None) -> None:
        if not line.startswith("INFO "):
            raise Unavailable(f"what answers at {host} is no nats-server")
        info = parse_json(line[5:])
        if not isinstance(info, dict):
            raise Unavailable(f"what answers at {host} is no nats-server")
        self.info = info
        loop = asyncio.get_running_loop()
        if tls is not None:
            if not info.get("tls_required"):
                raise Unavailable(f"the server at {host} does not speak TLS, which its URL asks for")
            assert self._transport is not None
            encrypted = await loop.start_tls(self._transport, self, tls, server_hostname=host)
            self._transport = cast(asyncio.Transport, encrypted)
        elif info.get("tls_required"):
            raise Unavailable(f"the server at {host} speaks TLS only: its URL must start with tls://")
        assert self._transport is not None
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        login = credentials(info)
        options = {"verbose": False, "pedantic": False, "lang": "surge", "version": "1", "protocol": 1}
        options |= {"headers": True, "no_responders": True, "echo": True} | login
        self._write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        await self._round_trip()
        self._timer = loop.call_later(PING_SECONDS, self._ping)

    # Publishing and subscribing

    def publish(self, subject: str, data: bytes | bytearray, reply: str = "") -> None:
        """Publishes. Subjects are made by this room, never by strangers. Raises Unavailable when it is closed."""
        self._check_open()
        head = f"PUB {subject} {reply} {len(data)}\r\n" if reply else f"PUB {subject} {len(data)}\r\n"
        assert self._transport is not None
        self._transport.write(b"".join((head.encode(), data, b"\r\n")))

    async def drain(self) -> None:
        """Waits while too much waits for the socket. Raises Unavailable when the connection is lost meanwhile."""
        await self._writable.wait()
        self._check_open()

    def subscribe(self, number: int, subject: str) -> None:
        """Subscribes under a number of the caller's choice."""
        self._write(f"SUB {subject} {number}\r\n".encode())

    def unsubscribe(self, number: int) -> None:
        """Ends a subscription."""
        self._write(f"UNSUB {number}\r\n".encode())

    async def flush(self, timeout: float) -> None:
        """Returns when the server has taken all that was published, and all that it sent before is handed over.

        Raises Unavailable when it does not answer in time.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._round_trip()
        except TimeoutError as error:
            raise Unavailable("the server does not answer") from error

    async def close(self) -> None:
        """Closes; waits a moment for what was published to leave."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.close()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.closed.wait()
            except TimeoutError:
                self.abort("it was closed")
        self._gone()

    def abort(self, reason: str) -> None:
        """Drops the connection at once."""
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()
        self._gone()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        if not self.closed.is_set():
            said = self.complaints[-1] if self.complaints else ""
            self.reason = said or (str(error) if error is not None else "the server closed it")
        self._gone()

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has room again."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Takes what the server sent. A server that breaks the protocol is dropped."""
        self._buffer += data
        try:
            self._parse()
        except (PeerFault, ValueError, IndexError) as error:
            self.abort(f"the server broke the protocol: {error}")

    # Inside

    def _parse(self) -> None:
        buffer, position, end = self._buffer, 0, len(self._buffer)
        while position < end and not self.closed.is_set():
            if self._pending is None:
                stop = buffer.find(b"\r\n", position, position + MAX_LINE)
                if stop < 0:
                    if end - position >= MAX_LINE:
                        raise PeerFault("a line is too long")
                    break
                line = buffer[position:stop]
                position = stop + 2
                self._take_line(line)
            else:
                subject, reply, headers, size = self._pending
                if end - position < size + 2:
                    break
                with memoryview(buffer) as view:
                    head, data = bytes(view[position : position + headers]), bytes(view[position + headers : position + size])
                position += size + 2
                self._pending = None
                self._unanswered = 0
                self.on_message(Message(subject, reply, data, _status(head)))
        del buffer[:position]

    def _take_line(self, line: bytearray) -> None:
        if line.startswith((b"MSG ", b"HMSG ")):
            fields = line.decode().split()
            headers = 0
            if fields[0] == "HMSG":
                headers = int(fields.pop(-2))
            size = int(fields[-1])
            if not 0 <= headers <= size <= MAX_ANNOUNCED or len(fields) not in (4, 5):
                raise PeerFault("a message is announced larger than it may be", size=size)
            self._pending = (fields[1], fields[3] if len(fields) == 5 else "", headers, size)
        elif line.startswith(b"PING"):
            self._write(b"PONG\r\n")
        elif line.startswith(b"PONG"):
            self._unanswered = 0
            if self._pongs:
                pong = self._pongs.popleft()
                if not pong.done():
                    pong.set_result(None)
        elif line.startswith(b"INFO"):
            if self._line_future is not None and not self._line_future.done():
                self._line_future.set_result(line.decode())
        elif line.startswith(b"-ERR"):
            self.complaints.append(printable(line[4:204].decode(errors="replace").strip(" '")))
        elif not line.startswith(b"+OK"):
            raise PeerFault("a line is of no known kind", line=bytes(line[:64]))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self.closed.is_set():
            self._transport.write(data)

    async def _round_trip(self) -> None:
        self._check_open()
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._write(b"PING\r\n")
        await pong

    def _ping(self) -> None:
        if self._unanswered >= MAX_UNANSWERED:
            self.abort("the server does not answer pings")
            return
        self._unanswered += 1
        self._pongs.append(asyncio.get_running_loop().create_future())
        self._write(b"PING\r\n")
        self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)

    def _check_open(self) -> None:
        if self.closed.is_set():
            raise Unavailable(f"the connection is gone: {self.reason}")

    def _gone(self) -> None:
        if self.closed.is_set():
            return
        self.closed.set()
        self._writable.set()
        self._buffer.clear()
        if self._timer is not None:
            self._timer.cancel()
        lost = Unavailable(f"the connection is gone: {self.reason}")
        if self._line_future is not None and not self._line_future.done():
            self._line_future.set_exception(lost)
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(lost)
                pong.exception()  # nobody may be waiting for it
        self._pongs.clear()


def _said(error: OSError | ValueError) -> str:
    """A failure to connect, for people."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, socket.gaierror):
        return "no host of that name is known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); $SSL_CERT_FILE may name the one to trust"
    return getattr(error, "strerror", None) or str(error)


def _status(head: bytes) -> int:
    """The status in a header block such as `NATS/1.0 503`, or 0."""
    fields = head[:16].split()
    return int(fields[1]) if len(fields) > 1 and fields[0] == b"NATS/1.0" and fields[1].isdigit() else 0
