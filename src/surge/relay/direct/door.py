"""The door of a device: where it takes direct connections for its listener.

Anybody can connect. So a connection is greeted and given a few seconds for a hello of a few kilobytes; those that wait for one are few, and
when they are too many the oldest goes, of the host that has most of them; and a host has only so many connections altogether. Whoever is
turned away is served through a relay. What comes after the hello is bounded by the listener, as through relays.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections import Counter

from surge.core.reach import DirectAddress
from surge.errors import InvalidInput
from surge.relay.client.handshake import MAX_HANDSHAKE
from surge.relay.client.listener import Listener
from surge.relay.direct.wire import CHALLENGE, HELLO, Connection

log = logging.getLogger("surge.relay")

HELLO_SECONDS = 5.0
"""How long a caller may take for its hello."""
MAX_WAITING = 64
"""Connections whose hello has not come."""
MAX_OF_HOST = 64
"""Connections of one host, or of one IPv6 network of 64 bits: people behind one NAT share an address."""
MAX_CONNECTIONS = 384
"""Connections altogether: each is a descriptor, of which a process has 1,024 on many systems."""


class Door:
    """Listens on one address, until `close`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._waiting: dict[Connection, asyncio.TimerHandle] = {}
        self._challenges: dict[Connection, bytes] = {}
        self._hosts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> DirectAddress:
        """Listen there; port 0 is any. Gives the address that it is. Raises `InvalidInput` if it cannot be had."""
        try:
            where = ipaddress.ip_address(host)
            self._server = await asyncio.get_running_loop().create_server(lambda: _Greeted(self), host, port)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"direct connections cannot be taken at {host} port {port}: {error}", host=host, port=port) from error
        return DirectAddress(where, self._server.sockets[0].getsockname()[1])

    def came(self, connection: Connection) -> None:
        """A connection was made."""
        host = host_of(connection)
        if sum(self._hosts.values()) >= MAX_CONNECTIONS or self._hosts[host] >= MAX_OF_HOST:
            connection.abort("too many connections")
            return
        if len(self._waiting) >= MAX_WAITING:
            self._make_room()
        self._hosts[host] += 1
        connection.lost = self._gone
        self._challenges[connection] = challenge = os.urandom(CHALLENGE)
        late = asyncio.get_running_loop().call_later(HELLO_SECONDS, connection.abort, "its hello did not come")
        self._waiting[connection] = late
        connection.greet(challenge)

    def _make_room(self) -> None:
        waiting = Counter(map(host_of, self._waiting))
        most = max(waiting.values())
        oldest = next(each for each in self._waiting if waiting[host_of(each)] == most)
        self._waiting.pop(oldest).cancel()  # it is lost only when the loop comes to it, and others come before
        oldest.abort("others are waiting")

    def hello(self, connection: Connection, wire: bytes) -> None:
        """Its hello came: the only one."""
        connection.limits = {}
        self._waiting.pop(connection).cancel()
        taken = self._listener.take_hello(connection, host_of(connection), self._challenges.pop(connection), wire[:8].hex(), wire)
        if not taken:
            connection.close()

    def _gone(self, connection: Connection) -> None:
        self._challenges.pop(connection, None)
        if (timer := self._waiting.pop(connection, None)) is not None:
            timer.cancel()
        host = host_of(connection)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    async def close(self) -> None:
        """Take no more connections, and drop those that wait. Those that carry a session end with it."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._waiting):
                connection.abort("this device stopped listening")


class _Greeted(Connection):
    """A connection that somebody made to this device."""

    def __init__(self, door: Door) -> None:
        super().__init__(limits={HELLO: MAX_HANDSHAKE}, took=lambda connection, letter, body: door.hello(connection, body))
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `Connection`."""
        super().connection_made(transport)
        self._door.came(self)


def host_of(connection: Connection) -> str:
    """Whom a connection counts as: its address, or the network of 64 bits that an IPv6 address is in, which its user has to itself.

    An IPv4 address in IPv6's clothes, as a socket for both shows it, is that IPv4 address.
    """
    text = connection.host
    try:
        host = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is not None:
            return str(host.ipv4_mapped)
        return str(ipaddress.ip_network((int(host) >> 64 << 64, 64)))
    return text
