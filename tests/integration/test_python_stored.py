"""Stored files in the guest: what a unit is given it reads, the same everywhere; what is lacking or damaged proves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from python_support import SEED, Job, Make
from sandbox_support import pieces
from surge.core import canonical, values
from surge.core.storage.stored import StoredName, StoredPart
from surge.core.units import WORLD, Limits, Status, UnitSpec
from surge.errors import InvalidInput
from surge.sandbox.again import run_unit

SOURCE = """
import os
def read(path):
    with open(path, "rb") as file:
        file.seek(2)
        return file.read(3), os.path.getsize(path), sorted(os.listdir(os.path.dirname(path))), sorted(os.listdir("/job"))
def reads(paths): return [read(path)[0] for path in paths]
def opened(paths):
    files = [open(path, "rb") for path in paths]
    return [file.read() for file in files]
"""
OBJECT = bytes(range(32))


def part(data: bytes, name: str = "a.bin", offset: int = 0) -> StoredPart:
    return StoredPart(OBJECT, 1000, offset, len(data), name)


def file(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.stored"
    path.write_bytes(data)
    return path


def entry(function: str, *parts: StoredPart) -> bytes:
    return canonical.encode([function, 0, 0, SEED, [each.fields() for each in parts]])


async def run(job: Job, said: bytes, items: Any, *stored: Path) -> Any:
    return await job.sandbox.python.run(job.bundle, job.file, job.description, said, values.dumps(items), Limits(), stored=stored)


def named(one: StoredPart) -> StoredName:
    return StoredName(one.name, lambda _: one)


async def test_a_unit_reads_its_files_with_the_same_fuel_wherever_they_lie(make: Make, tmp_path: Path) -> None:
    job, data = make(SOURCE, {"note.txt": "a file of the bundle"}), b"abcdefgh"
    one = part(data)
    first = await run(job, entry("read", one), [named(one)], file(tmp_path, data))
    second = await run(job, entry("read", one), [named(one)], file(tmp_path, data))
    assert first.outcome == second.outcome
    ((mark, value),) = values.loads(pieces(first).value)
    assert (mark, value) == ("ok", (b"cde", 8, ["a.bin"], ["entry.py", "note.txt"]))
    plain = await job.values("reads", [[]])
    assert plain == [[]], "the next unit of the same worker has none"
    assert (await job.results("read", [one.path]))[0][1] == "FileNotFoundError"


async def test_as_many_files_as_a_unit_may_read_are_open_at_once(make: Make, tmp_path: Path) -> None:
    job = make(SOURCE)
    parts = [part(b"%d" % number, f"f/{number}", offset=number) for number in range(8)]
    said, files = entry("opened", *parts), [file(tmp_path, b"%d" % number) for number in range(8)]
    for _ in range(8):
        ran = await run(job, said, [[named(each) for each in parts]], *files)
        assert values.loads(pieces(ran).value) == [["ok", [b"%d" % number for number in range(8)]]]
        files = [file(tmp_path, b"%d" % number) for number in range(8)]


async def test_what_is_lacking_or_damaged_here_is_a_local_ending(make: Make, tmp_path: Path) -> None:
    job, one = make(SOURCE), part(b"abcdefgh")
    for files in ([], [file(tmp_path, b"abcdefg")], [file(tmp_path, b"abcdefgh"), file(tmp_path, b"abcdefgh")]):
        ran = await run(job, entry("read", one), [named(one)], *files)
        assert ran.outcome.status is Status.WORKER_LOST
        assert "not on this device, or damaged" in ran.detail


@pytest.mark.parametrize("listed", [[], [[OBJECT, 1000, 0, 8, "../../a"]], [[OBJECT, 5, 0, 8, "a"]], 7])
async def test_an_entry_that_lists_no_files_of_an_object_is_read_by_nobody(make: Make, tmp_path: Path, listed: Any) -> None:
    ran = await run(make(SOURCE), canonical.encode(["read", 0, 0, SEED, listed]), [1], file(tmp_path, b"abcdefgh"))
    assert ran.outcome.status is Status.TRAPPED
    assert "the entry cannot be read" in ran.detail


async def test_who_has_no_way_to_read_the_files_does_not_run_the_unit(make: Make, tmp_path: Path) -> None:
    job, one = make(SOURCE), part(b"abcdefgh")
    box = job.sandbox
    spec = UnitSpec(WORLD, box.engine, box.python_image, job.bundle, job.description, entry("read", one), bytes(32), Limits(), bytes(32))
    items = values.dumps([named(one)])
    with pytest.raises(InvalidInput, match="can be run again only by who may read them"):
        await run_unit(box, spec, setup=False, module=None, bundle=job.file, items=items)  # as jurors do
    here = [file(tmp_path, b"abcdefgh")]
    ran = await run_unit(box, spec, setup=False, module=None, bundle=job.file, items=items, stored=here)
    assert ran.outcome.status is Status.FINISHED
