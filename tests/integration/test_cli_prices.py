"""What the command line says that work costs, against one real network."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import wasmtime

from cli_support import Place, Up, jsonl
from surge.cli.console import tokens

SLOW_SETUP = """
LIMIT = sum(range(3_000_000))


def add(x):
    return x + LIMIT


def told(x):
    print("told", x)
    return {"bytes": b"\\x01", "inverse": 1 / x}
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def place(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("cli"), python_image)
    (made.work / "work.py").write_text(SLOW_SETUP)
    (made.work / "ends.wasm").write_bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))'))
    return made


def last_price(said: str) -> str:
    """The last line on standard error that is a price, without what stands before it."""
    return re.findall(r"^(?:.*, )?([\d.,]+ SURGE)$", said, re.MULTILINE)[-1]


def test_the_price_at_the_end_is_the_one_that_is_listed(place: Place, up: Up) -> None:
    """Also where a provider ends the job's setup when the last result is there."""
    said = place.surge("map", "work.py:add", jsonl(place.work / "one.jsonl", [1])).err
    job = place.json("job", "list")[0]
    assert sum(each["units"] for each in place.json("job", "show", job["job"])["providers"]) == 1
    assert len(place.json("job", "show", job["job"])["providers"]) == 2, "both set it up"
    assert f"\n1 item, 0 failed, {tokens(job['price'])}\n" in said
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


def test_times_are_unix_seconds_in_json_and_local_for_people(place: Place, up: Up) -> None:
    place.surge("map", "work.py:add", jsonl(place.work / "two.jsonl", [1, 2]), "--chunk", "1")
    job = place.json("job", "list")[0]
    shown = place.json("job", "show", job["job"])
    times = [job["created"], shown["created"], *(event["time"] for event in place.json("job", "logs", job["job"]))]
    times += [row["finished"] for row in place.json("receipt", "list")]
    assert len(times) > 3
    assert all(abs(time.time() - each) < 3600 for each in times)
    assert all(row["returns_at"] == 0 for row in place.json("channel", "list"))
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["created"]))
    for said in (place.surge("job", "list"), place.surge("job", "show", job["job"])):
        assert local in said.text


def test_a_rehearsal_gives_the_result_and_the_price_for_nothing(place: Place, up: Up) -> None:
    jobs, spent = place.json("job", "list"), place.json("wallet", "show")[0]["surge"]
    said = place.surge("check", "work.py:told", "-4")
    assert json.loads(said.text) == {"bytes": "0x01", "inverse": -0.25}
    match = re.fullmatch(
        r"told -4\n"
        r"an item: ([\d.]+) gigafuel, 0\.\d{3} s here, ([\d.]+ SURGE)\n"
        r"setup: ([\d.]+) gigafuel, \d+\.\d{3} s here, ([\d.]+ SURGE) on each provider that runs it\n",
        said.err,
    )
    assert match, said.err
    found = place.json("check", "work.py:told", "-4")
    assert found["value"] == {"bytes": "0x01", "inverse": -0.25}
    assert (found["stdout"], found["stderr"]) == ("told -4\n", "")
    assert match.groups() == (f"{found['fuel'] / 1e9:.6f}".rstrip("0"), tokens(found["price"]),
        f"{found['setup_fuel'] / 1e9:.6f}".rstrip("0"), tokens(found["setup_price"]))  # fmt: skip
    assert len(found["offers"]) == 2
    assert min(found["offers"].values()) == found["price"]
    assert place.json("check", "work.py:told", "-4", "--max-price", "1wei")["price"] is None
    assert place.json("job", "list") == jobs
    assert place.json("wallet", "show")[0]["surge"] == spent

    said = place.surge("check", "work.py:told", "0", code=1)
    assert "ZeroDivisionError" in said.err
    assert not said.text
    assert "--fuel" in place.surge("check", "work.py:told", "1", "--fuel", "1k", code=1).err
    for wrong, part in (("nobody", "is not JSON"), ("", "is not JSON")):
        assert part in place.surge("check", "work.py:told", wrong, code=3).err
    assert "cube" in place.surge("check", "work.py:cube", "1", code=3).err


def test_a_rehearsal_needs_no_network_that_runs(place: Place, up: Up) -> None:
    up.stop()
    said = place.surge("check", "work.py:told", "2", "--network", up.network)
    assert json.loads(said.text)["inverse"] == 0.5
    assert said.err.count("no price: nobody offers work now") == 2
