"""The worker's end of its socket: framed messages, and descriptors beside them, waited for without an event loop."""

from __future__ import annotations

import array
import socket
from collections import deque
from typing import Final

from surge.sandbox import protocol
from surge.sandbox.protocol import MAX_MESSAGE, Reply, Request

LENGTH: Final = 4
"""Bytes in front of each message that say how long it is, little-endian."""
RECEIVE: Final = 256 << 10
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
        while len(self._bytes) < LENGTH:
            self._fill()
        length = int.from_bytes(self._bytes[:LENGTH], "little")
        if length > MAX_MESSAGE:
            raise Broken(f"a message of {length} bytes")
        while len(self._bytes) < LENGTH + length:
            self._fill()
        request = protocol.decode_request(memoryview(self._bytes)[LENGTH : LENGTH + length])
        del self._bytes[: LENGTH + length]
        if len(self._descriptors) < request.fds:
            raise Broken(f"{request.fds} descriptors promised")
        return request, [self._descriptors.popleft() for _ in range(request.fds)]

    def _fill(self) -> None:
        received = array.array("i")
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * received.itemsize)
        data, ancillary, flags, _ = self._connection.recvmsg(RECEIVE, room, socket.MSG_CMSG_CLOEXEC)
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
        self._connection.sendall(len(message).to_bytes(LENGTH, "little") + message)
