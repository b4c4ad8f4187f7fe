"""A relay that is paid on a real ledger, by a device that earned what it pays with; and the commands that do it."""

from __future__ import annotations

import json
import subprocess
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import surge
from buyer_functions import zeros
from cli_support import Place, Up, until
from network_support import COIN, Town
from surge.cli import carrying, registry
from surge.core import carriage as rules
from surge.provider.daemon import Provider
from surge.relay.server import RelayServer
from surge.wallet import Keystore

pytestmark = pytest.mark.timeout(300)

UP = {"providers": 0, "relays": 1}

PRICE = 10**15


class PaidTown(Town):
    """A town whose relay asks for pay, and whose device pays."""

    paid: Provider

    async def _relay(self, number: int, port: int) -> RelayServer:
        identity = Keystore(self.folder / "relays").load_or_create(f"relay{number}")
        server = RelayServer(self.folder / f"relay{number}", identity, port=port, metered=True)
        await server.__aenter__()
        return server

    async def begin(self) -> AsyncExitStack:
        """Begin to charge and to pay."""
        keys, stack = Keystore(self.folder / "relays"), AsyncExitStack()
        identity, operator = keys.load_or_create("relay0"), keys.load_or_create("operator")
        (server,), (device,) = self.relays, self.devices
        await self.ledger.transfer(self.treasury, operator.address, native=COIN)
        await registry.register_relay(self.ledger, self.network, operator, identity, server.url, "")
        charging = carrying.paid(
            server,
            network=self.network,
            ledger=self.ledger,
            identity=identity,
            operator=operator.address,
            gas=operator,
            price=PRICE,
            data=self.folder / "paid",
        )
        self.paid = await stack.enter_async_context(charging)
        self.paid.earnings._config = replace(self.paid.config, tokens_per_coin=0)  # gas costs nothing worth waiting for
        paying = carrying.paying(
            device.provider,
            network=self.network,
            ledger=self.ledger,
            relays=device.provider._relays,  # type: ignore[arg-type]
            device=device.key,
            wallet=device.operator,
            keys=Keystore(device.folder / "wallet"),
            data=device.folder / "relays",
            most=PRICE,
        )
        await stack.enter_async_context(paying)
        return stack


def test_a_device_pays_its_relay_out_of_what_it_earned(python_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_CACHE", str(python_cache))
    monkeypatch.setattr(rules, "FREE_WINDOW", 8 << 20)
    with PaidTown(tmp_path) as town:
        stack = town.call(town.begin())
        try:
            (device,) = town.devices
            assert town.call(town.ledger.token_balance(device.operator.address)) == 0, "joining takes no funds"
            with surge.connect(town.file) as network:
                big = network.map(zeros, [1 << 20] * 3)
                assert [len(each) for each in big] == [1 << 20] * 3
                town.call(device.provider.earnings.settle(last_chance=True))
                assert town.call(town.ledger.token_balance(device.operator.address)) > 0
                assert [len(each) for each in network.map(zeros, [1 << 20] * 8)] == [1 << 20] * 8
            until(lambda: any(row.amount for row in town.paid._journal.channels()), 60, "the device to pay")
            town.call(town.paid.earnings.settle(last_chance=True))
            (row,) = town.paid._journal.channels()
            state = town.call(town.ledger.channel(row.id))
            assert (state.buyer, state.device) == (device.operator.address, town.relays[0].identity)
            assert state.redeemed == row.amount > 0
            assert town.paid.tally.carried > 2 << 20
            assert town.paid.status()["carried"] == town.paid.tally.carried
        finally:
            town.call(stack.aclose())


def test_a_relay_with_a_price_names_itself_offers_and_stops_cleanly(place: Place, up: Up) -> None:
    runs = ("relay", "--data", "paid", "--port", "0", "--network", up.network, "--price", "0.001")
    place.surge(*_send_command(place.surge(*runs, code=6).err))
    with place.start(*runs, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            kept = place.work / "paid" / "paid" / "status.json"
            until(lambda: kept.is_file() and bool(json.loads(kept.read_text())["offer"]), 20, "the offer to stand")
        finally:
            child.terminate()
            assert child.wait(60) == 0
    assert "network" in place.surge("relay", "--price", "1", code=2).err


def _send_command(said: str) -> list[str]:
    return said[said.index("wallet send ") :].split("`")[0].split()
