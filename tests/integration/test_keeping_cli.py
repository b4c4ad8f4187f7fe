"""`surge storage`, as it is typed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from keeping_support import CODE, MIB, deals, shard_file, town_of
from network_support import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path / "town") as town:
        yield town


def started(town: Town, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "surge.cli", "storage", *args, "--network", str(town.file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})


def said(town: Town, *args: str, code: int = 0) -> str:
    process = started(town, *args)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    return out if code == 0 else err


def told(town: Town, *args: str) -> Any:
    return json.loads(said(town, *args, "--json"))


def test_what_is_stored_is_kept_from_the_command_line(town: Town, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(MIB)
    with surge.connect(town.file) as network:
        network.files.put(data, "scan.tif", code=CODE, segment_size=MIB)
        victim = deals(network, "scan.tif")[2]
    (row,) = told(town, "status")
    assert (row["name"], row["needed"], row["shards"], row["sound"], row["danger"]) == ("scan.tif", 3, 5, 5, "none")
    shard_file(town, victim).unlink()
    audits = {each["device"]: each for each in told(town, "audit", "scan.tif")}
    assert (audits[victim.device]["proved"], int(audits[victim.device]["paid"])) == ("0 of 1", 0)
    assert "does not have it" in audits[victim.device]["why"]
    assert "repair is due" in said(town, "status")
    assert [each["what"] for each in told(town, "repair")] == ["rebuilt"]
    works = told(town, "log", "scan.tif")
    assert [each["what"] for each in reversed(works)][:2] == ["lost", "rebuilt"]
    assert {each["name"] for each in works} == {"scan.tif"}
    assert "nothing is kept as 'no'" in said(town, "audit", "no", code=3)
    bundle = tmp_path / "bundle"
    made = told(town, "delegate", "--to", str(bundle), "--cap", "20")
    assert made["objects"] == 1
    keeper = started(town, "keep", "--delegate", str(bundle))
    assert keeper.stderr is not None
    assert keeper.stderr.readline().startswith("keeping; ")
    first = keeper.stderr.readline()
    assert "5 of 5 shards proved" in first, first
    assert "runs already" in said(town, "keep", "--delegate", str(bundle), code=3)
    assert [each["proved"] for each in told(town, "audit", "--delegate", str(bundle))] == ["1 of 1"] * 5, (
        "proved, and left to the keeper to pay"
    )
    keeper.send_signal(signal.SIGTERM)
    keeper.communicate(timeout=30)
    assert keeper.returncode == 0
    assert "SURGE" in said(town, "keep", "--delegate", str(bundle), "--end")
    assert "only a delegate" in said(town, "keep", "--end", code=2)
    assert "SURGE" in said(town, "undelegate")
