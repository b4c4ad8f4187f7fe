"""The public API over a real network: real chain, relay, providers, workers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from buyer_functions import add_one, broken, draw, draw_all, shout, shout_one, spin, turn, where
from network_support import Town
from surge.buyer.encoding import Run
from surge.core import values
from surge.wallet import Keystore


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=2, relays=2) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_map_gives_results_in_order(network: surge.Network) -> None:
    assert list(network.map(add_one, range(500))) == list(range(1, 501))


def test_an_exception_comes_with_the_guests_traceback_and_the_others_go_on(network: surge.Network) -> None:
    results = network.map(broken, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(surge.RemoteError, match="three is not for me") as caught:
        next(results)
    assert "in broken" in str(caught.value)
    assert list(results) == [4, 5]


def test_a_map_that_nobody_reads_any_more_stops(network: surge.Network) -> None:
    assert list(itertools.islice(network.map(add_one, itertools.count(), name="endless"), 10)) == list(range(1, 11))
    wait_until(lambda: network.jobs()[0].state != "running")
    entry = network.jobs()[0]
    assert (entry.name, entry.state) == ("endless", "stopped")
    assert 10 <= entry.done < 10_000


def test_results_do_not_depend_on_the_cut(network: surge.Network) -> None:
    items = [1, 1, 1, "x", None, 2.5] * 5
    wanted = list(network.map(draw, items, chunk=1, providers=1))
    assert len({entry[1] for entry in wanted}) == len(items)
    assert list(network.map(draw, items, chunk=7)) == wanted
    assert list(network.map(draw, items)) == wanted
    assert list(network.map(draw, items, seed=1)) != wanted


def test_results_are_the_same_bits_for_every_cut_and_any_number_of_providers(tmp_path: Path) -> None:
    items = ["same"] * 24
    with Town(tmp_path, providers=4, relays=1) as town, surge.connect(town.file) as network:

        def bits(**options: Any) -> tuple[list[bytes], int]:
            results = network.map(draw_all, items, **options)
            found = [values.dumps(value) for value in results]
            return found, sum(1 for provider in network.job_providers(results.job) if provider["units"])

        wanted, _ = bits(providers=4)
        assert len(set(wanted)) == len(items)
        singly = [bits(chunk=1, providers=4)]
        while singly[-1][1] < 4 and len(singly) < 20:  # until all four are set up
            singly.append(bits(chunk=1, providers=4))
        assert singly[-1][1] == 4
        assert all(found == wanted for found, _ in singly)
        assert bits(chunk=7, providers=4)[0] == wanted
        assert [bits(chunk=chunk, providers=1) for chunk in (1, 7, "auto")] == [(wanted, 1)] * 3


def test_files_are_read_under_job(network: surge.Network, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("hello")
    (names,) = network.map(where, [0], files=[tmp_path / "words.txt"])
    assert "words.txt" in names


def test_submit_and_the_executor_give_futures(network: surge.Network) -> None:
    future = network.submit(shout, "hello", twice=True)
    assert future.result(30) == "HELLOHELLO"
    assert isinstance(network.submit(broken, 3).exception(30), surge.RemoteError)
    with network.executor() as pool:
        assert list(pool.map(add_one, range(30))) == list(range(1, 31))


def test_calls_that_are_cancelled_are_neither_run_nor_waited_for(network: surge.Network) -> None:
    pool = network.executor(name="cancelled")
    futures = [pool.submit(spin, number) for number in range(400)]
    assert futures[0].result(60) == spin(0)
    pool.shutdown(cancel_futures=True)
    ran = [number for number, future in enumerate(futures) if not future.cancelled()]
    assert [futures[number].result(0) for number in ran] == [spin(number) for number in ran]
    assert len(ran) < 200
    wait_until(lambda: network.jobs()[0].state == "done")
    entry = network.jobs()[0]
    assert (entry.name, entry.done, entry.total) == ("cancelled", len(ran), len(ran))


def test_single_calls_are_done_when_the_network_is_closed(town: Town) -> None:
    with surge.connect(town.file) as network:
        pool = network.executor(name="later")
        future = pool.submit(add_one, 1)
        pool.shutdown(wait=False)
    assert future.result(0) == 2
    with surge.connect(town.file, offline=True) as network:
        entry = network.jobs()[0]
        assert (entry.name, entry.state, entry.done) == ("later", "done", 1)


def test_a_function_that_cannot_travel_is_refused_before_anything_is_spent(network: surge.Network) -> None:
    before = len(network.receipts())
    with pytest.raises(surge.InvalidInput, match="lambda"):
        network.map(lambda item: item, [1])
    with pytest.raises(surge.InvalidInput):
        network.submit(lambda: 1)
    with pytest.raises(surge.NotData, match=r"\['a'\]"):
        network.submit(shout, {"a": object()})
    assert len(network.receipts()) == before


ECHO = """
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.load (i32.const 8))))
"""
IMPORTS = """
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that writes its input and exits with its length."""
    import wasmtime

    path = tmp_path_factory.mktemp("module") / "echo.wasm"
    path.write_bytes(wasmtime.wat2wasm(f'(module {IMPORTS} (memory (export "memory") 1) {ECHO})'))
    return path


def test_a_command_runs_with_input_output_and_exit_code(network: surge.Network, echo: Path) -> None:
    result = network.run(echo, stdin=b"hello")
    assert (result.stdout, result.exit_code) == (b"hello", 5)
    assert result.price > 0
    assert network.receipt(result.receipt)["quantity"] == result.fuel
    assert network.run(echo).exit_code == 0


def test_many_runs_stream(network: surge.Network, echo: Path) -> None:
    runs = (Run(stdin=str(number).encode()) for number in range(50))
    assert [result.text for result in network.run_each(echo, runs)] == [str(number) for number in range(50)]


def test_something_that_is_no_module_is_refused(network: surge.Network, tmp_path: Path) -> None:
    (tmp_path / "not.wasm").write_bytes(b"hello")
    with pytest.raises(surge.InvalidInput, match="no WebAssembly"):
        network.run(tmp_path / "not.wasm")


def test_a_module_that_needs_what_the_sandbox_lacks_is_explained(network: surge.Network, tmp_path: Path) -> None:
    import wasmtime

    path = tmp_path / "wants.wasm"
    path.write_bytes(wasmtime.wat2wasm('(module (import "env" "socket" (func)) (memory (export "memory") 1) (func (export "_start")))'))
    with pytest.raises(surge.GuestFault, match="socket"):
        network.run(path)


def test_an_empty_match_says_what_excluded_how_many(network: surge.Network) -> None:
    with pytest.raises(surge.NoProvider, match="max_price excluded 2") as caught:
        list(network.map(add_one, [1], max_price=1))
    assert caught.value.details["excluded"] == {"max_price": 2}
    with pytest.raises(surge.NoProvider, match="region excluded 2"):
        list(network.map(add_one, [1], region="the moon"))


def test_a_budget_stops_the_job_and_is_not_exceeded(network: surge.Network) -> None:

    free = network.map(spin, range(4), chunk=1, providers=1)
    list(free)
    each = free.progress.price // 4
    budget = free.progress.price + 10 * each
    results = network.map(spin, range(1000), chunk=1, budget=budget, output=1 << 16, memory=256 << 20, providers=1)
    with pytest.raises(surge.NotEnough, match="budget"):
        list(results)
    assert 0 < results.progress.price <= budget


def test_check_rehearses_for_nothing_and_says_the_price(network: surge.Network) -> None:
    before = len(network.receipts())
    rehearsal = network.check(shout_one, "hello")
    assert rehearsal.value == "HELLO"
    assert rehearsal.price is not None
    assert len(network.receipts()) == before
    results = network.map(shout_one, ["hello"])
    list(results)
    units = [row for row in network.receipts(results.job) if row["kind"] == 1]
    assert [row["quantity"] for row in units] == [rehearsal.fuel]
    with pytest.raises(surge.RemoteError, match="three is not for me"):
        network.check(broken, 3)


def test_jobs_channels_and_offers_are_listed(network: surge.Network) -> None:
    results = network.map(add_one, range(5), name="five")
    list(results)
    entry = network.job(results.job[:12])
    assert (entry.name, entry.state, entry.done, entry.total) == ("five", "done", 5, 5)
    assert entry.price == results.progress.price > 0
    providers = network.job_providers(entry.id)
    assert sum(row["pay"] for row in providers) == entry.price
    assert network.job_log(entry.id)
    assert {row["device"] for row in network.channels()} == {row["device"] for row in network.offers()}


SCRIPT = """
import sys, surge
from buyer_functions import spin
with surge.connect(sys.argv[1]) as network:
    results = network.map(spin, list(range(60)), chunk=3, name="killed")
    print(results.job, flush=True)
    for value in results:
        print(value, flush=True)
