"""The Python guest, in the real sandbox: the same bits however items are cut, faults that stay where they belong, setups that are kept."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from surge.core import canonical, values
from surge.core.units import Limits, Status, result_hash, split_output
from surge.errors import GuestFault
from surge.sandbox import Execution, Sandbox
from surge.sandbox.python_jobs import PythonJobs

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = b"s" * 32
LIMITS = Limits(memory=256 << 20, fuel=40 * 10**9)

WORK = """
import random, secrets, sys, time, uuid, os
import surge
from surge import Network, connect

net = surge.Network

def draw(item):
    return [item, random.random(), random.gauss(0, 1), secrets.token_hex(8), str(uuid.uuid4()), str(uuid.uuid1()),
            time.time(), time.monotonic_ns(), os.urandom(4), random.sample(range(100), 3), hash("text")]

def numpy_draw(item):
    import numpy as np
    return [float(np.random.rand()), int(np.random.default_rng().integers(1 << 30)), np.random.normal(size=3)]

def square(item):
    print("squaring", item)
    return item * item

def add(a, b=1):
    return a + b

def faulty(item):
    if item == "raise": raise ValueError("no good", 5)
    if item == "exit": sys.exit(3)
    if item == "recurse": return faulty(item)
    if item == "object": return [1, object()]
    if item == "lambda": return lambda: 1
    if item == "memory": return len(bytearray(1 << 30))
    if item == "surrogate": raise RuntimeError("\\ud800")
    if item == "interrupt": raise KeyboardInterrupt
    return item

def abort(item):
    os.abort()

def forever(item):
    while True:
        pass

def remembered(item, seen=[]):
    seen.append(item)
    return len(seen)

def touch(item):
    connect()
"""


class Guest:
    """A sandbox and bundles in it."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder

    def bundle(self, text: str) -> tuple[bytes, Path]:
        """A bundle of one module called `work`."""
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.zip"
        if not path.exists():
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(zipfile.ZipInfo("work.py"), text)
        return hashlib.sha256(path.read_bytes()).digest(), path

    async def setup(self, text: str, limits: Limits = LIMITS) -> Execution:
        return await self.sandbox.python.setup(*self.bundle(text), SETUP, limits)

    async def unit(self, name: str, items: list[Any], *, first: int = 0, jobs: PythonJobs | None = None, **options: Any) -> Execution:
        """One unit of `WORK`, or of `text`."""
        entry = canonical.encode([name, options.get("style", 0), first, options.get("seed", SEED)])
        bundle = self.bundle(options.get("text", WORK))
        return await (jobs or self.sandbox.python).run(*bundle, SETUP, entry, values.dumps(items), options.get("limits", LIMITS))

    async def results(self, name: str, items: list[Any], **options: Any) -> list[Any]:
        ran = await self.unit(name, items, **options)
        assert ran.outcome.status is Status.FINISHED, (ran.detail, split(ran).stderr)
        found = values.loads(split(ran).value)
        assert isinstance(found, list)
        return found


SETUP = canonical.encode({"module": "work"})


def split(ran: Execution) -> Any:
    return split_output(ran.outcome, ran.output.read())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guest]:
    folder = tmp_path_factory.mktemp("guest")
    code = folder / "cache" / "code" / python_image.parent.name
    code.mkdir(parents=True, mode=0o700)
    try:
        os.link(python_image, code / python_image.name)
    except OSError:
        shutil.copy2(python_image, code / python_image.name)
    sandbox = Sandbox(folder / "cache", workers=2, memory=3 << 30)
    await sandbox.start()
    try:
        yield Guest(sandbox, folder)
    finally:
        await sandbox.close()


@pytest.mark.parametrize("name", ["draw", "numpy_draw"])
async def test_results_are_the_same_bits_however_items_are_cut(guest: Guest, name: str) -> None:
    items = [5] * 20
    whole = await guest.results(name, items)
    assert all(each[0] == "ok" for each in whole), whole[0]
    for size in (1, 7):
        cut: list[Any] = []
        for first in range(0, 20, size):
            cut += await guest.results(name, items[first : first + size], first=first)
        assert values.dumps(cut) == values.dumps(whole)
    drawn = [values.dumps(each[1][1:6] if name == "draw" else each[1]) for each in whole]
    assert len(set(drawn)) == 20
    assert values.dumps(await guest.results(name, items[:1], seed=b"t" * 32)) != values.dumps(whole[:1])


async def test_a_private_mapping_and_a_plain_copy_give_the_same(guest: Guest) -> None:
    jobs = guest.sandbox.python
    mapped = await guest.unit("draw", [1, 2, 3])
    try:
        jobs._private = False
        copied = await guest.unit("draw", [1, 2, 3])
    finally:
        jobs._private = True
    assert result_hash(copied.outcome) == result_hash(mapped.outcome)
    assert copied.outcome.fuel == mapped.outcome.fuel
    assert copied.output.read() == mapped.output.read()


