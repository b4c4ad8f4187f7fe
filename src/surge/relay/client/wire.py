"""One logged-in connection of a client to one relay, with its subscription and its questions to the offer board."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, Unavailable
from surge.relay.connection import Message, NatsConnection
from surge.relay.login import board_subject, is_address, login_digest

DEFAULT_PORT = 4222
NOBODY_LISTENS = 503

Deliver = Callable[[str, bytes, bool], None]
"""Takes a message: its subject, its bytes, and whether it says instead that nobody listens."""


def parse_url(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is wanted. Raises InvalidInput."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise InvalidInput(f"{url!r} is no URL of a relay: {error}", url=url) from error
    if parts.scheme not in ("nats", "tls") or not host or parts.path not in ("", "/"):
        raise InvalidInput(f"a relay's URL is nats://host:port or tls://host:port, not {url!r}", url=url)
    return host, port, parts.scheme == "tls"


@dataclass(slots=True)
class Traffic:
    """Bytes that crossed the connections to one relay, as this side counts them: of payloads, as nats-server counts too."""

    sent: int = 0
    received: int = 0
    junk: int = 0
    """Of those received, bytes that belonged to nothing here: a stranger's, or the relay's own."""

    @property
    def carried(self) -> int:
        """What this side believes that it was carried."""
        return self.sent + self.received - self.junk


class Wire:
    """A connection that is logged in and subscribed. Messages are held back until `deliver_to`."""

    def __init__(self, connection: NatsConnection, own: Address, relay: Address, traffic: Traffic) -> None:
        self._traffic = traffic
        self._numbers = [1]
        self._connection = connection
        self._own = own
        self._answers: dict[str, asyncio.Future[bytes]] = {}
        self._answer_prefix = f"node.{own}.{relay}.r."
        self._deliver: Deliver | None = None
        self._held: list[tuple[str, bytes, bool]] = []
        connection.on_message = self._take

    @classmethod
    async def connect(
        cls, url: str, relay: Address, signer: Signer, tls: ssl.SSLContext | None, timeout: float, traffic: Traffic | None = None
    ) -> Wire:
        """Connects to the relay whose identity is `relay`, logs in and subscribes. What crosses the wire is added to `traffic`.

        A relay that does not carry for this client lets it subscribe to nobody's messages but its own.

        Raises Unavailable when it cannot, or when who answers calls itself otherwise: nothing is signed then.
        """
        host, port, wants_tls = parse_url(url)

        def credentials(info: dict[str, Any]) -> dict[str, Any]:
            named, nonce = info.get("server_name"), info.get("nonce")
            if named != relay:
                shown = named if is_address(named) else "no address"
                raise Unavailable(f"the relay at {url} calls itself {shown}, not {relay}", relay=url)
            if not isinstance(nonce, str) or not nonce or len(nonce) > 256:
                raise Unavailable(f"the relay at {url} offers no nonce to sign", relay=url)
            signature = signer.sign(login_digest(relay, signer.address, nonce))
            return {"name": "surge", "auth_token": signer.address, "sig": signature.hex()}

        context = (tls or ssl.create_default_context()) if wants_tls else None
        connection = await NatsConnection.open(host, port, credentials, tls=context, timeout=timeout)
        wire = cls(connection, signer.address, relay, Traffic() if traffic is None else traffic)
        try:
            connection.subscribe(1, f"node.{signer.address}.>")
            await connection.flush(timeout)
            if connection.complaints:
                connection.complaints.clear()
                wire._numbers = [2, 3]
                connection.subscribe(2, f"node.{signer.address}.{relay}.>")
                connection.subscribe(3, f"node.{signer.address}.{signer.address}.n.>")
                await connection.flush(timeout)
            if connection.complaints:
                raise Unavailable(f"the relay at {url} refuses: {connection.complaints[-1]}", relay=url)
        except BaseException:
            await wire.close()
            raise
        return wire

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection is gone."""
        return self._connection.closed

    @property
    def reason(self) -> str:
        """Why it is gone."""
        return self._connection.reason

    def _take(self, message: Message) -> None:
        self._traffic.received += len(message.data)
        nobody = message.status == NOBODY_LISTENS
        if message.subject.startswith(self._answer_prefix):
            answer = self._answers.get(message.subject.removeprefix(self._answer_prefix))
            if answer is not None and not answer.done():
                if nobody:
                    answer.set_exception(Unavailable("the relay's offer board is away"))
                else:
                    answer.set_result(message.data)
        elif self._deliver is None:
            self._held.append((message.subject, message.data, nobody))
        else:
            self._deliver(message.subject, message.data, nobody)

    def deliver_to(self, deliver: Deliver) -> None:
        """From now on messages go to `deliver`; those held back go first."""
        held, self._held = self._held, []
        for subject, data, nobody in held:
            deliver(subject, data, nobody)
        self._deliver = deliver

    async def publish(self, subject: str, data: bytes | bytearray, reply: str = "") -> None:
        """Publishes; waits while too much waits for the socket. Raises Unavailable."""
        self._connection.publish(subject, data, reply)
        self._traffic.sent += len(data)
        await self._connection.drain()

    async def ask(self, operation: str, body: bytes, timeout: float) -> bytes:
        """The relay's answer to a question to its offer board. Raises Unavailable."""
        token = os.urandom(8).hex()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        try:
            async with asyncio.timeout(timeout):
                await self.publish(board_subject(self._own, operation), body, self._answer_prefix + token)
                return await answer
        except TimeoutError as error:
            raise Unavailable("the relay does not answer") from error
        finally:
            del self._answers[token]

    async def flush(self, timeout: float) -> None:
        """Returns when the relay has taken all that was published. Raises Unavailable."""
        await self._connection.flush(timeout)

    async def finish(self, timeout: float) -> None:
        """Unsubscribes, hands over all that came before, and closes."""
        for number in self._numbers:
            self._connection.unsubscribe(number)
        with contextlib.suppress(Unavailable):  # then nothing more can come
            await self._connection.flush(timeout)
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()
