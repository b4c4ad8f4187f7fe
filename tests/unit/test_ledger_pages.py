"""Reading the channels contract's past, from nodes that grant little, lag, lie or are away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from eth_abi.abi import encode

from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.types import address
from surge.errors import SurgeError, Unavailable
from surge.ledger import histories
from surge.ledger.endpoints import Refused
from surge.ledger.histories import OPENED, Histories, Page
from surge.ledger.states import REDEEMED

CHANNELS = address("0x" + "c0" * 20)
PROVIDER, BUYER = address("0x" + "aa" * 20), address("0x" + "bb" * 20)
PACE = 12
"""Seconds a block."""


def network(confirmations: int = 1) -> NetworkFile:
    contract = Contract(CHANNELS, bytes(32))
    relay = RelayAddress("nats://127.0.0.1:1", PROVIDER)
    return NetworkFile(
        "t", "public", 7, ("http://127.0.0.1:1",), contract, contract, contract, contract, relays=(relay,), confirmations=confirmations
    )


def word(value: str) -> str:
    return "0x" + value.removeprefix("0x").rjust(64, "0")


def event(block: int, fee: int, topic: bytes = REDEEMED, contract: str = CHANNELS) -> dict[str, Any]:
    channel = word(f"{block:x}")
    topics = ["0x" + topic.hex(), channel, word(PROVIDER)]
    data = encode(("uint256", "uint256", "uint256", "uint256", "bytes32"), (100 * fee, 99 * fee, fee, 1, bytes(32)))
    if topic == OPENED:
        topics = ["0x" + topic.hex(), channel, word(BUYER), word(PROVIDER)]
        data = encode(("address", "address", "uint256", "uint256", "uint256"), (PROVIDER, PROVIDER, 5, 1, 60))
    return {
        "address": contract,
        "topics": topics,
        "data": "0x" + data.hex(),
        "transactionHash": word(f"{block:x}"),
        "blockNumber": hex(block),
    }


@dataclass
class Node:
    """What one endpoint answers."""

    head: int
    events: list[dict[str, Any]]
    most: int = 10**9
    """Blocks that it grants in one question."""
    stamp: Callable[[int], int] = lambda block: 1_000_000 + PACE * block
    away: bool = False
    asked: list[tuple[int, int]] = field(default_factory=list)
    stamps: int = 0

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        if method == "eth_blockNumber":
            return hex(self.head)
        if method == "eth_getBlockByNumber":
            self.stamps += 1
            block = int(params[0], 16)
            return {"number": params[0], "timestamp": hex(self.stamp(block))}
        low, high = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
        self.asked.append((low, high))
        if self.away:
            raise Unavailable("it does not answer")
        if high - low + 1 > self.most:
            raise Refused("the ledger refuses: query exceeds max block range", code=-32602, text="", data=None)
        return [each for each in self.events if low <= int(each["blockNumber"], 16) <= high]


class Nodes:
    """Endpoints of these nodes, all of them believed, as `surge.ledger.endpoints.Endpoints` asks them."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes

    async def every(self, method: str, *params: Any, read: Callable[[Any], Any]) -> list[tuple[int, Any]]:
        found, errors = [], []
        for node in self.nodes:
            try:
                found.append((node.head, read(node.answer(method, params))))
            except SurgeError as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return found


def reader(*nodes: Node, confirmations: int = 1) -> Histories:
    return Histories(cast(Any, Nodes(*nodes)), network(confirmations))


async def read(found: Histories, first: int, last: int, *, newest_first: bool = True) -> list[Page]:
    return [page async for page in found.pages(first, last, newest_first=newest_first)]


def fees(pages: Sequence[Page]) -> list[int]:
    return [each.fee for page in pages for each in page.paid]


EVENTS = [event(10, 1, OPENED), event(20, 2), event(15_000, 3), event(29_999, 4)]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_pages_cover_every_block_once(newest_first: bool) -> None:
    pages = await read(reader(Node(30_000, EVENTS)), 0, 29_999, newest_first=newest_first)
    spans = sorted((page.first, page.last) for page in pages)
    assert spans == [(0, 9_999), (10_000, 19_999), (20_000, 29_999)]
    assert fees(pages) == ([4, 3, 2] if newest_first else [2, 3, 4])
    (opening,) = (each for page in pages for each in page.opened)
    assert opening.buyer == BUYER
    assert {each.provider for page in pages for each in page.paid} == {PROVIDER}


