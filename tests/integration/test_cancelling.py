"""Jobs that are cancelled from elsewhere: by another connection, and by `surge job cancel` in a process of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

import surge
from buyer_functions import turn
from cli_support import Place, jsonl, lines, until
from network_support import Town
from surge.cli.console import tokens

ROUNDS = 6_000_000
"""Some tenths of a second of work."""

SLOW = """
def slow(rounds):
    for _ in range(rounds):
        pass
    return rounds
"""

ENDLESS = """
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $n i64)
    (loop $again
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $again (i64.lt_u (local.get $n) (i64.const 8000000000))))))
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=2, relays=1) as town:
        yield town


@pytest.fixture(scope="module")
def place(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("cli"), python_image)
    (made.work / "work.py").write_text(SLOW)
    (made.work / "endless.wasm").write_bytes(wasmtime.wat2wasm(ENDLESS))
    jsonl(made.work / "in.jsonl", [ROUNDS] * 40)
    return made


def newest(town: Town) -> str:
    with surge.connect(town.file, offline=True) as network:
        return network.jobs()[0].id


def test_a_map_that_another_connection_cancels_raises_behind_what_is_there(town: Town) -> None:
    with surge.connect(town.file) as network, surge.connect(town.file, offline=True) as other:
        results = network.map(turn, [ROUNDS] * 60, chunk=1)
        assert next(results) == ROUNDS
        other.cancel(results.job)
        found: list[int] = []
        with pytest.raises(surge.Cancelled, match=rf"`surge job resume {results.job[:12]}`"):
            found.extend(results)
        assert len(found) < 59
        assert other.job(results.job).state == "cancelled"
        assert list(network.resume(results.job)) == [ROUNDS] * 60
        assert other.job(results.job).state == "done"
        with pytest.raises(surge.InvalidInput, match="is done"):
            other.cancel(results.job)


def test_a_map_that_its_own_network_cancels_by_name_raises_and_one_whose_reader_cancels_ends(town: Town) -> None:
    with surge.connect(town.file) as network:
        results = network.map(turn, [ROUNDS] * 60, chunk=1)
        next(results)
        network.cancel(results.job)
        with pytest.raises(surge.Cancelled):
            list(results)
        results = network.map(turn, [ROUNDS] * 60, chunk=1)
        next(results)
        results.cancel()
        assert len(list(results)) < 59


def test_calls_whose_job_another_connection_cancels_get_the_error_and_later_ones_a_job_of_their_own(town: Town) -> None:
    with surge.connect(town.file) as network, surge.connect(town.file, offline=True) as other:
        futures = [network.submit(turn, ROUNDS) for _ in range(60)]
        assert futures[0].result(60) == ROUNDS
        other.cancel(newest(town))
        ends = [each.exception(60) for each in futures]
        assert {type(each) for each in ends if each is not None} == {surge.Cancelled}
        assert network.submit(turn, 5).result(60) == 5


def test_a_run_whose_job_another_connection_cancels_raises(town: Town, place: Place) -> None:
    with surge.connect(town.file) as network, surge.connect(town.file, offline=True) as other:
        results = network.run_each(place.work / "endless.wasm", [surge.Run()])
        until(lambda: bool(other.job_log(results.job)) or other.job(results.job).spooled == 1, 60, "the run to begin")
        other.cancel(results.job)
        with pytest.raises(surge.Cancelled):
            next(results)


def test_surge_map_that_is_cancelled_ends_with_8_and_leaves_its_output_as_it_was(town: Town, place: Place) -> None:
    (place.work / "kept.jsonl").write_text("old")
    network = ("--network", town.file)
    words = ("map", "work.py:slow", "in.jsonl", "-o", "kept.jsonl", "--chunk", "1", *network)
    process = place.start(*words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    (job,) = re.findall(r"job ([0-9a-f]+)", process.stderr.readline())
    until(lambda: place.json("job", "show", job, *network)["done"] > 0, 60, "a result")
    place.surge("job", "cancel", job, *network)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 8, said
    assert "0 failed" not in said
    assert re.search(r"^so far [\d.]+ SURGE$", said, re.MULTILINE), said
    assert re.search(rf"^error: the job was cancelled .*`surge job resume {job[:12]}`", said, re.MULTILINE), said
    assert (place.work / "kept.jsonl").read_text() == "old"
    shown = place.json("job", "show", job, *network)
    assert shown["state"] == "cancelled"
    assert 0 < shown["done"] < 40
    place.surge("job", "resume", job, "-o", "kept.jsonl", *network)
    assert lines(place.work / "kept.jsonl") == [ROUNDS] * 40


def test_surge_run_that_is_cancelled_ends_with_8(town: Town, place: Place) -> None:
    network = ("--network", town.file)
    pipe = subprocess.PIPE
    process = place.start("run", *network, "endless.wasm", stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
    assert process.stderr is not None
    (job,) = re.findall(r"job ([0-9a-f]+)", process.stderr.readline())
    place.surge("job", "cancel", job, *network)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 8, said
    assert not out
    assert "the job was cancelled" in said
    assert "Traceback" not in said


def test_surge_map_that_is_terminated_tidies_up_and_says_how_to_go_on(town: Town, place: Place) -> None:
    (place.work / "whole.jsonl").write_text("old")
    network = ("--network", town.file)
    words = ("map", "work.py:slow", "in.jsonl", "-o", "whole.jsonl", "--chunk", "1", *network)
    process = place.start(*words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    (job,) = re.findall(r"job ([0-9a-f]+)", process.stderr.readline())
    until(lambda: place.json("job", "show", job, *network)["done"] > 0, 60, "a result")
    assert list(place.work.glob(".whole*"))
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert f"`surge job resume {job[:12]}` goes on with it" in said
    assert said.rstrip().endswith("terminated")
    shown = place.json("job", "show", job, *network)
    assert shown["state"] == "stopped"
    assert f"\nso far {tokens(shown['price'])}\n" in said
    assert (place.work / "whole.jsonl").read_text() == "old"
    assert not list(place.work.glob(".whole*"))
