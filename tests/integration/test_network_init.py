"""`surge network init`: a network founded on a chain that runs already, from a shell."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ledger_support import Chain, free_port
from surge.core import network as network_file
from surge.core.network import NetworkFile
from surge.core.types import address
from surge.errors import Unavailable
from surge.ledger import Ledger, verify_contracts
from surge.wallet import Keystore

RELAY = "nats://127.0.0.1:4222=0x" + "ab" * 20


@pytest.fixture
async def payer(chain: Chain, tmp_path: Path) -> str:
    """A user's key with gas, and no tokens."""
    signer = Keystore(tmp_path / "user" / "wallet").create("default")
    await chain.ledger.transfer(chain.treasury, signer.address, native=10**18)
    return signer.address


async def init(tmp_path: Path, *args: str, code: int = 0) -> str:
    """Run it in `tmp_path`; returns what it says on standard error."""
    env = {**os.environ, "SURGE_HOME": str(tmp_path / "user"), "XDG_STATE_HOME": str(tmp_path / "state")}
    argv = [sys.executable, "-m", "surge.cli", "network", "init", *args]
    done = await asyncio.to_thread(subprocess.run, argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def written(tmp_path: Path) -> NetworkFile:
    return network_file.decode((tmp_path / "network.json").read_bytes())


async def test_an_rpc_url_is_enough(chain: Chain, payer: str, tmp_path: Path) -> None:
    said = await init(tmp_path, "--rpc", chain.embedded.url, "--confirmations", "1", "--min-bond", "7.5")
    found = written(tmp_path)
    assert (found.chain_id, found.rpc, found.confirmations) == (chain.network.chain_id, (chain.embedded.url,), 1)
    await verify_contracts(found)
    # its relay is the one that `surge relay` runs here
    assert "surge relay --network network.json" in said
    (relay,) = found.relays
    assert relay.address == Keystore(tmp_path / "user" / "relay" / "wallet").load("relay").address
    ledger = await Ledger.connect(found, tmp_path / "tx.db")
    try:
        assert await ledger.token_balance(address(payer)) == 10**27
        assert await ledger.fee_bps() == 100
        assert await ledger.bonds.min_bond() == 75 * 10**17
    finally:
        await ledger.close()


async def test_endpoints_are_tried_in_turn(chain: Chain, payer: str, tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    await init(tmp_path, "--rpc", away, "--rpc", chain.embedded.url, "--relay", RELAY, "--confirmations", "1")
    assert written(tmp_path).rpc == (away, chain.embedded.url)


async def test_what_is_wrong_is_said_before_any_gas_is_spent(chain: Chain, payer: str, tmp_path: Path) -> None:
    account = address(payer)
    before = await chain.ledger.gas_balance(account)
    url = chain.embedded.url
    for args, code, part in (
        (("--relay", "nonsense"), 3, "URL=ADDRESS"),
        (("--relay", "http://127.0.0.1:1=0x" + "ab" * 20), 3, "relays"),
        (("--relay", "nats://127.0.0.1:1=0xab"), 3, "is no address"),
        (("--name", "a/b"), 3, "name"),
        (("-o", "nowhere/network.json"), 3, "no folder nowhere"),
        (("--key", "other"), 3, "surge wallet new other"),
        (("--rpc", "ftp://127.0.0.1"), 3, "rpc"),
        (("--confirmations", "2"), 4, "keeps some blocks' history"),  # the embedded ledger keeps only the newest state
    ):
        said = await init(tmp_path, "--rpc", url, "--confirmations", "1", *args, code=code)
        assert part in said, said
        assert not (tmp_path / "network.json").exists()
    said = await init(tmp_path, "--rpc", f"http://127.0.0.1:{free_port()}", "--relay", RELAY, code=4)
    assert "does not answer (nobody listens there)" in said
    assert await chain.ledger.gas_balance(account) == before
    (tmp_path / "network.json").write_text("{}")
    assert "exists" in await init(tmp_path, "--rpc", url, "--confirmations", "1", code=3)


async def test_a_node_without_history_is_not_taken_for_one_that_has_no_channel(chain: Chain, tmp_path: Path) -> None:
    ledger = await Ledger.connect(replace(chain.network, confirmations=2), tmp_path / "tx.db")
    try:
        with pytest.raises(Unavailable, match="fewer confirmations"):
            await ledger.channel(b"z" * 32, confirmed=True)
        assert not (await ledger.channel(b"z" * 32)).exists
    finally:
        await ledger.close()