@pytest.mark.parametrize("most", [1_000, 700, 16])
async def test_a_node_that_grants_few_blocks_is_asked_for_few(most: int) -> None:
    node = Node(2_000, [event(20, 2), event(1_999, 4)], most)
    found = reader(node)
    assert fees(await read(found, 0, 1_999)) == [4, 2]
    assert len(node.asked) < 40 + 3 * 2_000 / most


async def test_one_that_grants_nothing_is_given_up_and_says_which_blocks() -> None:
    node = Node(2_000, [], most=0)
    with pytest.raises(Unavailable, match=r"what blocks \d+ to 1999 hold: the ledger refuses: query exceeds"):
        await read(reader(node), 0, 1_999)
    assert len(node.asked) < 12
    assert min(high - low for low, high in node.asked) >= histories.LEAST_BLOCKS // 2 - 1


async def test_one_that_does_not_answer_is_asked_a_few_times_only() -> None:
    node = Node(30_000, [], away=True)
    with pytest.raises(Unavailable, match="it does not answer"):
        await read(reader(node), 0, 30_000)
    assert len(node.asked) == histories.UNANSWERED + 1


async def test_no_endpoint_alone_invents_a_past_or_hides_one_among_three() -> None:
    honest = [Node(100, [event(20, 2)]) for _ in range(2)]
    inventor, hider = Node(100, [event(20, 2), event(30, 10**18)]), Node(100, [])
    assert fees(await read(reader(inventor, honest[0]), 0, 100)) == [2]
    assert fees(await read(reader(inventor, *honest), 0, 100)) == [2]
    assert fees(await read(reader(hider, *honest), 0, 100)) == [2]
    twice = Node(100, [event(20, 2), event(30, 9), event(30, 9)])
    assert fees(await read(reader(twice, honest[0]), 0, 100)) == [2], "one that says it twice is one all the same"


async def test_events_of_other_contracts_and_other_blocks_are_not_believed() -> None:
    assert fees(await read(reader(Node(100, [event(20, 2), event(21, 5, contract="0x" + "dd" * 20)])), 0, 100)) == [2]
    strays = Node(100, [event(20, 2)])
    strays.answer = lambda method, params: [event(5000, 1)] if method == "eth_getLogs" else Node(1, []).answer(method, params)  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="other blocks"):
        await read(reader(strays), 0, 100)


async def test_only_blocks_that_every_endpoint_has_with_the_confirmations_are_read() -> None:
    assert await reader(Node(100, []), Node(98, []), confirmations=12).head() == 87
    assert await reader(Node(3, []), confirmations=12).head() == 0
    assert await reader(Node(100, []), confirmations=1).head() == 100


async def test_times_are_asked_for_sparingly_and_right_where_blocks_are_far_apart_in_time() -> None:
    busy = Node(10_000, [event(each, 1) for each in range(0, 10_000, 3)])
    (page,) = await read(reader(busy), 0, 9_999)
    assert max(abs(each.time - busy.stamp(each.block)) for each in page.paid) < 1
    assert busy.stamps < 20
    # A ledger that mines when there is something to mine: a block now, and the next in a month.
    quiet = Node(100, [event(each, 1) for each in range(100)], stamp=lambda block: 1_000_000 + 3600 * 24 * 30 * (block // 50) + block)
    (page,) = await read(reader(quiet), 0, 99)
    assert max(abs(each.time - quiet.stamp(each.block)) for each in page.paid) <= histories.EXACT_SECONDS
    assert quiet.stamps < 20
    assert page.since == quiet.stamp(0)


@pytest.mark.parametrize("lie", [0, 10**12])
async def test_of_several_times_of_a_block_the_middle_one_counts(lie: int) -> None:
    nodes = [Node(10, [event(5, 1)]), Node(10, [event(5, 1)]), Node(10, [event(5, 1)], stamp=lambda block: lie)]
    (page,) = await read(reader(*nodes), 0, 10)
    assert page.paid[0].time == nodes[0].stamp(5)


async def test_a_page_that_would_take_thousands_of_times_asks_for_some() -> None:
    wild = Node(5_000, [event(each, 1) for each in range(5_000)], stamp=lambda block: block * 86_400)
    (page,) = await read(reader(wild), 0, 4_999)
    assert wild.stamps <= histories.MAX_STAMPS
    assert len(page.paid) == 5_000
