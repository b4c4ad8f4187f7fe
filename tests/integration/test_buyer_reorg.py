"""A chain that loses the blocks in which a channel was opened: anvil goes back to an earlier state under buyer and provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import surge
from buyer_functions import add_one
from network_support import Town
from surge.ledger import ChannelState, transactions
from surge.ledger.journal import Journal
from surge.wallet import Keystore

pytestmark = pytest.mark.timeout(120)


def until(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Loss:
    """What happened on a town's chain since this was made can be lost."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._before = self._rpc("evm_snapshot")

    def _rpc(self, *words: Any) -> Any:
        return self._town.call(self._town._chain._rpc.call(*words))

    def state(self, channel: str) -> ChannelState:
        return self._town.call(self._town.ledger.channel(bytes.fromhex(channel.removeprefix("0x"))))

    def happen(self, channel: str) -> None:
        """Lose the blocks; nothing is mined until it was seen that the channel is gone."""
        town = self._town

        async def stop() -> None:
            town._mining.cancel()
            await asyncio.gather(town._mining, return_exceptions=True)

        async def mine() -> None:
            town._mining = asyncio.create_task(town._chain.run())

        town.call(stop())
        assert self._rpc("evm_revert", self._before) is True
        assert not self.state(channel).exists
        town.call(mine())


def test_an_opening_that_the_chain_loses_is_sent_again_and_the_voucher_is_paid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Town(tmp_path) as town, surge.connect(town.file) as network:
        loss = Loss(town)
        buyer = Keystore(town.folder / "buyer" / "wallet").address("buyer")
        held = town.call(town.ledger.token_balance(buyer))
        assert list(network.map(add_one, range(5))) == [1, 2, 3, 4, 5]
        (row,) = network.channels()
        channel, earnings = row["channel"], town.devices[0].provider.earnings
        loss.happen(channel)
        town.call(earnings.settle(last_chance=True))
        assert "the ledger has lost the channel" in caplog.text
        assert earnings.waits_for == ""
        until(lambda: loss.state(channel).exists)
        assert loss.state(channel).deposit == row["deposit"]
        assert list(network.map(add_one, range(7))) == [1, 2, 3, 4, 5, 6, 7]
        (row,) = network.channels()
        assert row["channel"] == channel
        network.close_channel(channel)
        assert loss.state(channel).closed
        paid = held - town.call(town.ledger.token_balance(buyer))
        assert paid == loss.state(channel).redeemed == max(row["vouched"], row["floor"])


def test_an_opening_that_was_final_and_is_lost_all_the_same_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The buyer was away meanwhile. What it signs next would wait for ever for the nonces that the chain has free again."""
    monkeypatch.setattr(transactions, "FINAL_SECONDS", 0.0)
    with Town(tmp_path) as town:
        loss = Loss(town)
        with surge.connect(town.file) as network:
            assert list(network.map(add_one, range(5))) == [1, 2, 3, 4, 5]
            (row,) = network.channels()
            journal = Journal(network._client.home.transactions, town.network.chain_id)
            until(lambda: not journal.unfinished())
            journal.close()
        loss.happen(row["channel"])
        with surge.connect(town.file) as network:
            assert list(network.map(add_one, range(7))) == [1, 2, 3, 4, 5, 6, 7]
            assert "opening a channel" in caplog.text
            assert "which was final: it is sent again" in caplog.text
            assert loss.state(row["channel"]).deposit == row["deposit"]
            rows = network.channels()
            assert next(each["vouched"] for each in rows if each["channel"] == row["channel"]) >= row["vouched"]
            for each in rows:
                network.close_channel(each["channel"])
                assert loss.state(each["channel"]).redeemed == max(each["vouched"], each["floor"])