"""


def test_a_buyer_killed_with_kill_9_goes_on_and_pays_for_nothing_twice(town: Town) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(town.file)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout is not None
    job = process.stdout.readline().strip()
    for _ in range(9):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    with surge.connect(town.file) as network:
        entry = network.job(job)
        assert entry.state == "stopped"
        accepted = [row["receipt"] for row in network.receipts(job)]
        assert list(network.resume(job)) == [spin(item) for item in range(60)]
        rows = network.receipts(job)
        assert {row["receipt"] for row in rows} > set(accepted)
        subjects = [network.receipt(row["receipt"])["subject"] for row in rows if row["kind"] == 1]
        assert len(subjects) == len(set(subjects))
        assert network.job(job).state == "done"


def test_a_network_that_was_closed_says_so(town: Town) -> None:
    with surge.connect(town.file) as network:
        pass
    for ask in (network.jobs, network.channels, lambda: network.submit(add_one, 1), lambda: network.map(add_one, [1])):
        with pytest.raises(surge.InvalidInput, match=r"closed: call surge\.connect"):
            ask()


def test_two_processes_on_one_wallet_use_channels_of_their_own(town: Town, network: surge.Network) -> None:
    results = network.map(add_one, range(10))
    list(results)
    with surge.connect(town.file) as other:
        others = other.map(add_one, range(10))
        assert list(others) == list(range(1, 11))
        mine, theirs = ({other.receipt(row["receipt"])["channel"] for row in other.receipts(job)} for job in (results.job, others.job))
        assert mine
        assert theirs
        assert not mine & theirs


def test_two_wallets_on_one_network_have_channels_and_jobs_of_their_own(
    town: Town, network: surge.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(network.map(add_one, range(4)))
    alice = Keystore(town.folder / "buyer" / "wallet").load_or_create("alice")
    town.call(town.ledger.transfer(town.treasury, alice.address, tokens=10**20, native=10**18))
    with surge.connect(town.file, wallet="alice") as hers:
        assert list(hers.map(add_one, range(4))) == [1, 2, 3, 4]
        channels = {row["channel"] for row in hers.channels()}
        assert channels
        assert len(hers.jobs()) == 1
        assert list(network.map(add_one, range(4))) == [1, 2, 3, 4]
        assert not channels & {row["channel"] for row in network.channels()}
        assert {row["state"] for row in [*hers.channels(), *network.channels()]} <= {"open", "closed"}
        assert hers.jobs()[0].id not in {job.id for job in network.jobs()}
    monkeypatch.setenv("SURGE_WALLET", "alice")
    with surge.connect(town.file, offline=True) as again:
        assert again.address == alice.address
        assert len(again.jobs()) == 1


def test_a_channel_with_a_unit_under_way_is_closed_together_once_it_has_ended(network: surge.Network) -> None:
    results = network.map(turn, [1, 60_000_000], chunk=1, providers=1)
    assert next(results) == 1
    (device,) = results.progress.units
    job = bytes.fromhex(results.job)
    asked = "SELECT 1 FROM tries WHERE job = ? AND number = 1"
    wait_until(lambda: bool(network._client.journal.read_now(asked, (job,))))
    del results
    rows = [row for row in network.channels() if row["device"] == device and row["state"] == "open"]
    closed = [network.close_channel(row["channel"]) for row in rows]
    assert {row["how"] for row in closed} == {"together"}, closed


def test_channels_are_closed_together_and_the_deposit_comes_back(town: Town, network: surge.Network) -> None:
    list(network.map(add_one, range(10)))
    rows = [network.close_channel(row["channel"]) for row in network.channels() if row["state"] == "open"]
    assert {row["how"] for row in rows} == {"together"}, rows
    assert {row["state"] for row in network.channels()} == {"closed"}
    start = time.monotonic()
    assert list(network.map(add_one, range(3))) == [1, 2, 3]
    assert time.monotonic() - start < 30
