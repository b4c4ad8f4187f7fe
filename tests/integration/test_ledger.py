"""The ledger against a real anvil: contracts, channels, nonces, kills, and endpoints that lie or are away."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web

from ledger_support import COIN, Chain, elsewhere, free_port, mining, opened
from surge.core.receipts import Close, DeviceConsent, Voucher
from surge.errors import InternalFault, InvalidInput, LedgerError, NotEnough, Unavailable
from surge.ledger import EmbeddedLedger, Ledger, chain_id, find_anvil, verify_contracts
from surge.ledger.endpoints import Endpoints
from surge.ledger.journal import Journal
from surge.wallet import KeySigner


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait for a condition, within a bound."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_the_shipped_contracts_are_recognised_and_others_are_not(chain: Chain) -> None:
    await verify_contracts(chain.network)
    assert await chain_id([chain.embedded.url]) == chain.network.chain_id
    network = chain.network
    with pytest.raises(InvalidInput, match="not what the network file says"):
        await verify_contracts(replace(network, token=replace(network.token, code_hash=bytes(32))))
    with pytest.raises(InvalidInput, match="not the contract this version"):
        await verify_contracts(replace(network, channels=network.registry))
    with pytest.raises(LedgerError, match="no contract"):
        await verify_contracts(replace(network, token=replace(network.token, address=KeySigner.random().address)))


async def test_a_channels_life(chain: Chain) -> None:
    ledger = chain.ledger
    work, operator = await opened(chain)
    state = await ledger.channel(work.channel)
    assert state.exists
    assert (state.buyer, state.provider) == (work.buyer.address, operator.address)
    assert (state.deposit, state.floor, state.redeemed, state.closed) == (10 * COIN, COIN // 100, 0, False)
    await ledger.top_up(work.buyer, work.channel, COIN)
    assert (await ledger.channel(work.channel)).deposit == 11 * COIN
    voucher, signature = work.voucher(5, 10**15)
    (redeemed,) = await ledger.redeem(operator, [(voucher, signature)])
    assert (redeemed.amount, redeemed.count, redeemed.root) == (5 * 10**15, 5, work.log.root())
    assert redeemed.fee == redeemed.amount * await ledger.fee_bps() // 10_000
    assert redeemed.paid == redeemed.amount - redeemed.fee == await ledger.token_balance(operator.address)
    assert await ledger.redemptions(work.channel) == [redeemed]
    for index in range(5):
        for accepted in (True, False):
            path = work.log.inclusion(index)
            proven = await ledger.verify_receipt(work.receipts[index], accepted=accepted, amount=10**15, index=index, path=path)
            assert proven is accepted
    close = Close(work.channel, 2 * COIN, 6, b"\x01" * 32)
    agreed = [each.sign(close.digest(work.domain)) for each in (operator, work.session)]
    before = await ledger.token_balance(work.buyer.address)
    await ledger.close_together(operator, Voucher(close.channel, close.amount, close.count, close.root), *agreed)
    assert (await ledger.channel(work.channel)).closed
    assert await ledger.token_balance(work.buyer.address) == before + 9 * COIN


async def test_many_vouchers_in_one_redemption_skip_what_is_worthless(chain: Chain) -> None:
    one, operator = await opened(chain)
    two, _ = await opened(chain)
    old, new = one.voucher(1, 10**15), one.voucher(2, 10**15)
    await chain.ledger.redeem(operator, [new])
    done = await chain.ledger.redeem(operator, [old, new, two.voucher(3, 10**15)])
    assert [(each.channel, each.amount) for each in done] == [(two.channel, 3 * 10**15)]


async def test_a_provider_gives_a_channel_up_and_is_paid_its_floor(chain: Chain) -> None:
    work, operator = await opened(chain)
    await chain.ledger.close_by_provider(operator, work.channel)
    assert (await chain.ledger.channel(work.channel)).closed
    floor = COIN // 100
    assert await chain.ledger.token_balance(operator.address) == floor - floor * await chain.ledger.fee_bps() // 10_000


async def test_a_one_sided_close_waits_for_its_challenge_period(chain: Chain) -> None:
    ledger = chain.ledger
    work, operator = await opened(chain)
    await ledger.start_close(work.buyer, work.channel)
    assert (await ledger.channel(work.channel)).closing_at > 0
    with pytest.raises(LedgerError, match="channels: "):
        await ledger.finish_close(operator, work.channel)
    with pytest.raises(LedgerError, match="channels: "):
        await ledger.top_up(work.buyer, work.channel, 1)
    await ledger.redeem(operator, [work.voucher(1, COIN)])
    await chain.ledger._endpoints.call("evm_increaseTime", 61)
    await ledger.finish_close(operator, work.channel)
    assert (await ledger.channel(work.channel)).closed
    assert await ledger.token_balance(work.buyer.address) == 99 * COIN


async def test_reverts_carry_the_contracts_reason(chain: Chain) -> None:
    ledger = chain.ledger
    work, operator = await opened(chain)
    voucher, _ = work.voucher(1, 10**15)
    stranger = await chain.buyer()
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: ledger.redeem(operator, [(voucher, stranger.sign(voucher.digest(work.domain)))]),
        lambda: ledger.close_by_provider(stranger, work.channel),
        lambda: ledger.start_close(stranger, work.channel),
        lambda: ledger.top_up(work.buyer, bytes(32), 1),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match="channels: ") as caught:
            await attempt()
        assert str(caught.value.details["reason"]).startswith("channels: ")
        assert not isinstance(caught.value, NotEnough)


async def test_too_few_tokens_and_too_little_gas_say_so_before_anything_is_sent(chain: Chain) -> None:
    ledger = chain.ledger
    poor, gasless = await chain.buyer(tokens=COIN), await chain.buyer(native=0)
    to = KeySigner.random().address

    def channel(signer: KeySigner, amount: int) -> Awaitable[bytes]:
        return ledger.open_channel(
            signer, provider=to, device=to, session_key=to, amount=amount, floor=0, challenge_seconds=60, patience=5.0
        )

    with pytest.raises(NotEnough, match="needed") as caught:
        await channel(poor, 2 * COIN)
    assert (caught.value.details["held"], caught.value.details["needed"]) == (COIN, 2 * COIN)
    with pytest.raises(NotEnough, match="holds"):
        await ledger.transfer(poor, to, tokens=2 * COIN)
    attempts: list[Callable[[], Awaitable[object]]] = [lambda: channel(gasless, COIN), lambda: ledger.transfer(gasless, to, tokens=1)]
    for attempt in attempts:
        with pytest.raises(NotEnough, match="gas"):
            await attempt()
    with pytest.raises(NotEnough, match="gas"):
        await ledger.transfer(poor, to, native=5 * COIN)
    assert {each.account for each in ledger._journal.unfinished()} == {chain.treasury.address}
    assert await ledger.token_balance(to) == 0


async def test_devices_are_registered_with_their_consent(chain: Chain) -> None:
    ledger, device = chain.ledger, KeySigner.random()
    operator = await chain.buyer(tokens=0)
    assert await ledger.operator_of(device.address) is None
    consent = DeviceConsent(operator.address, device.address, await ledger.device_nonce(device.address))
    signature = device.sign(consent.digest(chain.network.registry_domain))
    await ledger.register_device(operator, device.address, "laptop", signature)
    assert await ledger.operator_of(device.address) == operator.address
    with pytest.raises(LedgerError, match="registry: "):
        await ledger.register_device(chain.treasury, device.address, "mine", signature)


async def test_two_journals_users_of_one_account_get_nonces_of_their_own(chain: Chain) -> None:
    other = await Ledger.connect(chain.network, chain.embedded.folder / "tx.db")
    try:
        people = [KeySigner.random().address for _ in range(16)]
        await asyncio.gather(
            *((chain.ledger, other)[number % 2].transfer(chain.treasury, to, tokens=number + 1) for number, to in enumerate(people))
        )
        assert [await chain.ledger.token_balance(to) for to in people] == list(range(1, 17))
        nonces = [each.nonce for each in chain.ledger._journal.unfinished()]
        assert nonces == list(range(nonces[0], nonces[0] + 16))
    finally:
        await other.close()


def test_a_nonce_that_was_given_up_is_used_by_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tx.db", 5)
    account = KeySigner.random().address
    sent = [journal.add(account, 3, "test", lambda nonce: (f"0x{nonce}", "0x")) for _ in range(3)]
    assert [each.nonce for each in sent] == [3, 4, 5]
    journal.drop(sent[0])
    assert journal.add(account, 3, "test", lambda nonce: ("again", "0x")).nonce == 3
    assert journal.add(account, 3, "test", lambda nonce: ("next", "0x")).nonce == 6
    assert journal.add(account, 9, "test", lambda nonce: ("later", "0x")).nonce == 9
    other = Journal(tmp_path / "tx.db", 6)
    assert other.add(account, 0, "test", lambda nonce: ("other chain", "0x")).nonce == 0
    for each in (journal, other):
        each.close()


def test_a_journal_that_cannot_be_written_says_so_and_signs_nothing_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tx.db", 5)
    account = KeySigner.random().address
    first = journal.add(account, 0, "test", lambda nonce: ("one", "0x"))
    with pytest.raises(Unavailable, match="cannot be written"):
        journal.add(account, 0, "test", lambda nonce: ("one", "0x"))  # the hash is there already
    with pytest.raises(ZeroDivisionError):
        journal.add(account, 0, "test", lambda nonce: ("", str(1 // 0)))
    journal._db.execute("PRAGMA query_only=1")
    changes: list[Callable[[], None]] = [
        lambda: journal.finished("one"),
        lambda: journal.drop(first),
        lambda: journal.refuse(first),
    ]
    for change in changes:
        with pytest.raises(Unavailable, match="cannot be written"):
            change()
    journal._db.execute("PRAGMA query_only=0")
    assert journal.add(account, 0, "test", lambda nonce: ("two", "0x")).nonce == 1
    assert [each.hash for each in journal.unfinished()] == ["one", "two"]
    journal.close()


async def test_after_a_kill_the_state_is_there_and_what_was_lost_is_sent_again(chain: Chain) -> None:
    work, operator = await opened(chain)
    await chain.embedded.dump()
    chain.run.cancel()
    await asyncio.gather(chain.run, return_exceptions=True)
    # What follows is mined and never dumped: the second that a kill may cost.
    mining_task = asyncio.create_task(_mine_only(chain.embedded))
    await chain.ledger.redeem(operator, [work.voucher(4, 10**15)])
    mining_task.cancel()
    await asyncio.gather(mining_task, return_exceptions=True)
    assert chain.embedded._process
    chain.embedded._process.kill()
    await chain.embedded._process.wait()
    again = EmbeddedLedger(chain.embedded.folder, chain.embedded.port)
    assert again.genesis == chain.embedded.genesis
    async with mining(again):
        state = await chain.ledger.channel(work.channel)
        assert (state.deposit, state.redeemed) == (10 * COIN, 0)
        watch = asyncio.create_task(chain.ledger.run())

        async def redeemed() -> bool:
            return (await chain.ledger.channel(work.channel)).redeemed == 4 * 10**15

        await until(redeemed)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        assert len(await chain.ledger.redemptions(work.channel)) == 1


async def _mine_only(embedded: EmbeddedLedger) -> None:
    while True:
        await embedded.mine()
        await asyncio.sleep(0.02)


async def test_the_ledger_that_is_killed_says_so(chain: Chain) -> None:
    assert chain.embedded._process
    chain.embedded._process.kill()
    with pytest.raises(Unavailable, match="anvil ended"):
        await asyncio.wait_for(chain.run, 10)


async def test_half_a_dump_is_not_taken_for_a_state(chain: Chain) -> None:
    await opened(chain)
    chain.run.cancel()  # from here on nobody dumps but this test
    await asyncio.gather(chain.run, return_exceptions=True)
    await chain.embedded.dump()
    whole = (chain.embedded.folder / "state.json").read_bytes()
    json.loads(whole)

    def torn(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    mining_task = asyncio.create_task(_mine_only(chain.embedded))
    await chain.ledger.transfer(chain.treasury, KeySigner.random().address, tokens=1)
    mining_task.cancel()
    await asyncio.gather(mining_task, return_exceptions=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", torn)
        with pytest.raises(Unavailable, match="No space"):
            await chain.embedded.dump()
    json.loads((chain.embedded.folder / "state.json").read_bytes())
    await chain.embedded.dump()
    assert (chain.embedded.folder / "state.json").read_bytes() != whole


def test_the_genesis_is_its_owners_only_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    first, second = EmbeddedLedger(tmp_path / "a", 1), EmbeddedLedger(tmp_path / "b", 1)
    assert first.genesis.chain_id != second.genesis.chain_id
    assert first.genesis.mnemonic != second.genesis.mnemonic
    path = tmp_path / "a" / "genesis.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("{")
    with pytest.raises(InternalFault, match="damaged"):
        EmbeddedLedger(tmp_path / "a", 1)


async def test_anvil_has_no_key_on_its_command_line_and_takes_no_orders_from_web_pages(chain: Chain) -> None:
    """Any user reads a command line; any page that the user has open may ask a browser to post to a port of this machine."""
    assert chain.embedded._process is not None
    said = " ".join(psutil.Process(chain.embedded._process.pid).cmdline())
    assert "--chain-id" in said
    assert not any(word in said.split() for word in chain.embedded.genesis.mnemonic.split())
    assert chain.embedded.genesis.treasury == chain.treasury.address
    page = {"Origin": "http://page.example"}
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    order = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance", "params": [chain.treasury.address, "0x0"]})
    async with aiohttp.ClientSession() as browser:
        async with browser.options(chain.embedded.url, headers={**page, **ask}) as allowed:
            assert "Access-Control-Allow-Origin" not in allowed.headers
        async with browser.post(chain.embedded.url, data=order, headers={**page, "Content-Type": "text/plain"}) as simple:
            assert "error" in await simple.json()
    assert await chain.embedded._rpc.call("eth_accounts") == [], "nothing is signed there for whoever asks"


async def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        embedded = EmbeddedLedger(tmp_path, taken.getsockname()[1])
        with pytest.raises(Unavailable, match="taken by another program"):
            await embedded.start()
        await embedded.stop()


def test_a_missing_anvil_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.access(find_anvil(), os.X_OK)
    monkeypatch.setattr("surge.ledger.anvil._places", lambda: iter([tmp_path / "anvil"]))
    with pytest.raises(Unavailable, match=r"npm install .*@foundry-rs/anvil"):
        find_anvil()


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
        if self.behind and call["method"] in ("eth_call", "eth_getBalance"):
            found["result"] = "0x" + "0" * 64
        return web.json_response(found)


@pytest.fixture
async def proxy(chain: Chain) -> AsyncIterator[tuple[Proxy, str]]:
    made = Proxy(chain.embedded.url)
    application = web.Application()
    application.router.add_post("/", made.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made, f"http://127.0.0.1:{port}"
    await runner.cleanup()


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


async def test_a_lagging_endpoint_is_not_believed(chain: Chain, proxy: tuple[Proxy, str], tmp_path: Path) -> None:
    for _ in range(6):
        await chain.ledger.transfer(chain.treasury, KeySigner.random().address, native=1)
    lagging, url = proxy
    lagging.behind = 6
    held = await chain.ledger.token_balance(chain.treasury.address)
    assert held > 0
    for urls in ((url, chain.embedded.url), (chain.embedded.url, url)):
        ledger = await Ledger.connect(elsewhere(chain.network, *urls), tmp_path / "b.db")
        try:
            assert await ledger.token_balance(chain.treasury.address) == held
            assert await ledger.gas_balance(chain.treasury.address) > 0
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

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    endpoints = Endpoints([f"http://127.0.0.1:{port}"], 1, embedded=True)
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            await endpoints.call("eth_blockNumber")
    finally:
        await endpoints.close()
        await runner.cleanup()
    with pytest.raises(Unavailable, match="closed"):
        await endpoints.call("eth_blockNumber")
