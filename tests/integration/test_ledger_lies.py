"""Endpoints that lie: about channels, transactions, prices, or with answers no node would give."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

from ledger_support import COIN, Chain, Liar, answering, elsewhere, opened
from surge.errors import LedgerError, Unavailable
from surge.ledger import Ledger, endpoints, transactions
from surge.ledger.endpoints import Refused
from surge.wallet import KeySigner


@pytest.fixture
async def liar(chain: Chain) -> AsyncIterator[tuple[Liar, str]]:
    made = Liar(chain.embedded.url)
    async with answering(made.answer) as url:
        yield made, url


STATE = ["(address,address,address,address,uint256,uint256,uint256,uint256,bytes32,uint256,uint256,bool,uint256)"]


def state(who: tuple[str, str, str, str], deposit: int, closing_at: int = 0, redeemed: int = 0) -> str:
    row = (*who, deposit, redeemed, COIN // 100, 0, bytes(32), 60, closing_at, False, 0)
    return "0x" + abi_encode(STATE, [row]).hex()


async def test_no_endpoint_alone_invents_a_deposit_or_hides_a_close(chain: Chain, liar: tuple[Liar, str], tmp_path: Path) -> None:
    node, url = liar
    work, _ = await opened(chain)
    true = await chain.ledger.channel(work.channel)
    who = (true.buyer, true.provider, true.device, true.session_key)
    for rpc in ((url, chain.embedded.url), (chain.embedded.url, url)):
        ledger = await Ledger.connect(elsewhere(chain.network, *rpc), tmp_path / f"{rpc[0][-5:]}.db")
        try:
            node.lies["eth_call"] = state(who, 10**24)
            assert (await ledger.channel(work.channel)).deposit == true.deposit
            assert not (await ledger.channel(b"z" * 32)).exists
            node.lies["eth_call"] = state(who, true.deposit, closing_at=5)
            assert (await ledger.channel(work.channel)).closing_at == 5
            node.lies["eth_call"] = state(who, true.deposit, redeemed=7)
            assert (await ledger.channel(work.channel)).redeemed == 7
            node.lies["eth_call"] = state((who[0], who[1], who[2], KeySigner.random().address), true.deposit)
            with pytest.raises(Unavailable, match="one of them lies"):
                await ledger.channel(work.channel)
            node.lies.clear()
            assert await ledger.channel(work.channel) == true
        finally:
            await ledger.close()
    await chain.ledger.start_close(work.buyer, work.channel)
    ledger = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "hides.db")
    try:
        node.lies["eth_call"] = state(who, true.deposit)
        assert (await ledger.channel(work.channel)).closing_at > 0
    finally:
        await ledger.close()


async def test_an_endpoint_that_names_a_head_far_ahead_does_not_shut_the_others_out(
    chain: Chain, liar: tuple[Liar, str], tmp_path: Path
) -> None:
    node, url = liar
    work, _ = await opened(chain)
    true = await chain.ledger.channel(work.channel)
    who = (true.buyer, true.provider, true.device, true.session_key)
    for number, rpc in enumerate(((url, chain.embedded.url), (chain.embedded.url, url))):
        stamp = hex(int(time.time()) + 3600)
        node.lies["eth_getBlockByNumber"] = {"number": hex(10**9), "timestamp": stamp, "baseFeePerGas": "0x1"}
        node.lies["eth_call"] = state(who, 10**24)
        ledger = await Ledger.connect(replace(elsewhere(chain.network, *rpc), kind="public"), tmp_path / f"{number}.db")
        try:
            assert (await ledger.channel(work.channel)).deposit == true.deposit
            assert not (await ledger.channel(b"z" * 32)).exists
            for method in ("eth_getBlockByNumber", "eth_call", "eth_chainId"):
                node.lies[method] = "away"
            for endpoint in ledger._endpoints._endpoints:
                endpoint.head_at, endpoint.chain_checked = float("-inf"), False
            assert await ledger.channel(work.channel) == true
        finally:
            node.lies.clear()
            await ledger.close()


async def test_a_transaction_that_a_node_refuses_and_keeps_is_mined_at_most_once(
    chain: Chain, liar: tuple[Liar, str], tmp_path: Path
) -> None:
    node, url = liar
    ledger = await Ledger.connect(elsewhere(chain.network, url), tmp_path / "x.db")
    try:
        sender, receiver = await chain.buyer(), KeySigner.random()
        node.swallows = True
        for _ in range(3):
            with pytest.raises(LedgerError, match="temporarily refused"):
                await ledger.transfer(sender, receiver.address, tokens=COIN)
            with pytest.raises(LedgerError, match="temporarily refused"):
                await ledger.transfer(sender, receiver.address, tokens=2 * COIN)
        refused = ledger._journal.refused()
        assert {each.nonce for each in refused} == {0}
        assert len({each.hash for each in refused}) == len(set(node.kept)) > 1
        node.swallows = False
        outcomes = []
        for raw in dict.fromkeys(node.kept):
            try:
                outcomes.append(await chain.ledger._endpoints.call("eth_sendRawTransaction", raw))
            except Refused:
                continue
        assert len(outcomes) == 1
        while await ledger._sender.receipt(outcomes[0]) is None:
            await asyncio.sleep(0.05)
        for each in refused:
            await ledger._sender.settle(each)
        assert [each.hash for each in ledger._journal.refused()] == outcomes  # the one that was mined after all is watched until final
        before = await chain.ledger.token_balance(receiver.address)
        await ledger.transfer(sender, receiver.address, tokens=5 * COIN)
        assert await chain.ledger.token_balance(receiver.address) - before == 5 * COIN
    finally:
        await ledger.close()


async def test_endpoints_that_contradict_each_other_about_a_transaction_are_not_believed(
    chain: Chain, liar: tuple[Liar, str], tmp_path: Path
) -> None:
    node, url = liar
    sender = await chain.buyer()
    (mined,) = await chain.ledger.transfer(chain.treasury, sender.address, native=1)
    ledger = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "x.db")
    try:
        true = await chain.ledger._endpoints.call("eth_getTransactionReceipt", mined)
        assert await ledger._sender.receipt(mined) is not None
        node.lies["eth_getTransactionReceipt"] = {**true, "status": "0x0"}
        with pytest.raises(Unavailable, match="one of them lies"):
            await ledger._sender.receipt(mined)
        event = {"address": sender.address, "topics": [mined], "data": "0x01", "transactionHash": mined}
        for said in ({"gasUsed": "0x1"}, {"contractAddress": sender.address}, {"logs": [event]}):
            node.lies["eth_getTransactionReceipt"] = {**true, **said}
            with pytest.raises(Unavailable, match="one of them lies"):
                await ledger._sender.receipt(mined)
        node.lies["eth_getTransactionReceipt"] = None
        assert await ledger._sender.receipt(mined) is None
    finally:
        await ledger.close()


async def test_what_was_redeemed_is_not_told_by_one_endpoint_alone(chain: Chain, liar: tuple[Liar, str], tmp_path: Path) -> None:
    node, url = liar
    work, operator = await opened(chain)
    voucher = work.voucher(3, COIN // 10)
    await chain.ledger.redeem(operator, [voucher])
    (event,) = await chain.ledger.redemptions(work.channel)
    true = await chain.ledger._endpoints.call("eth_getTransactionReceipt", event.transaction)
    paid, invented = f"{3 * COIN // 10:064x}", f"{10**24:064x}"
    assert any(paid in each["data"] for each in true["logs"])
    logs = [{**each, "data": each["data"].replace(paid, invented)} for each in true["logs"]]
    ledger = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "x.db")
    try:
        found = await ledger._sender.receipt(event.transaction)
        assert found is not None
        assert [each.paid + each.fee for each in ledger._redeemed(found.logs)] == [voucher[0].amount]
        node.lies["eth_getTransactionReceipt"] = {**true, "logs": logs}
        with pytest.raises(Unavailable, match="one of them lies"):
            await ledger._sender.receipt(event.transaction)
    finally:
        await ledger.close()


async def test_an_endpoint_that_hides_a_receipt_has_no_payment_made_twice(
    chain: Chain, liar: tuple[Liar, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nonce is used, and not everybody shows by what: that is not yet another program's transaction."""
    monkeypatch.setattr(transactions, "RESEND_SECONDS", 0.1)
    monkeypatch.setattr(endpoints, "HEAD_SECONDS", 0.0)
    node, url = liar
    sender, to = await chain.buyer(), KeySigner.random().address
    ledger = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "x.db")
    try:
        node.lies["eth_getTransactionReceipt"] = None
        with pytest.raises(Unavailable, match="not mined yet"):
            await ledger._sender.send(sender, to, "0x", value=7, purpose="paying", patience=2.0)
        assert await chain.ledger.gas_balance(to) == 7
        assert [each.nonce for each in ledger._journal.unfinished()] == [0]
    finally:
        await ledger.close()


