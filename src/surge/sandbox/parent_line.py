"""The parent's end of a worker's socket, on an event loop: it reads when there is something, and never waits."""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from surge.sandbox import protocol
from surge.sandbox.line import LENGTH, MAX_DESCRIPTORS, RECEIVE
from surge.sandbox.protocol import MAX_MESSAGE, Reply, Request


class ParentLine:
    """The parent's end, on the running event loop. Calls back once for every reply, and once at the end."""

    def __init__(self, connection: socket.socket, on_reply: Callable[[Reply], None], on_end: Callable[[str], None]) -> None:
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
        """Send a request, later if the socket is full. The caller keeps its descriptors and may close them at once.

        Does nothing once the line has ended.
        """
        assert len(descriptors) == request.fds <= MAX_DESCRIPTORS
        if not self._open:
            return
        message = protocol.encode(request)
        framed = memoryview(len(message).to_bytes(LENGTH, "little") + message)
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

    def drain(self) -> None:
        """Take in what a worker that has ended sent before."""
        while self._open and self._readable():
            pass

    def _readable(self) -> bool:
        """Read once; whether there may be more."""
        try:
            data = self._connection.recv(RECEIVE)
        except BlockingIOError:
            return False
        except OSError as wrong:
            self._end(f"cannot be read: {wrong}")
            return False
        if not data:
            self._end("closed its socket")
            return False
        self._incoming += data
        while self._open and len(self._incoming) >= LENGTH:
            length = int.from_bytes(self._incoming[:LENGTH], "little")
            if length > MAX_MESSAGE:
                self._end(f"announced a message of {length} bytes")
                return False
            if len(self._incoming) < LENGTH + length:
                break
            try:
                reply = protocol.decode_reply(bytes(self._incoming[LENGTH : LENGTH + length]))
            except msgspec.MsgspecError as wrong:
                self._end(f"sent what is no reply: {wrong}")
                return False
            del self._incoming[: LENGTH + length]
            self._on_reply(reply)
        return self._open

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
