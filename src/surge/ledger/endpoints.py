"""JSON-RPC endpoints, several of them, none of them trusted alone.

A call goes to the first endpoint that answers and is believed: it must be on the right chain, and its head may not lag, on a public chain
neither in blocks nor in time. So a node that fell behind is not taken for an empty wallet. What money hangs on is asked of all of them.

Behind what an endpoint lags decides what a liar gets, which may name any head. Of three or more it is the second-best head, and the second
newest block: one liar shuts nobody out, and one honest node that is ahead of all others is asked with them, not alone. Of two it is the
other's, on a public chain only once one's own newest block is a minute old: a liar is believed alone when the chain stalls for as long, or
else a dead node would be believed for a quarter of an hour. Nobody may fall behind what it showed itself.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from surge.core.stack import parse_json
from surge.core.text import printable
from surge.errors import LedgerError, Unavailable
from surge.ledger import answers

MAX_LAG = 3
"""Blocks an endpoint's head may lag."""

LAG_SECONDS = 30.0
"""And its newest block may be so much older: a number alone proves nothing, for whoever lies names a higher one."""

STALL_SECONDS = 60.0
"""Of two endpoints one lags only if its newest block is older than this by our own clock: the other one's word is not enough."""

MAX_AGE = 900.0
"""Seconds: on a public chain a head older than this is no head (chains stall for minutes, not for a quarter of an hour)."""

HEAD_SECONDS = 2.0
"""Seconds for which an endpoint's head is remembered."""

TIMEOUT = 10.0
"""Seconds for one call."""

PASSING = ("blockoutofrange", "header not found", "unknown block", "header for hash not found")
"""What nodes say, in lower case, when a block they just named is not at hand: it was replaced meanwhile, or the next node of several behind
one address has not got it yet (anvil, geth, Erigon). Asked once more it is there; a block whose state was dropped is refused otherwise."""

PASSING_TRIES, PASSING_PAUSE = 4, 0.1
"""Times that such a call is asked, and the seconds between them."""

MAX_WORDS = 500
"""Characters of a node's refusal that are told."""

MAX_ANSWER = 32 << 20
"""Bytes of an answer, unpacked: a node is a stranger too."""

SURVEY_SECONDS, AWAY_SECONDS = 3.0, 30.0
"""Seconds to wait for the heads of all endpoints, and for which one that did not answer then is not waited for again."""


class Refused(LedgerError):
    """The node answered with an error. `details`: code, text, data."""


@dataclass
class _Endpoint:
    url: str
    chain_checked: bool = False
    head: int = -1
    stamp: float = float("-inf")
    """Unix seconds of its newest block."""
    best: int = -1
    """The highest head that it ever showed."""
    newest: float = float("-inf")
    """The newest stamp that it ever showed, and no later than that was."""
    head_at: float = float("-inf")
    away_until: float = 0.0


