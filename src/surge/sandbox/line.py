"""The socket between a parent and a worker: framed messages, and descriptors beside them.

`WorkerLine` blocks, for the worker, which has nothing else to do. `ParentLine` belongs to an event loop: it reads
when there is something and never waits for the other side to read.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from surge.sandbox import protocol
from surge.sandbox.protocol import MAX_MESSAGE, Reply, Request

_LENGTH: Final = 4
_RECEIVE: Final = 256 << 10
"""Bytes asked for at once."""
MAX_DESCRIPTORS: Final = 8
"""Descriptors beside one message."""


class Broken(ConnectionError):
    """The other side is gone, or sent what is no message."""


class WorkerLine:
    """The worker's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bytes = bytearray()
        self._descriptors: deque[int] = deque()

    def receive(self) -> tuple[Request, list[int]]:
        """The next request and its descriptors, however long that takes.

        Raises:
            Broken: the parent is gone.
        """
        while len(self._bytes) < _LENGTH:
            self._fill()
        length = int.from_bytes(self._bytes[:_LENGTH], "little")
        if length > MAX_MESSAGE:
            raise Broken(f"a message of {length} bytes")
        while len(self._bytes) < _LENGTH + length:
            self._fill()
        request = protocol.decode_request(memoryview(self._bytes)[_LENGTH : _LENGTH + length])
        del self._bytes[: _LENGTH + length]
        if len(self._descriptors) < request.fds:
            raise Broken(f"{request.fds} descriptors promised")
        return request, [self._descriptors.popleft() for _ in range(request.fds)]

    def _fill(self) -> None:
        received = array.array("i")
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * received.itemsize)
        data, ancillary, flags, _ = self._connection.recvmsg(_RECEIVE, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
        self._descriptors.extend(received)
        if flags & socket.MSG_CTRUNC:
            raise Broken("descriptors were lost")
        if not data:
            raise Broken("the parent is gone")
        self._bytes += data

    def send(self, reply: Reply) -> None:
        """Send a reply whole.

        Raises:
            OSError: the parent is gone.
        """
        message = protocol.encode(reply)
        self._connection.sendall(len(message).to_bytes(_LENGTH, "little") + message)


class ParentLine:
    """The parent's end, on the running event loop. Calls back once for every reply, and once at the end."""

    def __init__(
        self, connection: socket.socket, on_reply: Callable[[Reply], None], on_end: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._on_reply = on_reply
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._incoming = bytearray()
        self._outgoing: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._writing = False
        self._open = True
        connection.setblocking(False)
        self._loop.add_reader(connection, self._readable)

    def send(self, request: Request, descriptors: Sequence[int] = ()) -> None:
        """Send a request, later if the socket is full. The descriptors are duplicated at once; the caller keeps its own.

        Does nothing once the line has ended.
        """
        assert len(descriptors) == request.fds <= MAX_DESCRIPTORS
        if not self._open:
            return
        message = protocol.encode(request)
        framed = memoryview(len(message).to_bytes(_LENGTH, "little") + message)
        if self._outgoing:
            self._outgoing.append((framed, [os.dup(fd) for fd in descriptors]))
            return
        sent = self._try(framed, descriptors)
        if self._open and sent < len(framed):
            kept = [os.dup(fd) for fd in descriptors] if sent == 0 else []
            self._outgoing.append((framed[sent:], kept))
            self._loop.add_writer(self._connection, self._writable)

    def _try(self, data: memoryview, descriptors: Sequence[int]) -> int:
        try:
            if descriptors:
                rights = array.array("i", descriptors).tobytes()
                return self._connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            return self._connection.send(data)
        except BlockingIOError:
            return 0
        except OSError as wrong:
            self._end(f"cannot be written to: {wrong}")
            return 0

    def _writable(self) -> None:
        while self._open and self._outgoing:
            data, descriptors = self._outgoing[0]
            sent = self._try(data, descriptors)
            if not self._open or not sent:
                return
            _close(descriptors)
            if sent < len(data):
                self._outgoing[0] = (data[sent:], ())
                return
            self._outgoing.popleft()
        if self._open:
            self._loop.remove_writer(self._connection)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as wrong:
            self._end(f"cannot be read: {wrong}")
            return
        if not data:
            self._end("closed its socket")
            return
        self._incoming += data
        while self._open and len(self._incoming) >= _LENGTH:
            length = int.from_bytes(self._incoming[:_LENGTH], "little")
            if length > MAX_MESSAGE:
                self._end(f"announced a message of {length} bytes")
                return
            if len(self._incoming) < _LENGTH + length:
                return
            try:
                reply = protocol.decode_reply(bytes(self._incoming[_LENGTH : _LENGTH + length]))
            except msgspec.MsgspecError as wrong:
                self._end(f"sent what is no reply: {wrong}")
                return
            del self._incoming[: _LENGTH + length]
            self._on_reply(reply)

    def _end(self, reason: str) -> None:
        if self._open:
            self.close()
            self._on_end(reason)

    def close(self) -> None:
        """Close the socket, without calling back."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        for _, descriptors in self._outgoing:
            _close(descriptors)
        self._outgoing.clear()


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
