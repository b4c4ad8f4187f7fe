"""What the command line says that work costs, against one real network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from cli_support import Place, Up, jsonl
from surge.cli.console import tokens

SLOW_SETUP = """
LIMIT = sum(range(3_000_000))


def add(x):
    return x + LIMIT


def inverse(x):
    return 1 / x
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def place(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("cli"), python_image)
    (made.work / "work.py").write_text(SLOW_SETUP)
    (made.work / "ends.wasm").write_bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))'))
    return made


@pytest.fixture(scope="module")
def up(place: Place) -> Iterator[Up]:
    network = Up(place, place.folder / "net")
    try:
        network.start()
        yield network
    finally:
        network.end()


def last_price(said: str) -> str:
    """The last line on standard error that is a price, without what stands before it."""
    return re.findall(r"^(?:.*, )?([\d.,]+ SURGE)$", said, re.MULTILINE)[-1]


def test_the_price_at_the_end_is_the_one_that_is_listed(place: Place, up: Up) -> None:
    """Also where a provider ends the job's setup when the last result is there."""
    said = place.surge("map", "work.py:add", jsonl(place.work / "one.jsonl", [1])).err
    job = place.json("job", "list")[0]
    assert sum(each["units"] for each in place.json("job", "show", job["job"])["providers"]) == 1
    assert len(place.json("job", "show", job["job"])["providers"]) == 2, "both set it up"
    assert f"\n1 items, 0 failed, {tokens(job['price'])}\n" in said
    floors = sum(max(0, row["floor"] - row["vouched"]) for row in place.json("channel", "list"))
    assert floors > 0
    assert f"\nthe channels opened for it pay {tokens(floors)} more if they close now, as floors" in said

    said = place.surge("job", "resume", job["job"]).err
    assert place.json("job", "list")[0]["price"] == job["price"]
    assert last_price(said) == tokens(job["price"])

    said = place.surge("run", "ends.wasm").err
    run = place.json("job", "list")[0]
    assert run["name"] == "ends.wasm"
    assert said == f"job {run['job']}\n{tokens(run['price'])}\n"
    assert last_price(place.surge("job", "resume", run["job"]).err) == tokens(run["price"])
