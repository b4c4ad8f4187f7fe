"""Three endpoints of which one lies: it neither makes a payment seem done nor stops one, and is never believed alone."""

from __future__ import annotations

import asyncio
import itertools
import time
import types
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ledger_support import COIN, Chain, Liar, answering, elsewhere
from surge.core.network import NetworkFile
from surge.errors import LedgerError, Unavailable
from surge.ledger import Ledger, answers, endpoints, journal, transactions
from surge.ledger.answers import Mined
from surge.ledger.endpoints import Endpoints
from surge.wallet import KeySigner

ABOVE_ALL_HEADS = 10**6


@pytest.fixture
async def three(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[list[Liar], list[str]]]:
    """Three nodes, of which the first is the one that lies."""
    monkeypatch.setattr(transactions, "RESEND_SECONDS", 0.1)
    monkeypatch.setattr(endpoints, "HEAD_SECONDS", 0.0)
    nodes = [Liar(chain.embedded.url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        yield nodes, [await stack.enter_async_context(answering(each.answer)) for each in nodes]


@pytest.fixture
async def ledger(chain: Chain, three: tuple[list[Liar], list[str]], tmp_path: Path) -> AsyncIterator[Ledger]:
    made = await Ledger.connect(elsewhere(chain.network, *three[1]), tmp_path / "three.db")
    yield made
    await made.close()


def invented(status: str, block: int = ABOVE_ALL_HEADS) -> Any:
    """A receipt of whatever is asked for."""

    def receipt(call: dict[str, Any]) -> dict[str, Any]:
        (asked,) = call["params"]
        return {"transactionHash": asked, "blockNumber": hex(block), "status": status, "gasUsed": "0x5208", "logs": []}

    return receipt


async def pay(ledger: Ledger, sender: KeySigner, to: KeySigner, patience: float = 20.0) -> Mined:
    return await ledger._sender.send(sender, to.address, "0x", value=7, purpose="paying 7", patience=patience)


@pytest.mark.parametrize("status", ["0x0", "0x1"], ids=["a failure", "a success"])
@pytest.mark.parametrize("names_its_block", [True, False])
async def test_one_that_invents_a_receipt_is_not_believed_and_the_payment_is_made_once(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger, status: str, names_its_block: bool
) -> None:
    nodes, _ = three
    sender, to = await chain.buyer(), KeySigner.random()
    for each in nodes:
        each.holds = True  # no block yet, as for twelve seconds on a public chain
    nodes[0].lies["eth_getTransactionReceipt"] = invented(status)
    if names_its_block:
        nodes[0].lies["eth_blockNumber"] = hex(ABOVE_ALL_HEADS + 5)
    with pytest.raises(Unavailable, match="not mined yet"):
        await pay(ledger, sender, to, patience=1.5)
    for sent in ledger._journal.unfinished():
        await ledger._sender.settle(sent)
    assert [each.nonce for each in ledger._journal.unfinished()] == [0]
    for each in nodes:
        each.holds = False
    nodes[0].lies.clear()
    for sent in ledger._journal.unfinished():
        await ledger._sender.settle(sent)
    await pay(ledger, sender, to)
    assert await chain.ledger.gas_balance(to.address) == 14


async def test_one_that_speaks_of_a_block_above_its_own_head_is_as_good_as_away(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger
) -> None:
    nodes, _ = three
    nodes[0].lies["eth_getTransactionReceipt"] = invented("0x0")
    assert (await pay(ledger, await chain.buyer(), KeySigner.random())).succeeded


async def test_a_reverted_transaction_stays_with_its_copies_until_its_block_is_final(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, _ = three
    sender, to = await chain.buyer(), KeySigner.random()
    block = int(await chain.ledger._endpoints.call("eth_blockNumber"), 16)
    for each in nodes:
        each.holds = True
        each.lies["eth_getTransactionReceipt"] = invented("0x0", block)
    with pytest.raises(LedgerError, match="lost a race"):
        await pay(ledger, sender, to)
    assert [each.nonce for each in ledger._journal.unfinished()] == [0]  # the chain may lose that block
    monkeypatch.setattr(transactions, "FINAL_SECONDS", 0.0)
    for sent in ledger._journal.unfinished():
        await ledger._sender.settle(sent)
    assert not ledger._journal.unfinished()


async def test_how_deep_a_transaction_lies_is_not_told_by_one_alone(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger
) -> None:
    nodes, _ = three
    receipt = await pay(ledger, await chain.buyer(), KeySigner.random())
    ledger._sender.confirmations = 1000
    nodes[0].lies["eth_blockNumber"] = hex(ABOVE_ALL_HEADS)
    assert not await ledger._sender._deep(receipt)
    ledger._sender.confirmations = 1
    nodes[0].lies["eth_blockNumber"] = "0x0"
    assert await ledger._sender._deep(receipt)


def block(number: int, age: float) -> dict[str, str]:
    return {"number": hex(number), "timestamp": hex(int(time.time() - age)), "baseFeePerGas": "0x1"}


async def believed(network: NetworkFile, nodes: list[Liar], urls: list[str], *, kind: str = "public", times: int = 1) -> list[int]:
    """Which of the nodes are asked together, when they have been asked so many times before."""
    for number, each in enumerate(nodes):
        each.lies["eth_gasPrice"] = hex(number)
    ends = Endpoints(urls, network.chain_id, embedded=kind == "embedded")
    try:
        for _ in range(times):
            rows = await ends.every("eth_gasPrice", read=answers.quantity)
        return [number for _, number in rows]
    finally:
        await ends.close()


@pytest.mark.parametrize("kind", ["embedded", "public"])
@pytest.mark.parametrize("age", [40, 400], ids=["two slots without a block", "a chain that stalls"])
async def test_one_of_three_shuts_nobody_out_by_a_head_far_ahead(
    chain: Chain, three: tuple[list[Liar], list[str]], kind: str, age: int
) -> None:
    nodes, urls = three
    for each in nodes:
        each.lies["eth_getBlockByNumber"] = block(100, age)
    nodes[0].lies["eth_getBlockByNumber"] = block(ABOVE_ALL_HEADS, 0)
    assert await believed(chain.network, nodes, urls, kind=kind, times=2) == [0, 1, 2]


async def test_one_of_two_shuts_nobody_out_while_the_chain_goes_on(chain: Chain, three: tuple[list[Liar], list[str]]) -> None:
    nodes, urls = three
    nodes[0].lies["eth_getBlockByNumber"] = block(ABOVE_ALL_HEADS, 0)
    nodes[1].lies["eth_getBlockByNumber"] = block(100, 40)
    assert await believed(chain.network, nodes[:2], urls[:2], times=2) == [0, 1]
    nodes[1].lies["eth_getBlockByNumber"] = block(100, 70)  # or the other one is dead, which cannot be told from it
    assert await believed(chain.network, nodes[:2], urls[:2], times=2) == [0]


@pytest.mark.parametrize("kind", ["embedded", "public"])
@pytest.mark.parametrize("away", [False, True])
async def test_one_that_lags_is_not_believed_when_two_are_ahead_or_one_and_none_bears_it_out(
    chain: Chain, three: tuple[list[Liar], list[str]], kind: str, away: bool
) -> None:
    nodes, urls = three
    nodes[0].lies["eth_getBlockByNumber"] = block(100, 400)
    nodes[1].lies["eth_getBlockByNumber"] = block(130, 1)
    shown = itertools.chain([block(100, 400)], itertools.repeat("away"))
    nodes[2].lies["eth_getBlockByNumber"] = (lambda call: next(shown)) if away else block(129, 13)
    assert await believed(chain.network, nodes, urls, kind=kind, times=2) == ([1] if away else [1, 2])


async def test_an_endpoint_may_not_fall_behind_itself(chain: Chain, three: tuple[list[Liar], list[str]]) -> None:
    nodes, urls = three
    shown = itertools.chain([block(130, 1)], itertools.repeat(block(100, 40)))
    nodes[0].lies["eth_getBlockByNumber"] = lambda call: next(shown)
    nodes[1].lies["eth_getBlockByNumber"] = nodes[2].lies["eth_getBlockByNumber"] = block(100, 40)
    assert await believed(chain.network, nodes, urls, times=2) == [1, 2]
    shown = itertools.chain([block(130, 1)], itertools.repeat(block(100, 40)))
    assert await believed(chain.network, nodes[:2], urls[:2], times=2) == [1]


@pytest.mark.parametrize("estimate", [0, 30_000_000], ids=["none", "a block's"])
async def test_one_gas_estimate_neither_stops_a_payment_nor_has_it_run_out(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger, estimate: int
) -> None:
    nodes, _ = three
    sender = await chain.buyer(native=COIN // 50)  # enough for a payment, and not for a block's gas
    nodes[0].lies["eth_estimateGas"] = hex(estimate)
    assert (await pay(ledger, sender, KeySigner.random())).succeeded


@pytest.mark.parametrize("count", [0, 1000], ids=["none", "many"])
async def test_what_was_final_and_is_lost_is_sent_again_by_the_accounts_next_transaction_whatever_count_one_names(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(transactions, "FINAL_SECONDS", 0.0)
    nodes, _ = three
    sender, to = await chain.buyer(), KeySigner.random()
    before = await chain.ledger._endpoints.call("evm_snapshot")
    await pay(ledger, sender, to)
    for sent in ledger._journal.unfinished():
        await ledger._sender.settle(sent)
    assert not ledger._journal.unfinished()
    nodes[0].lies["eth_getTransactionCount"] = hex(count)
    await ledger._sender._recover(sender.address)
    assert not ledger._journal.unfinished(), "nothing is lost yet"
    await chain.ledger._endpoints.call("evm_revert", before)
    await pay(ledger, sender, to)
    assert await chain.ledger.gas_balance(to.address) == 14


async def test_a_transaction_that_waited_for_long_is_final_no_sooner_after_it_is_mined(
    chain: Chain, three: tuple[list[Liar], list[str]], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, _ = three
    sender, to = await chain.buyer(), KeySigner.random()
    now = time.time()
    clock = types.SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr(transactions, "time", clock)
    monkeypatch.setattr(journal, "time", clock)
    before = await chain.ledger._endpoints.call("evm_snapshot")
    await pay(ledger, sender, to)

    async def settled_after(seconds: float) -> int:
        """How many are still open."""
        nonlocal now
        now += seconds
        for sent in ledger._journal.unfinished():
            await ledger._sender.settle(sent)
        return len(ledger._journal.unfinished())

    assert await settled_after(600) == 1
    assert await settled_after(transactions.FINAL_SECONDS - 1) == 1
    for each in nodes:
        each.holds = True
    await chain.ledger._endpoints.call("evm_revert", before)
    assert await settled_after(600) == 1
    for each in nodes:
        each.holds = False
    assert await settled_after(1) == 1
    while await ledger._sender.receipt(ledger._journal.unfinished()[0].hash) is None:
        await asyncio.sleep(0.05)
    assert await settled_after(600) == 1
    assert await settled_after(transactions.FINAL_SECONDS + 1) == 0