class Endpoints:
    """The RPC endpoints of one chain.

    Args:
        urls: tried in this order.
        chain_id: the chain they must be on.
        embedded: a ledger on one machine, which mines only when there is something to mine: its head may be old.
    """

    def __init__(self, urls: Sequence[str], chain_id: int, *, embedded: bool) -> None:
        self.chain_id = chain_id
        self._embedded = embedded
        self._endpoints = [_Endpoint(url) for url in urls]
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._ids = itertools.count(1)
        self._surveying = asyncio.Lock()

    async def call(self, method: str, *params: Any, read: Callable[[Any], Any] | None = None, patience: float = 0.0) -> Any:
        """A call's result. Raises `Refused` when a node answers with an error, `Unavailable` when none can be believed.

        `read` makes something of the answer, or raises `Unavailable`: the next endpoint is asked then. `patience` is how many seconds to go
        on trying before giving up.
        """

        async def first() -> list[Any]:
            reasons = []
            for endpoint in sorted(self._endpoints, key=self._is_behind):
                try:
                    return [await self._ask(endpoint, method, params, read)]
                except Unavailable as error:
                    reasons.append(error.message)
            raise self._useless(reasons)

        (found,) = await self._patiently(first, patience)
        return found

    async def every(
        self, method: str, *params: Any, read: Callable[[Any], Any], height: Callable[[Any], int] | None = None, patience: float = 0.0
    ) -> list[tuple[int, Any]]:
        """What each endpoint that is believed answers, with its head (-1: not known): one row at least.

        `height` tells of what was read which block it speaks of: who names one above its own head is not believed.
        Raises `Refused` when all that answer do so with an error, `Unavailable` when none can be believed.
        """

        async def all_of_them() -> list[tuple[int, Any]]:
            asked = [each for each in self._endpoints if time.monotonic() >= each.away_until] or self._endpoints
            found = await asyncio.gather(*(self._ask(each, method, params, read, height) for each in asked), return_exceptions=True)
            for error in found:
                if isinstance(error, BaseException) and not isinstance(error, Refused | Unavailable):
                    raise error
            good = [(each.head, row) for each, row in zip(asked, found, strict=True) if not isinstance(row, BaseException)]
            if good:
                return good
            raise next((each for each in found if isinstance(each, Refused)), self._useless([str(each) for each in found]))

        return await self._patiently(all_of_them, patience)

    async def chain(self) -> int:
        """The chain that the first endpoint to answer is on, whichever was expected. Raises `Unavailable` when none answers."""
        reasons = []
        for endpoint in self._endpoints:
            try:
                return answers.quantity(await self._raw(endpoint, "eth_chainId", ()))
            except (Refused, Unavailable) as error:
                reasons.append(error.message)
        raise self._useless(reasons)

    async def settled(self, confirmations: int) -> str:
        """The newest block with so many confirmations at every endpoint, as calls name it."""
        if confirmations <= 1:
            return "latest"
        heads = await self.every("eth_blockNumber", read=answers.quantity)
        return hex(max(0, min(head for _, head in heads) - confirmations + 1))

    async def past(self, method: str, question: Any, block: str, *, read: Callable[[Any], Any]) -> list[Any]:
        """What each endpoint that is believed answers about the state at a block of `settled`.

        Raises `Unavailable` when they refuse it, for a node that keeps only the newest state does.
        """
        try:
            return [row for _, row in await self.every(method, question, block, read=read)]
        except Refused as error:
            if block == "latest":
                raise
            raise Unavailable(
                f"no ledger endpoint shows the state of block {int(block, 16)}, which deposits with enough confirmations are read from "
                f"({error.message}): name an RPC URL of a node that keeps some blocks' history, or have a network with fewer confirmations",
                block=block,
            ) from error

    async def _patiently(self, ask: Callable[[], Awaitable[list[Any]]], patience: float) -> list[Any]:
        deadline = time.monotonic() + patience
        pause = 0.2
        while True:
            await self._survey()
            try:
                return await ask()
            except Unavailable:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def _ask(
        self,
        endpoint: _Endpoint,
        method: str,
        params: Sequence[Any],
        read: Callable[[Any], Any] | None,
        height: Callable[[Any], int] | None = None,
    ) -> Any:
        await self._check(endpoint)
        found = await self._raw(endpoint, method, params)
        if read is not None:
            found = read(found)
        if height is not None and (block := height(found)) > endpoint.head:
            head = answers.quantity(await self._raw(endpoint, "eth_blockNumber", ()))
            if block > head:
                raise Unavailable(f"{endpoint.url} speaks of block {block}, and its newest is {head}")
        return found

    def _useless(self, reasons: Sequence[str]) -> Unavailable:
        return Unavailable("no ledger endpoint can be used: " + "; ".join(reasons) + ". Check the network, or name another RPC URL")

    async def broadcast(self, raw: str) -> None:
        """Give a signed transaction to every endpoint; one that takes it is enough. Raises the first refusal if none does."""
        answers = await asyncio.gather(
            *(self._raw(endpoint, "eth_sendRawTransaction", (raw,)) for endpoint in self._endpoints), return_exceptions=True
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise next((each for each in failures if isinstance(each, Refused)), failures[0])

    async def close(self) -> None:
        """Close the connections. Calls after this raise `Unavailable`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _survey(self) -> None:
        """Learn the heads of all endpoints, so that the first of them is not believed for want of a better one."""
        if len(self._endpoints) == 1:
            return
        async with self._surveying:
            now = time.monotonic()
            stale = [each for each in self._endpoints if now - each.head_at > HEAD_SECONDS and now >= each.away_until]
            await asyncio.gather(*(self._learn(each) for each in stale))

    async def _learn(self, endpoint: _Endpoint) -> None:
        try:
            async with asyncio.timeout(SURVEY_SECONDS):
                await self._refresh(endpoint)
        except (Unavailable, TimeoutError):
            endpoint.away_until = time.monotonic() + AWAY_SECONDS

    async def _check(self, endpoint: _Endpoint) -> None:
        """Raise `Unavailable` unless the endpoint can be believed: right chain, head not lagging, not old."""
        await self._refresh(endpoint)
        if self._is_behind(endpoint) and (self._embedded or self._is_old(endpoint)):
            raise Unavailable(f"{endpoint.url} lags {self._bar(endpoint, 'best') - endpoint.head:.0f} blocks behind")

    def _is_behind(self, endpoint: _Endpoint) -> bool:
        return endpoint.head < self._bar(endpoint, "best") - MAX_LAG

    def _is_old(self, endpoint: _Endpoint) -> bool:
        bar = self._bar(endpoint, "newest") - LAG_SECONDS
        if not self._are_many():
            bar = max(min(bar, time.time() - STALL_SECONDS), endpoint.newest - LAG_SECONDS)
        return endpoint.stamp < bar

    def _bar(self, endpoint: _Endpoint, name: Literal["best", "newest"]) -> float:
        """What an endpoint may not lag behind, of heads or of stamps: the second-best of three or more, and what it showed itself."""
        shown: list[float] = sorted((getattr(each, name) for each in self._endpoints), reverse=True)
        own: float = getattr(endpoint, name)
        return max(shown[1] if self._are_many() else shown[0], own)

    def _are_many(self) -> bool:
        """Whether three endpoints or more show their heads: one that is away cannot bear another out."""
        return sum(each.best >= 0 and time.monotonic() >= each.away_until for each in self._endpoints) > 2

    async def _refresh(self, endpoint: _Endpoint) -> None:
        """See that an endpoint is on the right chain, and where its head is. Raises `Unavailable`."""
        try:
            if not endpoint.chain_checked:
                chain = answers.quantity(await self._raw(endpoint, "eth_chainId", ()))
                if chain != self.chain_id:
                    raise Unavailable(f"{endpoint.url} is on chain {chain}, not on {self.chain_id}")
                endpoint.chain_checked = True
            if (len(self._endpoints) == 1 and self._embedded) or time.monotonic() - endpoint.head_at <= HEAD_SECONDS:
                return
            block = answers.block(await self._raw(endpoint, "eth_getBlockByNumber", ("latest", False)))
        except Refused as error:
            raise Unavailable(f"{endpoint.url} does not say where its head is ({error})", url=endpoint.url) from error
        head, age = block.number, time.time() - block.timestamp
        if not self._embedded and age > MAX_AGE:
            endpoint.head_at = float("-inf")
            raise Unavailable(f"the newest block {endpoint.url} knows is {age / 60:.0f} minutes old")
        endpoint.head, endpoint.stamp, endpoint.head_at = head, block.timestamp, time.monotonic()
        endpoint.best, endpoint.newest = max(endpoint.best, head), max(endpoint.newest, min(block.timestamp, time.time()))

    async def _raw(self, endpoint: _Endpoint, method: str, params: Sequence[Any]) -> Any:
        for _ in range(PASSING_TRIES - 1):
            try:
                return await self._once(endpoint, method, params)
            except Refused as refused:
                if not any(each in str(refused.details["text"]).lower() for each in PASSING):
                    raise
            await asyncio.sleep(PASSING_PAUSE)
        return await self._once(endpoint, method, params)

    async def _once(self, endpoint: _Endpoint, method: str, params: Sequence[Any]) -> Any:
        if self._closed:
            raise Unavailable(f"the connection to {endpoint.url} was closed", url=endpoint.url)
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._post(endpoint.url, method, params)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            endpoint.chain_checked = False
            raise Unavailable(f"{endpoint.url} does not answer ({_said(error)})", url=endpoint.url) from error
        if answer.get("error"):
            wrong = answer["error"] if isinstance(answer["error"], dict) else {"message": str(answer["error"])}
            text, code, data = wrong.get("message", ""), wrong.get("code"), wrong.get("data")
            raise Refused(f"the ledger refuses: {printable(str(text)[:MAX_WORDS])}", code=code, text=text, data=data)
        return answer.get("result")

    async def _post(self, url: str, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """One JSON-RPC call's answer. Raises ValueError when it is none."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        question = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        data = bytearray()
        async with self._session.post(url, json=question, allow_redirects=False) as response:
            async for chunk in response.content.iter_chunked(1 << 16):
                data += chunk
                if len(data) > MAX_ANSWER:
                    raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
        try:
            answer = parse_json(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("id") != question["id"] or not ("result" in answer or "error" in answer):
            raise ValueError(f"HTTP status {response.status}" if response.status >= 400 else "what came is no JSON-RPC answer")
        return answer


def _said(error: Exception) -> str:
    """Why a call got no answer, for people."""
    if isinstance(error, TimeoutError):
        return f"nothing came within {TIMEOUT:.0f} s"
    if isinstance(error, aiohttp.InvalidURL):
        return "that is no URL of an endpoint"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no host of that name is known"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nobody listens there" if isinstance(error.os_error, ConnectionRefusedError) else str(error.strerror)
    if isinstance(error, aiohttp.ClientError | OSError):
        return "the connection broke"
    return str(error)