async def test_every_unit_starts_from_the_setup_and_not_from_another_unit(guest: Guest) -> None:
    for _ in range(3):
        assert await guest.results("remembered", [1, 2]) == [["ok", 1], ["ok", 2]]


async def test_keyword_style_standard_output_and_the_fuel_of_equal_units(guest: Guest) -> None:
    assert await guest.results("add", [((1,), {}), ((1,), {"b": 5})], style=1) == [["ok", 2], ["ok", 6]]
    one, two = [await guest.unit("square", [3, 4]) for _ in range(2)]
    assert split(one).stdout == b"squaring 3\nsquaring 4\n"
    assert one.outcome == two.outcome


async def test_a_fault_stays_with_its_item(guest: Guest) -> None:
    items = ["fine", "raise", "exit", "recurse", "object", "lambda", "memory", "surrogate", "interrupt", "fine"]
    found = await guest.results("faulty", items)
    assert [each[0] for each in found] == ["ok", *["error"] * 8, "ok"]
    kinds = [each[1] for each in found[1:-1]]
    assert kinds == [
        "ValueError",
        "SystemExit",
        "RecursionError",
        "ValueRefused",
        "ValueRefused",
        "MemoryError",
        "RuntimeError",
        "KeyboardInterrupt",
    ]
    assert "no good" in found[1][2]
    assert 'work.py", line' in found[1][3]
    assert "raise ValueError" in found[1][3]
    assert "value[1]" in found[4][2]


async def test_an_abort_traps_and_is_billed_the_limit(guest: Guest) -> None:
    ran = await guest.unit("abort", [1])
    assert (ran.outcome.status, ran.outcome.fuel) == (Status.TRAPPED, LIMITS.fuel)
    again = await guest.unit("abort", [1])
    assert result_hash(again.outcome) == result_hash(ran.outcome)
    assert await guest.results("square", [2]) == [["ok", 4]]


async def test_a_loop_without_end_runs_out_of_fuel(guest: Guest) -> None:
    limits = Limits(memory=256 << 20, fuel=2 * 10**9)
    ran = await guest.unit("forever", [1], limits=limits)
    assert (ran.outcome.status, ran.outcome.fuel) == (Status.OUT_OF_FUEL, limits.fuel)
    assert await guest.results("square", [2]) == [["ok", 4]]


async def test_surge_does_nothing_inside(guest: Guest) -> None:
    (found,) = await guest.results("touch", [1])
    assert found[:2] == ["error", "RuntimeError"]
    assert "__main__" in found[2]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kept = open('/job/work.py')", b"/job/work.py"),
        ("import sys; raise LookupError('not here')", b"LookupError: not here"),
        ("import sys; sys.exit(4)", b""),
        ("import nothing_of_this_name", b"ModuleNotFoundError"),
        ("def broken(:", b"SyntaxError"),
    ],
)
async def test_a_setup_that_fails_says_why_and_leaves_no_snapshot(guest: Guest, text: str, complaint: bytes) -> None:
    ran = await guest.setup(text)
    assert ran.outcome.status is Status.EXITED
    assert ran.outcome.state == b""
    assert complaint in split(ran).stderr
    assert guest.sandbox.python.snapshot(guest.bundle(text)[0], SETUP) is None
    with pytest.raises(GuestFault, match="setup ended as EXITED"):
        await guest.unit("f", [1], text=text)


async def test_two_sandboxes_make_the_same_state(guest: Guest) -> None:
    text = "import random, uuid, time, secrets\n"
    text += "kept = [random.random(), str(uuid.uuid4()), time.time(), secrets.token_hex(), {'a', 'b', 'c'}]\n"
    jobs = guest.sandbox.python
    first = await guest.setup(text)
    assert first.outcome.status is Status.FINISHED, split(first).stderr
    assert hashlib.sha256(jobs.file(guest.bundle(text)[0], SETUP).read_bytes()).digest() == first.outcome.state
    seconds = await asyncio.gather(*(guest.setup(text) for _ in range(2)))  # in two workers, which are two processes
    assert {each.outcome.state for each in seconds} == {first.outcome.state}
    assert {each.outcome.fuel for each in seconds} == {first.outcome.fuel}


async def test_a_snapshot_that_went_is_made_again(guest: Guest) -> None:
    before = await guest.unit("draw", [1])
    bundle = guest.bundle(WORK)[0]
    kept = guest.sandbox.python.snapshot(bundle, SETUP)
    assert kept is not None
    guest.sandbox.python.file(bundle, SETUP).unlink()
    assert guest.sandbox.python.snapshot(bundle, SETUP) is None
    after = await guest.unit("draw", [1])
    assert after.outcome == before.outcome
    assert guest.sandbox.python.snapshot(bundle, SETUP) == kept


async def test_many_items_and_a_large_result(guest: Guest) -> None:
    found = await guest.results("add", [((number,), {}) for number in range(3000)], style=1)
    assert found == [["ok", number + 1] for number in range(3000)]
