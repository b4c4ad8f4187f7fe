"""The offer board at work: takes questions from clients, paces them, answers them.

It also sees who answers callers: the devices that are served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from surge.core.offers import MAX_OFFER
from surge.core.signing import Signer
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.relay.board import MAX_REASON, Kept, OfferQuery, Page, Welcome
from surge.relay.connection import Message, NatsConnection
from surge.relay.login import PROTOCOL, is_address, welcome_digest
from surge.relay.pace import Paces
from surge.relay.server.board import OfferBoard
from surge.relay.server.config import RelayLimits

log = logging.getLogger("surge.relay")

MAX_QUESTION = MAX_OFFER
"""Bytes of a question: an offer is the largest."""
FLUSH_SECONDS = 5.0


class BoardService:
    """Answers the questions on `board.*.*` of one relay."""

    def __init__(
        self,
        signer: Signer,
        limits: RelayLimits,
        network: bytes | None = None,
        host_of: Callable[[Address], str] = lambda address: "",
        stopped: Mapping[Address, str] | None = None,
        served: Callable[[Address], None] | None = None,
    ) -> None:
        """`host_of` says which network host an address is logged in from, `stopped` for whom nothing is carried.

        `served` is told of every device that answers a caller: sessions go to it through this relay.
        """
        self._stopped = {} if stopped is None else stopped
        self._served = served
        self._signer, self._limits, self._host_of = signer, limits, host_of
        self.board = OfferBoard(limits, network)
        self._askers: Paces[Address] = Paces(limits.questions_per_second, burst_seconds=3.0)

    async def serve(self, connection: NatsConnection) -> None:
        """Answers what comes over `connection` from now on."""
        connection.on_message = partial(self._take, connection)
        connection.subscribe(1, "board.*.*")
        if self._served is not None:
            connection.subscribe(2, "node.*.*.a.*")
        await connection.flush(FLUSH_SECONDS)

    def _take(self, connection: NatsConnection, message: Message) -> None:
        if message.subject.startswith("node."):
            if self._served is not None:
                self._served(Address(message.subject.split(".")[2]))
            return
        _, sender, operation = message.subject.split(".")
        # The relay vouches for the sender in the subject; the answer goes to it and nowhere else.
        prefix = f"node.{sender}.{self._signer.address}.r."
        token = message.reply.removeprefix(prefix)
        if not is_address(sender) or not message.reply.startswith(prefix) or not token.isalnum() or len(token) > 32:
            return
        answer = self.answer(Address(sender), operation, message.data, time.time())
        try:
            connection.publish(message.reply, answer)
        except Unavailable as error:
            log.warning("the board cannot answer: %s", error)

    def answer(self, sender: Address, operation: str, body: bytes, now: float) -> bytes:
        """The answer to one question; `now` in Unix seconds."""
        reply: Welcome | Kept | Page
        try:
            if not self._askers.take(sender, now):
                raise InvalidInput("too many questions; ask more slowly")
            if len(body) > MAX_QUESTION:
                raise InvalidInput("the question is too long", size=len(body))
            reply = self._reply(sender, operation, body, now)
        except SurgeError as error:
            reply = Kept(False, error.message)
        return msgspec.msgpack.encode(reply)

    def _reply(self, sender: Address, operation: str, body: bytes, now: float) -> Welcome | Kept | Page:
        if operation == "hello":
            if len(body) != 32:
                raise PeerFault("a challenge is 32 bytes", size=len(body))
            limits = self._limits
            signature = self._signer.sign(welcome_digest(self._signer.address, sender, body))
            stopped = self._stopped.get(sender, "")[:MAX_REASON]
            return Welcome(PROTOCOL, signature, limits.login_seconds, limits.messages_per_second, limits.bytes_per_second, stopped)
        if operation == "offer":
            self.board.put(sender, body, now, self._host_of(sender))
            return Kept(True, "")
        if operation == "withdraw":
            if not body.isdigit() or len(body) > 20:
                raise PeerFault("a sequence is a number", body=body[:32])
            self.board.withdraw(sender, int(body), now)
            return Kept(True, "")
        if operation == "query":
            try:
                return self.board.query(msgspec.msgpack.decode(body, type=OfferQuery), now)
            except msgspec.MsgspecError as error:
                raise PeerFault(f"the query is malformed: {error}") from error
        raise PeerFault(f"the board knows no {operation[:32]!r}")
