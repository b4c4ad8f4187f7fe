"""Disputes and juror duty by way of the commands: an opener's, and a provider's that is a juror."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from court_town import STAKE, CourtTown
from network_support import COIN
from sandbox_support import HELLO, wat
from surge.cli.duty import juror_config
from surge.core.court import EMBEDDED, Outcome
from surge.errors import InvalidInput
from surge.provider.config import ProviderConfig
from surge.provider.juror import JurorConfig
from surge.wallet import Keystore

SURGE = [sys.executable, "-m", "surge.cli"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CourtTown]:
    with CourtTown(tmp_path_factory.mktemp("court"), jurors=4) as town:
        yield town


@pytest.fixture(scope="module")
def fifth(town: CourtTown) -> Iterator[str]:
    """The fifth juror: `surge provide --juror`. Gives its operator."""
    folder = town.folder / "fifth"
    keys = Keystore(folder / "wallet")
    device, operator = keys.create("device"), keys.create("operator")
    town.call(town.ledger.transfer(town.treasury, device.address, native=COIN))
    town.call(town.bond(operator, STAKE))
    log = (folder / "log").open("wb")
    command = [*SURGE, "provide", "--network", str(town.file), "--data", str(folder), "--yes", "--juror", "--price", "1000"]
    daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not town.call(town.ledger.court.enlistment_of(operator.address)):
            assert daemon.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield operator.address
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0, (folder / "log").read_text()
    finally:
        daemon.kill()
        daemon.wait()
        log.close()


def run(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*SURGE, *args], capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == code, done.stderr
    return done


def said(*args: str, code: int = 0) -> str:
    return run(*args, code=code).stdout


def receipt_of(town: CourtTown, tmp_path: Path) -> str:
    module = tmp_path / "hello.wasm"
    module.write_bytes(wat(HELLO))
    with surge.connect(town.file) as network:
        network.run(module, fuel=10**9, memory=1 << 20, deadline=30, providers=(town.accused.address,))
        return str(next(row["receipt"] for row in network.receipts(network.jobs()[0].id) if row["kind"] == 1))


def test_a_lie_is_disputed_listed_and_shown_with_a_daemon_on_the_jury(town: CourtTown, fifth: str, tmp_path: Path) -> None:
    town.accused.service.tell = lambda output: output.replace(b"hello", b"HELLO")
    receipt, place = receipt_of(town, tmp_path), ("--network", str(town.file))
    done = run("dispute", "open", receipt[:12], *place)
    told = done.stdout
    assert re.match(r"Opening the case deposits [\d.]+ SURGE: a bond of [\d.]+ SURGE, .* 5 jurors, [\d.]+ SURGE each", done.stderr)
    assert "a jury of up to 45 is called" in done.stderr
    assert "found what this wallet claimed" in told
    assert "SURGE came back" in told
    (row,) = json.loads(said("dispute", "list", "--json", *place))
    assert (row["receipt"], row["outcome"], row["state"]) == (receipt, Outcome.CONVICTED, "over")
    assert "convicted" in said("dispute", "list", *place)
    whole = json.loads(said("dispute", "show", receipt[:12], "--json", *place))
    assert fifth in [each["juror"] for each in whole["jurors"]]
    assert all(each["revealed"] for each in whole["jurors"])
    assert {each["vote"] for each in whole["jurors"]} == {"as claimed"}
    assert whole["bond"] == EMBEDDED.bond(whole["worth"])
    shown = said("dispute", "show", receipt[:12], *place)
    assert " deposited: a bond of " in shown
    assert shown.count("as claimed") == 5
    assert "the case is over" in said("dispute", "show", str(row["case"]), *place)
    assert town.call(town.ledger.court.owed(fifth)) + town.tokens_of(fifth) > 0


def test_losing_ends_with_code_1_and_a_claim_that_is_none_with_3(town: CourtTown, fifth: str, tmp_path: Path) -> None:
    town.accused.service.tell = None
    receipt, place = receipt_of(town, tmp_path), ("--network", str(town.file))
    said("dispute", "open", receipt, "--result", "00" * 31, "--fuel", "5", *place, code=3)
    said("dispute", "open", receipt, "--result", "11" * 32, *place, code=3)
    told: dict[str, Any] = json.loads(said("dispute", "open", receipt, "--result", "11" * 32, "--fuel", "5", "--json", *place, code=1))
    assert told["outcome"] == Outcome.ACQUITTED
    assert {each["vote"] for each in told["jurors"]} == {"as the receipt"}


def test_a_jurors_options_become_what_it_opts_in_to() -> None:
    none: dict[str, Any] = {"juror": False, "juror_only": False, "leave_jury": False, "seats": 1, "juror_memory": None, "juror_fuel": None}
    config = ProviderConfig(memory=256 << 20)
    assert juror_config(none, config) is None
    assert juror_config({**none, "juror": True}, config) == JurorConfig(memory=256 << 20)
    assert juror_config({**none, "juror": True, "seats": 3, "juror_memory": 1 << 20, "juror_fuel": 5}, config) == JurorConfig(3, 1 << 20, 5)
    assert juror_config({**none, "juror_only": True}, config) == JurorConfig(memory=256 << 20)
    assert juror_config({**none, "leave_jury": True}, config) == JurorConfig(0, 256 << 20)
    for wrong in (
        {"juror": True, "leave_jury": True},
        {"juror_only": True, "leave_jury": True},
        {"juror": True, "juror_memory": 512 << 20},
    ):
        with pytest.raises(InvalidInput):
            juror_config({**none, **wrong}, config)
