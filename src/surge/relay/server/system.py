"""nats-server's system account: what connections have sent and were sent, and cutting them off."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from typing import Any

from surge.errors import Unavailable
from surge.relay.connection import Message, NatsConnection
from surge.relay.server.watch import Counters

log = logging.getLogger("surge.relay")

ANSWER_SECONDS = 3.0
"""How long nats-server may take to answer."""
PAGE = 512
"""Connections asked for in one request."""


class SystemAccount:
    """Asks nats-server over a connection that is logged in to its system account."""

    def __init__(self, connection: NatsConnection, closed: Callable[[Counters], None] | None = None) -> None:
        """`closed` is told what crossed a connection in all when it has ended."""
        self._closed = closed
        self._connection = connection
        self._server = str(connection.info["server_id"])
        self._inbox = f"_INBOX.{os.urandom(16).hex()}"
        self._answers: dict[str, asyncio.Future[bytes]] = {}
        connection.on_message = self._take
        connection.subscribe(1, f"{self._inbox}.*")
        if closed is not None:
            connection.subscribe(2, "$SYS.ACCOUNT.*.DISCONNECT")

    async def counters(self) -> list[Counters]:
        """What each open connection has sent. Raises Unavailable."""
        readings: list[Counters] = []
        while True:
            question = {"limit": PAGE, "offset": len(readings), "sort": "cid"}
            answer = await self._ask("CONNZ", question)
            page = answer.get("data", {}).get("connections") or []
            readings += [Counters(entry["cid"], entry["in_msgs"], entry["in_bytes"], entry["out_bytes"]) for entry in page]
            if len(page) < PAGE:
                return readings

    async def kick(self, connection: int) -> None:
        """Cuts a connection off. Raises Unavailable."""
        await self._ask("KICK", {"cid": connection})

    async def _ask(self, what: str, question: dict[str, Any]) -> dict[str, Any]:
        token = os.urandom(8).hex()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[token] = future
        subject = f"$SYS.REQ.SERVER.{self._server}.{what}"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._connection.publish(subject, json.dumps(question).encode(), f"{self._inbox}.{token}")
                decoded = json.loads(await future)
        except TimeoutError as error:
            raise Unavailable(f"nats-server does not answer {what}") from error
        except ValueError as error:
            raise Unavailable(f"nats-server answers {what} with something else than JSON") from error
        finally:
            del self._answers[token]
        return decoded if isinstance(decoded, dict) else {}

    def _take(self, message: Message) -> None:
        if message.subject.startswith("$SYS."):
            self._take_end(message.data)
            return
        future = self._answers.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message.data)

    def _take_end(self, data: bytes) -> None:
        if self._closed is None:
            return
        try:
            event = json.loads(data)
            sent, received = event["sent"], event["received"]  # as the client sees it
            counters = Counters(int(event["client"]["id"]), int(sent["msgs"]), int(sent["bytes"]), int(received["bytes"]))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("nats-server says something else than a connection's end: %s", error)
            return
        self._closed(counters)
