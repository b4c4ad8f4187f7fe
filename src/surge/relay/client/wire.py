"""One connection to one relay: nats-py, with what it leaves open closed.

A relay is a stranger. This connection logs in only at the relay it expects, over TLS when the URL says so, and takes
no message larger than a relay may pass on; nats-py by itself would sign for whoever answers, go on in plain text when
the server says so, and gather whatever length is announced. It never reconnects by itself: `Link` makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, Parser

from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, Unavailable
from surge.relay.login import MAX_PAYLOAD, board_subject, login_digest

PING_SECONDS = 5
"""A frozen relay is noticed after two unanswered pings."""
PENDING_SIZE = 1 << 20
"""Bytes that may wait for the socket before publishing waits."""
MAX_HEADERS = 4096
"""Bytes of headers and control line a relay may add to a message."""

Deliver = Callable[[str, bytes, bool], None]
"""Takes a message: its subject, its bytes, and whether it says instead that nobody listens."""


class _BoundedParser(Parser):  # type: ignore[misc]
    """Refuses announced lengths and control lines beyond what a relay passes on, before they are gathered."""

    async def parse(self, data: bytes = b"") -> None:
        await super().parse(data)
        announced = self.needed if self.state == AWAITING_MSG_PAYLOAD else 0
        if announced > MAX_PAYLOAD + MAX_HEADERS or (announced == 0 and len(self.buf) > MAX_PAYLOAD):
            raise nats.errors.ProtocolError("the relay announces more than it may send")


class _Client(Client):  # type: ignore[misc]
    """Checks who the server says it is before anything is signed."""

    def __init__(self, relay: Address, wants_tls: bool) -> None:
        super().__init__()
        self._relay, self._wants_tls = relay, wants_tls
        self._ps = _BoundedParser(self)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if not initial_connection:
            return  # a relay does not tell clients about other servers
        if info.get("server_name") != self._relay:
            raise nats.errors.Error(f"it calls itself {str(info.get('server_name'))[:64]!r}, not {self._relay}")
        if self._wants_tls and not info.get("tls_required"):
            raise nats.errors.Error("it does not speak TLS, which its URL asks for")
        if not info.get("nonce"):
            raise nats.errors.Error("it offers no nonce to sign")


class Wire:
    """A logged-in connection."""

    def __init__(self, client: Client, own: Address, relay: Address, closed: asyncio.Event, errors: list[str]) -> None:
        self._client = client
        self.closed = closed
        """Set when the connection is gone."""
        self.errors = errors
        """What the relay or nats-py complained about, latest last."""
        self._answers: dict[str, asyncio.Future[bytes]] = {}
        self._answer_prefix = f"node.{own}.{relay}.r."
        self._own, self._relay = own, relay
        self._deliver: Deliver | None = None
        self._held: list[tuple[str, bytes, bool]] = []
        self._subscription: Subscription | None = None

    @classmethod
    async def connect(
        cls, url: str, relay: Address, signer: Signer, tls: ssl.SSLContext | None, timeout: float
    ) -> Wire:
        """Connects, logs in and subscribes. Messages are held back until `deliver_to`.

        Raises Unavailable saying what failed.
        """
        scheme = urlsplit(url).scheme
        if scheme not in ("nats", "tls"):
            raise InvalidInput(f"a relay's URL starts with nats:// or tls://, not {url!r}", url=url)
        wants_tls = scheme == "tls"
        client, closed, errors = _Client(relay, wants_tls), asyncio.Event(), list[str]()

        async def on_error(error: Exception) -> None:
            errors.append(str(error) or type(error).__name__)
            del errors[:-8]

        async def on_closed() -> None:
            closed.set()

        def sign(nonce: str) -> bytes:
            return signer.sign(login_digest(relay, signer.address, nonce)).hex().encode()

        wire = cls(client, signer.address, relay, closed, errors)
        try:
            async with asyncio.timeout(timeout):
                await client.connect(
                    url,
                    name="surge",
                    token=signer.address,
                    signature_cb=sign,
                    tls=(tls or ssl.create_default_context()) if wants_tls else None,
                    allow_reconnect=False,
                    connect_timeout=timeout,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=2,
                    pending_size=PENDING_SIZE,
                    error_cb=on_error,
                    closed_cb=on_closed,
                )
                wire._subscription = await client.subscribe(f"node.{signer.address}.>", cb=wire._take)
                await client.flush()
        except (OSError, TimeoutError, ValueError, nats.errors.Error) as error:
            await wire.close()
            said = str(error) or (
                f"no answer within {timeout:.0f} s" if isinstance(error, TimeoutError) else repr(error)
            )
            raise Unavailable(f"cannot log in at the relay {url}: {said}", relay=url) from error
        except BaseException:
            await wire.close()
            raise
        return wire

    async def _take(self, message: Msg) -> None:
        nobody = bool(message.headers) and message.headers.get("Status") == "503"
        if message.subject.startswith(self._answer_prefix):
            answer = self._answers.get(message.subject.removeprefix(self._answer_prefix))
            if answer is not None and not answer.done():
                if nobody:
                    answer.set_exception(Unavailable("the relay's offer board is away"))
                else:
                    answer.set_result(message.data)
            return
        if self._deliver is None:
            self._held.append((message.subject, message.data, nobody))
        else:
            self._deliver(message.subject, message.data, nobody)

    def deliver_to(self, deliver: Deliver) -> None:
        """From now on messages go to `deliver`; those held back go first."""
        held, self._held = self._held, []
        for subject, data, nobody in held:
            deliver(subject, data, nobody)
        self._deliver = deliver

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """Publishes; waits while more than `PENDING_SIZE` bytes wait for the socket. Raises Unavailable."""
        try:
            await self._client.publish(subject, data, reply=reply)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"the relay connection is gone: {error!r}") from error

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
            raise Unavailable("the relay does not answer", relay=self._relay) from error
        finally:
            del self._answers[token]

    async def drain(self, timeout: float) -> None:
        """Unsubscribes and returns when all that came before is delivered."""
        if self._subscription is None:
            return
        with contextlib.suppress(OSError, TimeoutError, nats.errors.Error):
            async with asyncio.timeout(timeout):
                await self._subscription.drain()

    async def flush(self, timeout: float) -> None:
        """Returns when the relay has taken all that was published. Raises Unavailable."""
        try:
            await self._client.flush(timeout)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"the relay does not answer: {error!r}") from error

    async def close(self) -> None:
        """Closes the connection. What the relay sent before is still delivered."""
        with contextlib.suppress(OSError, TimeoutError, nats.errors.Error):
            async with asyncio.timeout(2.0):
                await self._client.close()
        self.closed.set()
