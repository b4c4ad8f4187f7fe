"""Witnesses: the memory that a unit leaves, told by whoever ran it."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from python_support import Job, open_sandbox
from sandbox_support import IMPORT_EXIT, IMPORT_WRITE, SEED, Runner, command, sandbox
from surge.core import canonical, values
from surge.core.units import WITNESS, Limits, Status, witness_of
from surge.sandbox import Execution

TRAP = command("(i32.store (i32.const 16) (i32.const 7)) unreachable")
FOREVER = command("(loop $l (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1))) (br $l))")
EXIT = command("(i32.store (i32.const 16) (i32.const 7)) (call $exit (i32.const 3))", imports=IMPORT_EXIT)
LOUD = command(
    "(i32.store (i32.const 8) (i32.const 100)) (i32.store (i32.const 12) (i32.const 5000))"
    " (loop $l (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))) (br $l))",
    imports=IMPORT_WRITE,
)
STORES = command("(i64.store (i32.const 65528) (i64.const 0x1122334455667788))", memory="2")

SLOW = "import numpy\nTABLE = numpy.arange(1000)\ndef f(x): return int(TABLE.sum()) + sum(x * i for i in range(1000))\n"


async def ran(runner: Runner, module: bytes, *, witness: bool = True, **limits: int) -> Execution:
    image = await runner.image(module)
    return await runner.sandbox.run_command(image, ["prog"], [], b"", None, Limits(**limits), SEED, witness=witness)


async def test_a_witness_is_the_hash_of_the_memory_that_the_unit_leaves(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        found = await ran(runner, STORES)
    memory = bytearray(2 << 16)
    memory[65528:65536] = bytes.fromhex("8877665544332211")
    assert found.witness == hashlib.sha256(WITNESS + len(memory).to_bytes(8, "little") + memory).digest() == witness_of(memory)
    assert found.peak_memory == len(memory)


ENDINGS = {
    "finished": (STORES, {}, Status.FINISHED),
    "exited": (EXIT, {}, Status.EXITED),
    "trapped": (TRAP, {}, Status.TRAPPED),
    "out of fuel": (FOREVER, {"fuel": 1_000_000}, Status.OUT_OF_FUEL),
    "output over its limit": (LOUD, {"output": 100_000}, Status.OUTPUT_LIMIT),
    "more memory than allowed": (command("(nop)", memory="64"), {"memory": 1 << 20}, Status.MEMORY_LIMIT),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_every_provable_ending_has_the_same_witness_in_every_process_and_changes_nothing(name: str, tmp_path: Path) -> None:
    module, limits, status = ENDINGS[name]
    found = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        async with sandbox(tmp_path / folder, workers=1) as runner:
            plain, seen, again = [await ran(runner, module, witness=asked, **limits) for asked in (False, True, True)]
        assert plain.outcome == seen.outcome == again.outcome
        assert plain.outcome.status is status
        assert plain.witness == b""
        found += [seen.witness, again.witness]
    assert len(found[0]) == 32
    assert len(set(found)) == 1


async def test_a_local_ending_has_no_witness(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as runner:
        found = await ran(runner, FOREVER, wall_ms=200)
    assert found.outcome.status is Status.WALL_TIME
    assert found.witness == b""


async def unit(job: Job, item: int, *, witness: bool = True) -> Execution:
    entry = canonical.encode(["f", 0, 0, SEED])
    found = await job.sandbox.python.run(job.bundle, job.file, job.description, entry, values.dumps([item]), Limits(), witness=witness)
    found.output.discard()
    return found


async def test_python_units_have_witnesses_the_same_in_every_process_and_another_for_another_item(
    python_cache: Path, tmp_path: Path
) -> None:
    found, setups, others, plain = [], [], [], []
    for private in (True, False):
        cache = tmp_path / f"cache-{private}"
        cache.mkdir(mode=0o700)
        (cache / "code").symlink_to(python_cache / "code")
        async with open_sandbox(cache, workers=2, private_mappings=private) as box:
            job = Job(box, tmp_path, {"entry.py": SLOW}, {"module": "entry"})
            made = await box.python.setup(job.bundle, job.file, job.description, Limits(), witness=True)
            setups.append(made.witness)
            assert made.witness not in (b"", made.outcome.state)
            found += await asyncio.gather(*(unit(job, 5) for _ in range(4)))
            assert len(box._pool.members) == 2
            others.append(await unit(job, 6))
            plain.append(await unit(job, 5, witness=False))
    assert len({each.witness for each in found}) == 1
    assert len(set(setups)) == 1
    assert others[0].witness == others[1].witness != found[0].witness
    assert all(len(each.witness) == 32 for each in found + others)
    assert all(each.witness == b"" for each in plain)
    assert all(each.outcome == found[0].outcome for each in found + plain)
