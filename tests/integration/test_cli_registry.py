"""The registry by the command line: who is named there, by whom, and what is said of them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

import surge
from cli_support import Place, Up
from ledger_support import Chain
from surge.cli import registry
from surge.cli.registry import MAX_METADATA, metadata
from surge.errors import InvalidInput, NotEnough
from surge.ledger.interfaces import checksum
from surge.wallet import KeySigner

pytestmark = pytest.mark.timeout(300)

UP = {"providers": 1, "relays": 1}


def member(place: Place, address: str) -> dict[str, Any]:
    (found,) = [row for row in place.json("network", "members") if row["address"] == address]
    return dict(found)


def test_a_network_of_ones_own_names_its_devices_and_relays(place: Place, up: Up) -> None:
    described = json.loads(up.network.read_text())
    rows = {row["kind"]: row for row in place.json("network", "members")}
    assert rows.keys() == {"device", "relay"}
    (relay,) = described["relays"]
    assert (rows["relay"]["address"], rows["relay"]["url"]) == (relay["address"], relay["url"])
    assert json.loads(rows["relay"]["metadata"]) == {"surge": surge.__version__}
    said = json.loads(rows["device"]["metadata"])
    assert said["surge"] == surge.__version__
    assert "wasmtime" in said["engine"]
    assert relay["url"] in place.surge("network", "members").text


def test_a_relay_is_named_by_an_operator_whose_key_lies_elsewhere(place: Place, up: Up) -> None:
    operator = place.json("wallet", "show")[0]["address"]
    runs = ("relay", "--data", "cold", "--port", "0", "--network", up.network, "--operator", operator, "--region", "it's", "--url")
    said = place.surge(*runs, "nats://relay.example:4222", code=3).err
    match = re.search(
        r"surge (network register-relay (0x[0-9a-f]{40}) nats://relay.example:4222 0x[0-9a-f]{130}) --key NAME( --metadata .*)", said
    )
    assert match, said
    words = shlex.split(match[1] + match[3])
    assert "prints a fresh one" in place.surge(*words[:4], "0x" + "11" * 65, code=3).err
    assert "130 hex digits" in place.surge(*words[:4], "none", code=3).err
    assert f"is a relay of {operator}" in place.surge(*words).err
    found = member(place, match[2])
    assert (found["kind"], found["operator"], found["url"]) == ("relay", operator, "nats://relay.example:4222")
    assert json.loads(found["metadata"])["region"] == "it's"
    ready(place, *runs, "nats://relay.example:4222")
    assert "does not name the relay" in place.surge(*runs, "nats://elsewhere.example:4222", code=3).err


def test_a_relay_registers_itself_with_its_operators_key(place: Place, up: Up) -> None:
    runs = ("relay", "--data", "warm", "--port", "0", "--network", up.network, "--register", "--url", "nats://warm.example:4222")
    said = place.surge(*runs, code=6).err
    match = re.search(r"surge (wallet send 0x[0-9a-f]{40} 1 --coin)", said)
    assert match, said
    place.surge(*match[1].split())
    ready(place, *runs)
    address = json.loads((place.work / "warm" / "wallet" / "relay.json").read_text())["address"]
    address = address if address.startswith("0x") else "0x" + address
    assert member(place, address)["url"] == "nats://warm.example:4222"
    ready(place, *runs[:-1], "nats://moved.example:4222", "--region", "is-1")
    found = member(place, address)
    assert (found["url"], json.loads(found["metadata"])["region"]) == ("nats://moved.example:4222", "is-1")
    assert "network" in place.surge("relay", "--register", code=2).err
    everywhere = ("relay", "--data", "warm", "--network", up.network, "--register", "--host", "0.0.0.0")
    assert "--url" in place.surge(*everywhere, code=2).err
    assert place.surge(*runs, "--operator", address, code=2).err


def test_who_lacks_gas_to_lend_hears_of_it_before_the_image_is_compiled(place: Place, up: Up, tmp_path: Path) -> None:
    runs = ("provide", "--data", "fresh", "--network", up.network, "--yes")
    said = place.surge(*runs, code=6, env={"SURGE_CACHE": str(tmp_path / "cache")}).err
    assert len(re.findall(r"surge wallet send 0x[0-9a-f]{40} 1 --coin", said)) == 2
    assert "compiling" not in said


def ready(place: Place, *words: str | Path) -> None:
    """Run a role until it is ready."""
    with place.start(*words, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        finally:
            child.terminate()
            assert child.wait(60) == 0


def test_an_operator_describes_itself(place: Place, up: Up) -> None:
    operator = place.json("wallet", "show")[0]["address"]
    place.surge("network", "describe", "three laptops in Oslo")
    rows = [row for row in place.json("network", "members") if row["kind"] == "operator"]
    assert [(row["address"], row["metadata"]) for row in rows] == [(operator, "three laptops in Oslo")]
    assert f"{MAX_METADATA} bytes" in place.surge("network", "describe", "é" * 129, code=3).err


async def test_what_is_said_of_a_device_is_brought_up_to_date_once(chain: Chain) -> None:
    operator, device = await chain.buyer(tokens=0), KeySigner.random()
    ledger, network = chain.ledger, chain.network
    for region in ("oslo", "oslo", "bergen", "bergen"):
        await registry.register_device(ledger, network, operator, device, metadata(region=region))
        found = await ledger.device(device.address)
        assert found is not None
        assert (found.operator, json.loads(found.metadata)["region"]) == (operator.address, region)
    assert await ledger.device_nonce(device.address) == 2
    with pytest.raises(InvalidInput, match="works for"):
        await registry.register_device(ledger, network, await chain.buyer(tokens=0), device, "")
    with pytest.raises(NotEnough, match="--coin"):
        await registry.register_device(ledger, network, KeySigner.random(), KeySigner.random(), "")


async def test_a_device_that_is_named_lends_though_nothing_new_can_be_said_of_it(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    operator, device = await chain.buyer(tokens=0), KeySigner.random()
    await registry.register_device(chain.ledger, chain.network, operator, device, "old")
    await chain.embedded._rpc.call("anvil_setBalance", operator.address, "0x0")
    await registry.register_device(chain.ledger, chain.network, operator, device, "new")
    assert "too little of the chain's own coin" in capsys.readouterr().err
    found = await chain.ledger.device(device.address)
    assert found is not None
    assert found.metadata == "old"


async def test_a_relay_has_one_operator_and_who_parts_is_listed_no_more(chain: Chain) -> None:
    operator, relay, other = await chain.buyer(tokens=0), KeySigner.random(), await chain.buyer(tokens=0)
    ledger, network = chain.ledger, chain.network
    assert await ledger.relay(relay.address) is None
    for url in ("nats://a:1", "nats://a:1", "nats://b:2"):
        await registry.register_relay(ledger, network, operator, relay, url, "x")
    assert await ledger.relay_nonce(relay.address) == 2
    with pytest.raises(InvalidInput, match="already"):
        await registry.register_relay(ledger, network, other, relay, "nats://c:3", "x")
    with pytest.raises(NotEnough, match="--coin"):
        await registry.register_relay(ledger, network, KeySigner.random(), KeySigner.random(), "nats://c:3", "x")
    device = KeySigner.random()
    await registry.register_device(ledger, network, operator, device, "y")
    assert [(each.kind, each.url, each.metadata) for each in await ledger.members()] == [("relay", "nats://b:2", "x"), ("device", "", "y")]
    await ledger._calls.write(operator, "registry", "remove_relay", checksum(relay.address), purpose="a test")
    await ledger._calls.write(operator, "registry", "remove_device", checksum(device.address), purpose="a test")
    assert await ledger.members() == []


def test_what_is_too_long_is_left_out() -> None:
    said = metadata(engine="wasmtime", region="r" * 300)
    assert json.loads(said) == {"surge": surge.__version__, "engine": "wasmtime"}
    assert len(metadata(region="\u00e9" * 30).encode()) <= MAX_METADATA
