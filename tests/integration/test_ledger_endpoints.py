"""Endpoints of a chain that are away, behind, elsewhere or out of their mind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ledger_support import Chain, answering, elsewhere, free_port
from surge.errors import Unavailable
from surge.ledger import Ledger
from surge.ledger.endpoints import Endpoints, Refused
from surge.wallet import KeySigner


class Proxy:
    """An endpoint between: it can be away, or answer as a node that fell behind, or be on another chain."""

    def __init__(self, target: str) -> None:
        self.target, self.behind, self.away, self.chain = target, 0, False, ""

    async def answer(self, request: web.Request) -> web.Response:
        if self.away:
            return web.Response(status=503)
        call = await request.json()
        async with aiohttp.ClientSession() as session, session.post(self.target, json=call) as response:
            found: dict[str, Any] = await response.json()
        if call["method"] == "eth_chainId" and self.chain:
            found["result"] = self.chain
        if self.behind and call["method"] == "eth_blockNumber":
            found["result"] = hex(max(0, int(found["result"], 16) - self.behind))
        if self.behind and call["method"] == "eth_getBlockByNumber":
            found["result"]["number"] = hex(max(0, int(found["result"]["number"], 16) - self.behind))
            found["result"]["timestamp"] = hex(int(found["result"]["timestamp"], 16) - 12 * self.behind)
        if self.behind and call["method"] in ("eth_call", "eth_getBalance"):
            found["result"] = "0x" + "0" * 64
        return web.json_response(found)


@pytest.fixture
async def proxy(chain: Chain) -> AsyncIterator[tuple[Proxy, str]]:
    made = Proxy(chain.embedded.url)
    async with answering(made.answer) as url:
        yield made, url


async def test_an_endpoint_away_for_a_while_is_waited_for(chain: Chain, proxy: tuple[Proxy, str], tmp_path: Path) -> None:
    away, url = proxy
    away.away = True
    with pytest.raises(Unavailable, match=r"no ledger endpoint .*HTTP status 503"):
        await Ledger.connect(elsewhere(chain.network, url), tmp_path / "a.db", patience=0.3)
    connecting = asyncio.create_task(Ledger.connect(elsewhere(chain.network, url), tmp_path / "a.db", patience=30))
    await asyncio.sleep(0)
    assert not connecting.done()
    away.away = False
    ledger = await connecting
    try:
        to = KeySigner.random().address
        away.away = True
        sending = asyncio.create_task(ledger.transfer(chain.treasury, to, native=7))
        await asyncio.sleep(0)
        away.away = False
        await sending
        assert await ledger.gas_balance(to) == 7
    finally:
        await ledger.close()


@pytest.mark.parametrize("kind", ["embedded", "public"])
async def test_a_lagging_endpoint_is_not_believed(chain: Chain, proxy: tuple[Proxy, str], tmp_path: Path, kind: str) -> None:
    for _ in range(6):
        await chain.ledger.transfer(chain.treasury, KeySigner.random().address, native=1)
    lagging, url = proxy
    lagging.behind = 6
    held = await chain.ledger.token_balance(chain.treasury.address)
    assert held > 0
    for urls in ((url, chain.embedded.url), (chain.embedded.url, url)):
        ledger = await Ledger.connect(replace(elsewhere(chain.network, *urls), kind=kind), tmp_path / "b.db")
        try:
            assert await ledger.token_balance(chain.treasury.address) == held
            assert await ledger.gas_balance(chain.treasury.address) > 0
            assert len(await ledger._endpoints.every("eth_chainId", read=str)) == 1
        finally:
            await ledger.close()


async def test_once_a_head_was_seen_an_older_one_is_unavailable_and_no_empty_wallet(
    chain: Chain, proxy: tuple[Proxy, str], tmp_path: Path
) -> None:
    for _ in range(6):
        await chain.ledger.transfer(chain.treasury, KeySigner.random().address, native=1)
    lagging, url = proxy
    gone = f"http://127.0.0.1:{free_port()}"
    ledger = await Ledger.connect(elsewhere(chain.network, url, gone), tmp_path / "c.db")
    try:
        assert await ledger.token_balance(chain.treasury.address) > 0
        lagging.behind = 6
        for endpoint in ledger._endpoints._endpoints:
            endpoint.head_at = float("-inf")
        with pytest.raises(Unavailable, match="lags 6 blocks"):
            await ledger.token_balance(chain.treasury.address)
    finally:
        await ledger.close()


async def test_another_chain_is_not_believed(chain: Chain, proxy: tuple[Proxy, str], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is on chain"):
        await Ledger.connect(replace(chain.network, chain_id=5), tmp_path / "d.db", patience=0.0)
    other, url = proxy
    other.chain = "0x5"
    ledger = await Ledger.connect(elsewhere(chain.network, url, chain.embedded.url), tmp_path / "e.db")
    try:
        assert await ledger.token_balance(chain.treasury.address) > 0
    finally:
        await ledger.close()


NONSENSE: dict[str, bytes] = {
    "no JSON": b"<html>",
    "no object": b"[]",
    "neither result nor error": b'{"jsonrpc": "2.0", "id": 1}',
    "an answer to another question": b'{"jsonrpc": "2.0", "id": 99999, "result": "0x1"}',
    "nested beyond reason": b"[" * 200_000,
    "more than anybody asked for": b'"' + b"0" * (33 << 20) + b'"',
}


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_node_that_answers_nonsense_is_as_good_as_away(nonsense: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=NONSENSE[nonsense])

    async with answering(answer) as url:
        endpoints = Endpoints([url], 1, embedded=True)
        try:
            with pytest.raises(Unavailable, match="does not answer"):
                await endpoints.call("eth_blockNumber")
        finally:
            await endpoints.close()
    with pytest.raises(Unavailable, match="closed"):
        await endpoints.call("eth_blockNumber")


@pytest.mark.parametrize("words", ["BlockOutOfRangeError: block height is 8 but requested was 7", "header not found"])
async def test_a_node_that_has_not_got_the_block_it_just_named_is_asked_again(chain: Chain, words: str) -> None:
    """Several nodes behind one address do that, and one that mines in the same moment."""
    refusals = [words, words]

    async def answer(request: web.Request) -> web.Response:
        call = await request.json()
        if call["method"] == "eth_getBalance" and refusals:
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": refusals.pop()}})
        async with aiohttp.ClientSession() as session, session.post(chain.embedded.url, json=call) as response:
            return web.json_response(await response.json())

    async with answering(answer) as url:
        endpoints = Endpoints([url], chain.network.chain_id, embedded=True)
        try:
            assert int(await endpoints.call("eth_getBalance", str(chain.treasury.address), "latest"), 16) > 0
            refusals += ["execution reverted"]
            with pytest.raises(Refused, match="execution reverted"):
                await endpoints.call("eth_getBalance", str(chain.treasury.address), "latest")
            refusals += [words] * 99
            with pytest.raises(Refused, match=words[:10]):
                await endpoints.call("eth_getBalance", str(chain.treasury.address), "latest")
        finally:
            await endpoints.close()