async def test_a_lying_gas_price_neither_takes_the_wallet_nor_stops_a_payment(chain: Chain, liar: tuple[Liar, str], tmp_path: Path) -> None:
    node, url = liar
    sender = await chain.buyer(native=20 * COIN)
    block = await chain.ledger._endpoints.call("eth_getBlockByNumber", "latest", False)
    node.lies |= {"eth_getBlockByNumber": {**block, "baseFeePerGas": hex(10**30)}}
    ledger = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "x.db")
    try:
        assert await ledger.redemption_cost() == await chain.ledger.redemption_cost()
        before = await chain.ledger.gas_balance(sender.address)
        await ledger.transfer(sender, chain.treasury.address, tokens=COIN)
        assert before - await chain.ledger.gas_balance(sender.address) < COIN // 1000
    finally:
        await ledger.close()


ODD: dict[str, list[Any]] = {
    "eth_getTransactionReceipt": ["x", {"blockNumber": 5}, {"status": "0x1", "blockNumber": "0x1", "logs": [{}]}],
    "eth_getTransactionCount": [None, "zz", 7],
    "eth_blockNumber": [None, {}],
}


@pytest.mark.parametrize("method", ODD)
async def test_odd_answers_do_not_stop_what_is_sent_again(chain: Chain, liar: tuple[Liar, str], tmp_path: Path, method: str) -> None:
    node, url = liar
    ledger = await Ledger.connect(elsewhere(chain.network, url), tmp_path / "x.db")
    sender = await chain.buyer()
    await ledger.transfer(sender, chain.treasury.address, native=1)
    running = asyncio.create_task(ledger.run())
    try:
        for odd in ODD[method]:
            node.lies[method] = odd
            for sent in ledger._journal.unfinished():
                with contextlib.suppress(Unavailable):
                    await ledger._sender.settle(sent)
            assert not running.done()
        assert ledger._journal.unfinished()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ledger.close()


