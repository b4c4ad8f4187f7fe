"""The ledger's own anvil: killed, damaged, out of reach of others, or not there."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from ledger_support import COIN, Chain, mining, opened
from surge.errors import InternalFault, Unavailable
from surge.ledger import EmbeddedLedger, find_anvil
from surge.wallet import KeySigner


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait for a condition, within a bound."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


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
