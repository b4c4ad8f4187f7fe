"""What operators were paid, read once and kept in the buyer's folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from surge.buyer import payments
from surge.buyer.payments import DAY, HORIZON, UNKNOWN, Payments
from surge.core.types import Address
from surge.errors import Unavailable
from surge.ledger import Page
from surge.ledger.histories import Opening, Paid

NOW = time.time()
OPERATORS = [Address(f"0x{number:040x}") for number in range(1000)]
ALICE, BOB = Address("0x" + "a1" * 20), Address("0x" + "b0" * 20)
SIZE = 100


class Chain:
    """A ledger with a block an hour, the newest of them now."""

    def __init__(self, head: int, paid: dict[int, list[tuple[Address, bytes, int]]], opened: dict[int, tuple[bytes, Address]]) -> None:
        self.newest = head
        self.paid, self.opened = paid, opened
        self.read: list[tuple[int, int]] = []
        self.away_below = -1
        self.hangs_after = 10**9

    def when(self, block: int) -> float:
        return NOW - 3600.0 * (self.newest - block)

    async def head(self) -> int:
        return self.newest

    async def pages(self, first: int, last: int, *, newest_first: bool) -> AsyncIterator[Page]:
        starts = range(first, last + 1, SIZE) if not newest_first else range(last, first - 1, -SIZE)
        for start in starts:
            low, high = (start, min(start + SIZE - 1, last)) if not newest_first else (max(first, start - SIZE + 1), start)
            if low < self.away_below:
                raise Unavailable("that is long ago")
            if len(self.read) >= self.hangs_after:
                await asyncio.Event().wait()
            self.read.append((low, high))
            paid = tuple(
                Paid(block, self.when(block), channel, provider, fee)
                for block in range(low, high + 1) for provider, channel, fee in self.paid.get(block, [])
            )  # fmt: skip
            opened = tuple(Opening(*self.opened[block]) for block in range(low, high + 1) if block in self.opened)
            yield Page(low, high, self.when(low), opened, paid)


def chain(head: int = 1000) -> Chain:
    one, two, old = b"1" * 32, b"2" * 32, b"3" * 32
    paid = {
        head - 5: [(OPERATORS[1], one, 7), (OPERATORS[2], two, 9)],
        head - 4: [(OPERATORS[1], one, 5)],
        head - 300: [(OPERATORS[1], two, 11), (OPERATORS[1], old, 13)],
    }
    return Chain(head, paid, {head - 6: (one, ALICE), head - 400: (two, BOB)})


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Payments]:
    monkeypatch.setattr(payments, "AGAIN_SECONDS", -1.0)
    made = Payments(tmp_path / "payments.db")
    yield made  # type: ignore[misc]
    made.close()


async def totals(kept: Payments) -> dict[Address, dict[Address, int]]:
    found: dict[Address, dict[Address, int]] = {}
    for operator, paid in (await kept.of(OPERATORS)).items():
        for each in paid:
            of = found.setdefault(operator, {})
            of[each.buyer] = of.get(each.buyer, 0) + each.fee
    return found


ALL = {OPERATORS[1]: {ALICE: 12, BOB: 11, UNKNOWN: 13}, OPERATORS[2]: {BOB: 9}}


async def test_a_list_of_a_thousand_operators_reads_the_chain_once(kept: Payments) -> None:
    ledger = chain()
    await kept.look(ledger, 10)
    assert await totals(kept) == ALL
    assert len(ledger.read) == 11
    times = [each.time for each in (await kept.of([OPERATORS[2]]))[OPERATORS[2]]]
    assert times == pytest.approx([NOW - 5 * 3600], abs=4 * DAY)
    await kept.look(ledger, 10)
    assert len(ledger.read) == 11, "nothing is new"


async def test_it_is_looked_at_again_after_a_while_only(kept: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payments, "AGAIN_SECONDS", 60.0)
    ledger = chain()
    await kept.look(ledger, 10)
    ledger.newest += 1
    await kept.look(ledger, 10)
    assert len(ledger.read) == 11


async def test_new_blocks_are_added_once(kept: Payments) -> None:
    ledger = chain()
    await kept.look(ledger, 10)
    ledger.paid[1150] = [(OPERATORS[2], b"1" * 32, 100)]
    ledger.newest = 1200
    await kept.look(ledger, 10)
    assert ledger.read[11:] == [(1001, 1100), (1101, 1200)]
    assert (await totals(kept))[OPERATORS[2]] == {BOB: 9, ALICE: 100}


async def test_a_look_that_runs_out_of_time_goes_on_where_it_was(kept: Payments) -> None:
    ledger = chain()
    ledger.hangs_after = 2
    await kept.look(ledger, 0.2)
    assert await totals(kept) == {OPERATORS[1]: {ALICE: 12}, OPERATORS[2]: {UNKNOWN: 9}}
    assert await kept.since() == pytest.approx(ledger.when(801))
    ledger.hangs_after = 10**9
    ledger.newest = 1003
    await kept.look(ledger, 10)
    assert ledger.read[2] == (1001, 1003)
    assert sorted(ledger.read)[-1] == (1001, 1003)
    assert await totals(kept) == ALL
    assert len(ledger.read) == 12


async def test_a_ledger_that_is_away_costs_nothing_that_was_read(kept: Payments) -> None:
    ledger = chain()
    ledger.away_below = 600
    await kept.look(ledger, 10)
    assert (await totals(kept))[OPERATORS[1]] == {ALICE: 12, UNKNOWN: 24}
    ledger.away_below = -1
    await kept.look(ledger, 10)
    assert await totals(kept) == ALL


async def test_nothing_is_read_from_beyond_the_horizon(kept: Payments) -> None:
    ledger = chain(head=20_000)
    await kept.look(ledger, 20)
    hours = HORIZON / 3600
    assert hours / SIZE <= len(ledger.read) <= hours / SIZE + 2
    before = len(ledger.read)
    ledger.newest += 1
    await kept.look(ledger, 10)
    assert ledger.read[before:] == [(20_001, 20_001)]


async def test_two_processes_that_read_at_once_count_nothing_twice(kept: Payments, tmp_path: Path) -> None:
    other = Payments(tmp_path / "payments.db")
    try:
        ledgers = [chain(), chain()]
        await asyncio.gather(kept.look(ledgers[0], 10), other.look(ledgers[1], 10))
        await kept.look(ledgers[0], 10)
        await other.look(ledgers[1], 10)
        assert await totals(kept) == await totals(other) == ALL
    finally:
        other.close()


async def test_what_is_old_is_forgotten(kept: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = chain()
    await kept.look(ledger, 10)
    later = NOW + HORIZON + 3 * DAY
    monkeypatch.setattr("surge.buyer.payments.time.time", lambda: later)
    ledger.newest += 1
    await kept.look(ledger, 10)
    assert await totals(kept) == {}


async def test_a_damaged_file_stops_nobody(kept: Payments, tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"this is no database, and never was one" * 100)
    assert Payments.opened(tmp_path / "damaged.db") is None
    whole = Payments.opened(tmp_path / "whole.db")
    assert whole is not None
    whole.close()
    await kept.look(chain(), 10)
    await kept._db.write(lambda db: db.execute("DROP TABLE paid"))
    assert await kept.of(OPERATORS) == {}