async def test_a_nonce_beyond_all_bounds_is_no_answer(chain: Chain, liar: tuple[Liar, str], tmp_path: Path) -> None:
    node, url = liar
    ledger = await Ledger.connect(elsewhere(chain.network, url), tmp_path / "x.db")
    sender, to = await chain.buyer(), KeySigner.random().address
    try:
        for count in (2**256 - 1, 2**63, 2**63 - 1):
            node.lies["eth_getTransactionCount"] = hex(count)
            with pytest.raises(Unavailable, match="where an account's nonce should be"):
                await ledger._sender.send(sender, to, "0x", value=7, purpose="paying", patience=0.0)
            with pytest.raises(Unavailable, match="where an account's nonce should be"):
                await ledger._sender._recover(sender.address)
        node.lies.clear()
        assert (await ledger._sender.send(sender, to, "0x", value=7, purpose="paying")).succeeded
    finally:
        await ledger.close()


async def test_odd_answers_are_as_good_as_none_and_the_next_endpoint_is_asked(chain: Chain, liar: tuple[Liar, str], tmp_path: Path) -> None:
    node, url = liar
    alone = await Ledger.connect(elsewhere(chain.network, url), tmp_path / "alone.db")
    two = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "two.db")
    try:
        for odd in (None, "x", "0x", [], {}):
            node.lies = dict.fromkeys(("eth_getBlockByNumber", "eth_getBalance", "eth_call", "eth_getLogs"), odd)
            for ledger in (alone, two):
                questions = (
                    ledger.redemption_cost(),
                    ledger.gas_balance(chain.treasury.address),
                    ledger.channel(b"z" * 32),
                    ledger.token_balance(chain.treasury.address),
                )
                for question in questions:
                    if ledger is two:
                        await question
                    else:
                        with pytest.raises(Unavailable):
                            await question
    finally:
        await alone.close()
        await two.close()
