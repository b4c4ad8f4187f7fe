"""What the channels contract paid to whom, read out of its events page by page, newest or oldest first.

Nodes bound how many blocks or events one question may span, each in its own way and words: a page that is refused is asked again by half.
An event counts if more than half of the endpoints that are believed show it: none alone invents a provider's past. Blocks are read once
they have the network's confirmations at every endpoint, so that one that lags a little hides nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from surge.core.keccak import keccak256
from surge.core.network import NetworkFile
from surge.core.types import Address, address
from surge.errors import Unavailable
from surge.ledger import answers
from surge.ledger.answers import Log
from surge.ledger.endpoints import Endpoints, Refused
from surge.ledger.states import REDEEMED, read_redemption

OPENED = keccak256(b"Opened(bytes32,address,address,address,address,uint256,uint256,uint256)")
"""The first topic of the event that says who opened a channel."""

MOST_BLOCKS, LEAST_BLOCKS = 10_000, 16
"""Blocks in a page: most nodes grant ten or a hundred thousand, some a thousand; one that grants fewer than these is of no use."""

UNANSWERED = 3
"""Times that a page to which nothing came is asked again by half: too wide a question may take a node longer than anybody waits."""

EXACT_SECONDS = 21_600.0
"""Blocks that lie within so many seconds of one another are given times in between, without asking for each."""

MAX_STAMPS = 64
"""Blocks whose time is asked for in one page."""

AT_ONCE = 8
"""Questions at the same time."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A channel that was opened."""

    channel: bytes
    """32 bytes."""
    buyer: Address
    """Who opened it."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A redemption."""

    block: int
    time: float
    """Unix seconds, to within `EXACT_SECONDS`."""
    channel: bytes
    """32 bytes."""
    provider: Address
    """The operator who was paid."""
    fee: int
    """Wei taken as the protocol's fee."""


@dataclass(frozen=True, slots=True)
class Page:
    """What happened in some blocks."""

    first: int
    last: int
    """The page's last block, included."""
    since: float
    """When its first block was made, Unix seconds."""
    opened: tuple[Opening, ...]
    paid: tuple[Paid, ...]


class Histories:
    """Reads the channels contract's past. `size` is how many blocks the next page spans: what the endpoints granted last."""

    def __init__(self, endpoints: Endpoints, network: NetworkFile) -> None:
        self.size = MOST_BLOCKS
        self._endpoints = endpoints
        self._network = network

    async def head(self) -> int:
        """The newest block that counts: one with the network's confirmations at every endpoint. Raises `Unavailable`."""
        heads = await self._endpoints.every("eth_blockNumber", read=answers.quantity)
        lowest: int = min(head for _, head in heads)
        return max(0, lowest - max(self._network.confirmations, 1) + 1)

    async def pages(self, first: int, last: int, *, newest_first: bool) -> AsyncIterator[Page]:
        """The pages that cover these blocks, without gaps. Raises `Unavailable` where not even a small one can be had."""
        while first <= last:
            page = await self._page(first, last, newest_first=newest_first)
            first, last = (first, page.first - 1) if newest_first else (page.last + 1, last)
            yield page

    async def _page(self, first: int, last: int, *, newest_first: bool) -> Page:
        """The first page on the way through these blocks, as large as the endpoints grant it."""
        unanswered = 0
        while True:
            low, high = (max(first, last - self.size + 1), last) if newest_first else (first, min(last, first + self.size - 1))
            try:
                page = await self._read(low, high)
            except (Refused, Unavailable) as error:
                unanswered += isinstance(error, Unavailable)
                if high - low < LEAST_BLOCKS or unanswered > UNANSWERED:
                    raise Unavailable(f"the ledger does not show what blocks {low} to {high} hold: {error.message}") from error
                self.size = (high - low + 1) // 2
                continue
            self.size = min(2 * self.size, MOST_BLOCKS)
            return page

    async def _read(self, low: int, high: int) -> Page:
        contract = self._network.channels.address
        question = {
            "address": contract,
            "topics": [["0x" + REDEEMED.hex(), "0x" + OPENED.hex()]],
            "fromBlock": hex(low),
            "toBlock": hex(high),
        }
        shown = [row for _, row in await self._endpoints.every("eth_getLogs", question, read=lambda answer: dated(answer, low, high))]
        seen: Counter[tuple[int, Log]] = Counter()
        for row in shown:
            seen.update(set(row))
        believed = sorted((each for each, times in seen.items() if 2 * times > len(shown) and each[1].address == contract), key=_place)
        paid = [(block, read_redemption(event)) for block, event in believed if event.topics[:1] == (REDEEMED,)]
        times = await self.times({low, *(block for block, _ in paid)})
        return Page(
            low,
            high,
            times[low],
            tuple(_opening(event) for _, event in believed if event.topics[:1] == (OPENED,)),
            tuple(Paid(block, times[block], each.channel, each.provider, each.fee) for block, each in paid),
        )

    async def times(self, blocks: Iterable[int]) -> dict[int, float]:
        """When blocks were made: asked for of some, so that no two neighbours among those are far apart, and reckoned for the others."""
        ordered = sorted(blocks)
        ends = {ordered[0], ordered[-1]}
        known: dict[int, float] = {}
        while ends and len(known) < MAX_STAMPS:
            wanted = sorted(ends)[: MAX_STAMPS - len(known)]
            for start in range(0, len(wanted), AT_ONCE):
                batch = wanted[start : start + AT_ONCE]
                known |= zip(batch, await asyncio.gather(*map(self._stamp, batch)), strict=True)
            asked = sorted(known)
            ends = set()
            for low, high in pairwise(asked):
                between = [each for each in ordered if low < each < high]
                if between and known[high] - known[low] > EXACT_SECONDS:
                    ends.add(between[len(between) // 2])
        asked = sorted(known)
        found = {each: known[each] for each in ordered if each in known}
        for low, high in pairwise(asked):
            pace = (known[high] - known[low]) / (high - low)
            found |= {each: known[low] + (each - low) * pace for each in ordered if low < each < high}
        return found

    async def _stamp(self, block: int) -> float:
        rows = await self._endpoints.every("eth_getBlockByNumber", hex(block), False, read=answers.block)
        return float(median(row.timestamp for _, row in rows))


def _place(each: tuple[int, Log]) -> tuple[int, str]:
    return each[0], each[1].transaction


def dated(answer: Any, low: int, high: int) -> list[tuple[int, Log]]:
    """Events with their blocks. Raises `Unavailable`, also where they are of other blocks than was asked."""
    events = answers.logs(answer)
    found = [(answers.quantity(each.get("blockNumber")), event) for each, event in zip(answer, events, strict=True)]
    if any(not low <= block <= high for block, _ in found):
        raise Unavailable(f"the node shows events of other blocks than {low} to {high}")
    return found


def _opening(event: Log) -> Opening:
    try:
        _, channel, buyer, _ = event.topics
        abi_decode(("address", "address", "uint256", "uint256", "uint256"), event.data)
    except (DecodingError, ValueError) as error:
        raise Unavailable("an event of the channels contract cannot be read") from error
    return Opening(channel, address("0x" + buyer[-20:].hex()))
