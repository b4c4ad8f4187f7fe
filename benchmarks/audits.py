"""The auditor: what a decision costs, and what whole jobs with a fifth of cheats come to, beside what the formulas foretell.

Devices are made up (real messages, signatures and channels; functions instead of a sandbox), so that ten thousands of units take seconds;
scheduler, auditor, journal and payer are the network's own.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.rows import Row, at_most
from buyer_support import Bed
from made_up_checks import MadeUpChecks
from made_up_provider import FakeProvider
from surge.buyer.evidence import Evidence
from surge.buyer.plan import Wishes
from surge.core import values
from surge.core.credibility import checks_needed, forecast
from surge.errors import CorrectedResults

DEVICES, CHEATS, RATE, BEHIND = 10, 2, 0.1, 10_000
JOBS = 6

WINDOW = 8
"""Units that a device may have in flight: those of one that is caught are lost."""

DECISIONS = 200_000


def measure() -> Iterator[Row]:
    """The cost of deciding; wrong results and extra work at two certainties."""
    yield at_most("deciding whether a unit is checked", _decision() * 1e6, "µs", 50)
    for certainty, units in ((0.9999, 1000), (0.9999, 250)):
        yield from _jobs(certainty, units)


def _decision() -> float:
    with tempfile.TemporaryDirectory() as folder:
        from surge.buyer.journal import Journal

        journal = Journal(Path(folder) / "buyer.db")
        evidence = Evidence(journal)
        seen = evidence.of("0x1", "0x2")
        seen.units, seen.passed = 50_000.0, 1000.0
        started = time.perf_counter()
        checked = sum(random.random() < evidence.chance("0x1", "0x2", 0.9999) for _ in range(DECISIONS))
        spent = time.perf_counter() - started
        assert checked
        asyncio.run(journal.close())
    return spent / DECISIONS


def _jobs(certainty: float, units: int) -> Iterator[Row]:
    needed = checks_needed(certainty)
    told = forecast(cheats=CHEATS / DEVICES, rate=RATE, behind=BEHIND, units=units, needed=needed)
    found = [asyncio.run(_job(certainty, units, seed)) for seed in range(JOBS)]
    wrong, extra = ([each[column] for each in found] for column in (0, 1))
    what = f"a fifth of devices cheats on a tenth, {units} units each, certainty {certainty:g}"
    count = CHEATS * JOBS
    chance = (count * told.caught * (1 - told.caught)) ** 0.5 * RATE / DEVICES / JOBS  # of cheats that escape, in wrong results
    aims = {
        "wrong results": (1e-4, wrong, told.wrong, 3 * chance),
        "extra work": (0.15, extra, told.extra, 3 * stdev(extra) / JOBS**0.5 + WINDOW * CHEATS / (DEVICES * units)),
    }
    for name, (aim, seen, expected, error) in aims.items():
        within = abs(mean(seen) - expected) <= error
        text = f"foretold within {error:.1g}" + (f", at most {aim:g}" if units >= 1000 else "")
        yield Row(f"{what}: {name}", mean(seen), "of 1", "foretold", expected, None, text, within and (units < 1000 or mean(seen) <= aim))


async def _job(certainty: float, units: int, seed: int, *, behind: int = BEHIND, ring: bool = False) -> tuple[float, float]:
    """(wrong results, extra units) of one job, as fractions of its items. In a `ring` cheats agree, and only others check."""
    draw = random.Random(seed)

    def honest(item: int) -> int:
        return item + 1

    lies = frozenset(draw.sample(range(DEVICES * units), round(DEVICES * units * RATE)))

    def cheat(item: int) -> int:
        return -item if item in lies else item + 1

    functions: list[Callable[..., Any]] = [cheat] * CHEATS + [honest] * (DEVICES - CHEATS)
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed(Path(folder), [FakeProvider(functions={"f": each}, window=WINDOW, window_max=WINDOW) for each in functions])
        checks = MadeUpChecks({"f": honest})
        bed.checks, bed.evidence = None if ring else checks, Evidence(bed.journal)
        for one in bed.providers:
            seen = bed.evidence.of(one.device, one.device)
            seen.units, seen.passed = float(behind), float(min(behind, checks_needed(certainty)))
        plan = bed.plan(chunk=1, wishes=Wishes(certainty_ppm=round(certainty * 1e6), providers=DEVICES))
        items = DEVICES * units
        job, results = await bed.start(plan, range(items), total=items)
        job.progress.tell = lambda text: None
        try:
            await asyncio.to_thread(_read, results)
            await job.settled.wait()
            rows = await bed.journal.results(job.plan.id)
            wrong = sum(values.loads(row.value or b"")[0][1] != row.first + 1 for row in rows)
            ran = sum(len(one.ran) for one in bed.providers) + len(checks.ran)
        finally:
            await bed.close()
    assert len(rows) == items
    return wrong / items, ran / items - 1


def _read(results: Any) -> None:
    try:
        for _ in results:
            pass
    except CorrectedResults:
        return


def table() -> None:
    """Print what jobs come to for devices with so many units behind them, beside what is foretold: rows of docs/trust.md."""
    units, jobs = 1000, 2
    for certainty, ring in ((0.99, False), (0.9999, False), (0.9999, True)):
        for behind in (0, 1000, 10_000, 100_000)[ring:]:  # newcomers alone cannot vouch for one another to 0.9999
            needed = checks_needed(certainty)
            blind = (CHEATS - 1) / (DEVICES - 1) if ring else 0.0
            told = forecast(cheats=CHEATS / DEVICES, rate=RATE, behind=behind, units=units, needed=needed, blind=blind)
            found = [asyncio.run(_job(certainty, units, seed, behind=behind, ring=ring)) for seed in range(jobs)]
            wrong, extra = (mean(each[column] for each in found) for column in (0, 1))
            who = "others, a ring" if ring else "here"
            print(f"| {certainty:g} | {who} | {behind:,} | {wrong:.1e} | {told.wrong:.1e} | {extra:.1%} | {told.extra:.1%} |", flush=True)


if __name__ == "__main__":
    table()
