"""`surge up` on bad days: stops, kills of any part, restarts. Nothing is lost, nothing is left running, nobody pays twice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import surge
from cli_support import Place, Up, jsonl, lines, until

WORK = '''
"""A function that takes a while."""


def busy(x):
    total = 0
    for number in range(400_000):
        total = (total * 31 + number + x) % 1_000_003
    return [x, total]
'''

pytestmark = pytest.mark.timeout(600)


def expected(x: int) -> list[int]:
    total = 0
    for number in range(400_000):
        total = (total * 31 + number + x) % 1_000_003
    return [x, total]


ITEMS = list(range(60))
RESULTS = [expected(x) for x in ITEMS]


@pytest.fixture(scope="module")
def place(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("up"), python_image)
    (made.work / "work.py").write_text(WORK)
    jsonl(made.work / "in.jsonl", ITEMS)
    jsonl(made.work / "few.jsonl", [1, 2, 3])
    return made


@pytest.fixture(scope="module")
def whole(place: Place) -> Iterator[Up]:
    network = Up(place, place.folder / "net")
    try:
        yield network
    finally:
        network.end()


@pytest.fixture
def up(whole: Up) -> Up:
    """One network for all tests, with all its parts: whatever was done to it before, it comes back."""
    if not whole.running():
        whole.start()
    parts = [("ledger", 0), ("relay", 0), ("relay", 1), ("provide", 0), ("provide", 1)]
    until(lambda: all(whole.has(*part) for part in parts), 60, "every part to run")
    return whole


class Mapping:
    """A map under way in a process of its own, one item to a unit."""

    def __init__(self, place: Place, up: Up) -> None:
        self.up = up
        self._err = place.work / "err.txt"
        self.target = place.work / "out.jsonl"
        args = ("map", "work.py:busy", "in.jsonl", "-o", self.target, "--chunk", "1")
        with self._err.open("wb") as err:
            self.process = place.start(*args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
        self._job = ""
        until(self._named, 120, "the job to start")

    def _named(self) -> bool:
        assert self.process.poll() is None, self.said()
        if found := re.search(r"job ([0-9a-f]{8,})", self.said()):
            self._job = found[1]
        return bool(self._job)

    @property
    def job(self) -> str:
        return self._job

    def said(self) -> str:
        return self._err.read_text(errors="replace")

    def done(self) -> int:
        with surge.connect(self.up.network, offline=True) as network:
            return network.job(self.job).done

    def wait_for(self, count: int) -> None:
        """Wait until some items are done, while it still runs."""
        until(lambda: self.done() >= count, 180, f"{count} items")
        assert self.process.poll() is None, "the map was over before the test could disturb it"

    def finish(self) -> list[Any]:
        try:
            code = self.process.wait(240)
        finally:
            self.end()
        assert code == 0, self.said()
        return lines(self.target)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def mapping(place: Place, up: Up) -> Iterator[Callable[[], Mapping]]:
    started: list[Mapping] = []

    def start() -> Mapping:
        started.append(Mapping(place, up))
        return started[-1]

    yield start
    for each in started:
        each.end()


def balances(place: Place) -> Any:
    return place.json("wallet", "show")


def channels(place: Place) -> list[tuple[Any, ...]]:
    rows = place.json("channel", "list")
    return sorted((row["channel"], row["deposit"], row["vouched"], row["receipts"], row["state"]) for row in rows)


def asked(up: Up, job: str) -> set[tuple[int, bytes]]:
    """Every cut of the job that was ever asked for, with the channel it was asked in."""
    with contextlib.closing(sqlite3.connect(up.data / "buyer" / "buyer.db")) as journal:
        return set(journal.execute("SELECT number, channel FROM tries WHERE hex(job) LIKE ? AND number >= 0", (f"{job}%",)))


def accepted(up: Up, job: str) -> Counter[tuple[int, bytes]]:
    """How often each cut of the job was accepted in each channel."""
    query = (
        "SELECT tries.number, tries.channel FROM receipts JOIN tries ON tries.unit = receipts.subject AND tries.channel = receipts.channel "
        "WHERE hex(receipts.job) LIKE ? AND receipts.kind = 1 AND receipts.accepted"
    )
    with contextlib.closing(sqlite3.connect(up.data / "buyer" / "buyer.db")) as journal:
        return Counter(journal.execute(query, (f"{job}%",)))


def assert_paid_once(up: Up, job: str, units: int) -> None:
    """Each unit of the job was accepted, and by no provider twice: a second copy elsewhere, of a straggler, is an honest debt."""
    found = accepted(up, job)
    assert max(found.values()) == 1
    assert {number for number, _ in found} == set(range(units))
    with surge.connect(up.network, offline=True) as network:
        subjects = Counter((row["device"], network.receipt(row["receipt"])["subject"]) for row in network.receipts(job) if row["accepted"])
    assert max(subjects.values()) == 1


# Orderly stops


def test_sigterm_stops_everything_and_a_restart_finds_it_all(place: Place, up: Up) -> None:
    place.surge("map", "work.py:busy", "few.jsonl", "-o", "few.out")
    network, before, money = place.json("network", "show"), channels(place), balances(place)
    processes = up.family()
    assert len(processes) > 7  # itself, ledger and anvil, two relays and their servers, two providers
    assert before

    assert up.stop() == 0
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert place.surge("job", "list", code=3).err.startswith("error: no network to join")
    for args in (("wallet", "show"), ("channel", "list"), ("map", "work.py:busy", "few.jsonl")):
        said = place.surge(*args, "--network", up.network, code=4, timeout=9).err
        assert f"`surge up --data {up.data}` starts it again" in said
    assert place.json("earnings", "--data", up.data)
    with surge.connect(up.network, offline=True) as network_at_rest:
        assert network_at_rest.jobs()

    up.start()
    assert place.json("network", "show") == network
    assert balances(place) == money
    assert channels(place) == before
    place.surge("map", "work.py:busy", "few.jsonl", "-o", "again.out")
    assert lines(place.work / "again.out") == [expected(x) for x in (1, 2, 3)]
    assert {row[0] for row in channels(place)} == {row[0] for row in before}  # no deposit was made anew


def test_a_close_without_the_provider_says_why_and_when_the_rest_returns(place: Place, up: Up) -> None:
    provider = up.child("provide", 0)
    device = json.loads((up.data / "providers" / "0" / "wallet" / "device.json").read_text())["address"]
    opened = place.json("channel", "open", device, "5")["channel"].removeprefix("0x")
    provider.suspend()
    try:
        said = place.surge("channel", "close", opened)
    finally:
        provider.resume()
    assert re.search(f"{opened[:12]} is closed alone, for .*{device}", said.err), said.err
    row = next(row for row in place.json("channel", "list") if row["channel"] == opened)
    assert row["state"] == "closing"
    assert row["returns_at"] > time.time()
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["returns_at"]))
    assert when in said.err
    assert f"close it again after {when}" in place.surge("channel", "close", opened, code=4).err
    rest = next(each for each in place.json("channel", "close", "--all") if each["channel"] == opened)
    assert (rest["how"], rest["returns_at"]) == ("not yet: closing", row["returns_at"])


def test_a_port_that_is_taken_is_said(place: Place, tmp_path: Path) -> None:
    data = tmp_path / "taken"
    data.mkdir()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        plan: dict[str, Any] = {"relays": 0, "providers": 0, "cores": 1, "memory": 1 << 30, "ledger_port": port, "relay_ports": []}
        (data / "plan.json").write_text(json.dumps(plan))
        said = place.surge("up", "--data", data, code=4)
    assert str(port) in said.err
    assert "Traceback" not in said.err.partition("ended with code")[0]
    assert not any(str(data) in " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def test_a_second_network_in_the_same_folder_is_refused_and_harms_nothing(place: Place, up: Up) -> None:
    before = up.family()
    assert "runs in" in place.surge("up", "--data", up.data, code=3).err
    assert all(process.is_running() for process in before)
    assert place.json("channel", "list") is not None


def test_a_damaged_plan_is_said(place: Place, tmp_path: Path) -> None:
    data = tmp_path / "damaged"
    data.mkdir()
    whole = {"relays": 1, "providers": 1, "cores": 1, "memory": 1 << 30, "ledger_port": 1, "relay_ports": [2]}
    wrong = [{**whole, "relays": "many"}, {**whole, "relay_ports": []}, {**whole, "ledger_port": -1}, {**whole, "more": 1}, {"relays": 1}]
    for text in ("{", "[]", *map(json.dumps, wrong)):
        (data / "plan.json").write_text(text)
        assert "plan.json is damaged" in place.surge("up", "--data", data, code=3).err


# Kills


def test_a_kill_of_surge_up_leaves_nothing_running_and_a_restart_finds_it_all(place: Place, up: Up) -> None:
    place.surge("map", "work.py:busy", "few.jsonl", "-o", "few.out")
    before = channels(place)
    up.kill()
    until(lambda: not up.left(), 60, "what surge up started to end with it")
    up.start()
    assert channels(place) == before
    place.surge("map", "work.py:busy", "in.jsonl", "-o", "out.jsonl")
    assert lines(place.work / "out.jsonl") == RESULTS


def test_a_kill_of_every_process_at_once_costs_nobody(place: Place, up: Up, mapping: Callable[[], Mapping]) -> None:
    under_way = mapping()
    under_way.wait_for(4)
    up.kill_all()
    under_way.end()
    up.start()
    said = place.surge("job", "resume", under_way.job, "-o", "resumed.jsonl", timeout=300)
    assert lines(place.work / "resumed.jsonl") == RESULTS, said.err
    assert_paid_once(up, under_way.job, len(ITEMS))


def test_a_provider_killed_in_the_middle_of_a_map(place: Place, up: Up, mapping: Callable[[], Mapping]) -> None:
    under_way = mapping()
    under_way.wait_for(4)
    killed = up.child("provide", 0)
    killed.kill()
    assert under_way.finish() == RESULTS
    assert_paid_once(up, under_way.job, len(ITEMS))
    until(lambda: up.has("provide", 0), 60, "the provider to be started again")
    assert up.child("provide", 0).pid != killed.pid


def test_a_relay_killed_in_the_middle_of_a_map_and_then_both(place: Place, up: Up, mapping: Callable[[], Mapping]) -> None:
    under_way = mapping()
    under_way.wait_for(4)
    up.child("relay", 0).kill()
    assert under_way.finish() == RESULTS
    assert_paid_once(up, under_way.job, len(ITEMS))

    until(lambda: up.has("relay", 0), 60, "the relay to be started again")
    again = mapping()
    again.wait_for(4)
    for index in (0, 1):
        up.child("relay", index).kill()
    assert again.finish() == RESULTS
    assert_paid_once(up, again.job, len(ITEMS))


def test_the_ledger_killed_in_the_middle_of_a_map(place: Place, up: Up, mapping: Callable[[], Mapping]) -> None:
    under_way = mapping()
    under_way.wait_for(4)
    killed = up.child("ledger")
    killed.kill()
    assert under_way.finish() == RESULTS
    assert_paid_once(up, under_way.job, len(ITEMS))
    until(lambda: up.has("ledger") and up.child("ledger").pid != killed.pid, 60, "the ledger to be started again")
    place.surge("map", "work.py:busy", "in.jsonl", "-o", "out.jsonl")
    assert lines(place.work / "out.jsonl") == RESULTS


def test_a_buyer_killed_in_a_map_resumes_and_pays_for_nothing_twice(place: Place, up: Up, mapping: Callable[[], Mapping]) -> None:
    under_way = mapping()
    under_way.wait_for(6)
    os.kill(under_way.process.pid, signal.SIGKILL)
    under_way.process.wait(10)
    had, before = accepted(up, under_way.job), asked(up, under_way.job)
    finished = {number for number, _ in had}
    assert 0 < len(finished) < len(ITEMS)

    place.surge("job", "resume", under_way.job, "-o", "resumed.jsonl", timeout=300)
    assert lines(place.work / "resumed.jsonl") == RESULTS
    assert_paid_once(up, under_way.job, len(ITEMS))
    rows = place.json("receipt", "list", "--job", under_way.job)
    assert had <= accepted(up, under_way.job)  # what was accepted before stands
    assert not {number for number, _ in asked(up, under_way.job) - before} & finished  # and was never asked for again
    place.surge("job", "resume", under_way.job, "-o", "once more.jsonl")  # a finished job only shows its results
    assert len(place.json("receipt", "list", "--job", under_way.job)) == len(rows)
