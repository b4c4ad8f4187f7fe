"""Python in the guest: a setup's memory is kept, found again, checked, and made anew."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from python_support import Job, open_sandbox
from surge.core.units import Status

HEAVY = (
    "import numpy, random, uuid\n"
    "TABLE = {str(i): numpy.arange(i) for i in range(100)}\n"
    "def f(x): return [random.random(), float(numpy.random.rand()), id(TABLE) % 997]\n"
)


async def test_state_results_and_fuel_are_the_same_in_every_process_and_with_plain_copies(python_cache: Path, tmp_path: Path) -> None:
    found = []
    for private in (True, False):
        cache = tmp_path / f"cache-{private}"
        (cache / "code").mkdir(parents=True, mode=0o700)
        (cache / "code").rmdir()
        (cache / "code").symlink_to(python_cache / "code")
        async with open_sandbox(cache, workers=2, private_mappings=private) as sandbox:
            job = Job(sandbox, tmp_path, {"entry.py": HEAVY}, {"module": "entry"})
            first, second = await asyncio.gather(job.setup(), job.setup())
            assert first.outcome == second.outcome
            units = await asyncio.gather(*(job.unit("f", [1, 2]) for _ in range(4)))
            assert len(sandbox._pool.members) == 2
            found += [(first.outcome, *unit) for unit in units]
    assert all(one == found[0] for one in found)
    assert found[0][1].status is Status.FINISHED


async def test_a_snapshot_serves_the_next_process_and_a_damaged_one_is_made_again(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache) as sandbox:
        job = Job(sandbox, tmp_path, {"entry.py": HEAVY}, {"module": "entry"})
        made = await job.setup()
        want = await job.unit("f", [1])
        path = sandbox.python.file(job.bundle, job.description)
    assert path.stat().st_blocks * 512 < path.stat().st_size  # sparse
    before = path.stat().st_ino
    for damage in (False, True):
        if damage:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                file.write(b"damage")
        async with open_sandbox(python_cache) as sandbox:
            job = Job(sandbox, tmp_path, {"entry.py": HEAVY}, {"module": "entry"})
            assert sandbox.python.snapshot(job.bundle, job.description) == made.outcome
            assert await job.unit("f", [1]) == want
        assert damage or path.stat().st_ino == before
    assert hashlib.sha256(path.read_bytes()).digest() == made.outcome.state


async def test_snapshots_keep_to_their_budget_and_what_was_evicted_is_made_again(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache, snapshot_budget=30 << 20) as sandbox:
        jobs = [Job(sandbox, tmp_path, {"entry.py": f"N = {index}\ndef f(x): return N + x\n"}, {"module": "entry"}) for index in range(3)]
        for index, job in enumerate(jobs):
            assert await job.values("f", [10]) == [10 + index]
        folder = sandbox.python.file(jobs[0].bundle, jobs[0].description).parent
        kept = list(folder.glob("*.memory"))
        assert sum(path.stat().st_blocks * 512 for path in kept) <= 30 << 20
        assert len(kept) < 3
        assert sandbox.python.snapshot(jobs[0].bundle, jobs[0].description) is None
        assert sandbox.python.snapshot(jobs[2].bundle, jobs[2].description) is not None
        assert await jobs[0].values("f", [10]) == [10]


async def test_a_snapshot_that_goes_before_its_unit_runs_is_made_again(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache) as sandbox:
        job = Job(sandbox, tmp_path, {"entry.py": "def f(x): return x\n"}, {"module": "entry"})
        await job.setup()
        lost = sandbox.python.file(job.bundle, job.description)
        run_request, calls = sandbox.run_request, 0

        async def lose_it_first(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                lost.unlink()
            return await run_request(*args, **options)

        sandbox.run_request = lose_it_first  # type: ignore[method-assign]
        assert await job.values("f", [7]) == [7]
        assert calls == 3
