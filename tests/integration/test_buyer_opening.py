"""A buyer killed while it opens a channel: the deposit is found again, or never left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import surge
from buyer_functions import add_one
from network_support import Town
from surge.provider.config import ProviderConfig
from surge.wallet import Keystore


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("opening")) as town:
        yield town


SCRIPT = """
    import os, signal, sys
    import surge, surge.ledger.chain
    from buyer_functions import add_one
    from surge.ledger.journal import Journal
    from surge.ledger.transactions import Sender

    def die(purpose, moment):
        if purpose.startswith("opening") and moment == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    add, broadcast, opened = Journal.add, Sender._broadcast, Sender.confirmed

    def killed_add(self, account, nonce, purpose, sign):
        die(purpose, "nothing written")
        return add(self, account, nonce, purpose, sign)

    async def killed_broadcast(self, sent):
        die(sent.purpose, "written")
        await broadcast(self, sent)
        die(sent.purpose, "sent")

    async def killed_confirmed(self, transaction, patience):
        die("opening", "mined")
        await opened(self, transaction, patience)

    Journal.add, Sender._broadcast, Sender.confirmed = killed_add, killed_broadcast, killed_confirmed
    with surge.connect(sys.argv[1]) as network:
        print(list(network.map(add_one, range(3))))
"""


def kill_while_opening(town: Town, moment: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(town.file), moment]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("moment", ["nothing written", "written", "sent", "mined"])
def test_a_buyer_killed_while_it_opens_a_channel_loses_no_deposit(town: Town, moment: str) -> None:
    buyer = Keystore(town.folder / "buyer" / "wallet").address("buyer")
    before = town.call(town.ledger.token_balance(buyer))
    with surge.connect(town.file) as network:
        known = {row["channel"] for row in network.channels()}
    kill_while_opening(town, moment)
    with surge.connect(town.file) as network:

        def new() -> list[dict[str, object]]:
            return [row for row in network.channels() if row["channel"] not in known]

        if moment == "nothing written":
            assert not new()
        else:
            until(lambda: [row["state"] for row in new()] == ["open"])
            assert town.call(town.ledger.token_balance(buyer)) == before - int(str(new()[0]["deposit"]))
        assert list(network.map(add_one, range(3))) == [1, 2, 3]
        (row,) = new()
        assert row["receipts"]
        network.close_channel(str(row["channel"]))
        assert new()[0]["state"] == "closed"
    after = town.call(town.ledger.token_balance(buyer))
    assert before - after < int(str(row["deposit"])) // 2


FLOOR = ProviderConfig().opening


@pytest.mark.parametrize(("budget", "channels"), [(FLOOR // 100, 0), (FLOOR * 5 // 2, 1), (FLOOR * 9 // 2, 2)])
def test_the_floors_of_channels_that_a_job_opens_are_within_its_budget(tmp_path: Path, budget: int, channels: int) -> None:
    with Town(tmp_path, providers=3) as town, surge.connect(town.file) as network:
        buyer = Keystore(town.folder / "buyer" / "wallet").address("buyer")
        before = town.call(town.ledger.token_balance(buyer))
        if channels:
            assert list(network.map(add_one, range(20), budget=budget)) == list(range(1, 21))
        else:
            with pytest.raises(surge.NotEnough, match=r"at least 0\.01 SURGE, its floor, .* give a budget of 0\.01 SURGE at least"):
                list(network.map(add_one, range(20), budget=budget))
            assert town.call(town.ledger.token_balance(buyer)) == before
        rows = network.channels()
        assert len(rows) == channels
        for row in rows:
            network.close_channel(str(row["channel"]))
        lost = before - town.call(town.ledger.token_balance(buyer))
        assert FLOOR * channels <= lost <= budget


def test_a_job_with_a_budget_uses_channels_that_are_open_first(tmp_path: Path) -> None:
    with Town(tmp_path, providers=2) as town, surge.connect(town.file) as network:
        other = max(network.offers(), key=lambda offer: str(offer["device"]))["device"]
        network.open_channel(other, 10**18)
        results = network.map(add_one, range(5), budget=FLOOR // 2)
        assert list(results) == [1, 2, 3, 4, 5]
        assert list(results.progress.units) == [other]
        assert len(network.channels()) == 1
