"""Large inputs and results in the journal."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buyer_support import Bed
from made_up_provider import FakeProvider
from surge.buyer.journal import Journal
from surge.buyer.pieces import LARGE, Block, ResultRow, cut, put_inputs, read_inputs
from surge.buyer.schema import MIGRATIONS
from surge.buyer.spool import BLOCK_BYTES, Spool
from surge.errors import InternalFault

JOB = b"j" * 32
LARGE_ITEMS = [bytes([number]) * (LARGE + 1 + number) for number in range(3)]


@pytest.fixture
async def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "buyer.db")


@given(parts=st.lists(st.binary(max_size=9)), size=st.integers(1, 10))
def test_parts_are_cut_into_pieces_of_a_size(parts: list[bytes], size: int) -> None:
    pieces = list(cut(parts, size))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(pieces)


async def test_large_items_are_read_back_as_they_were_written(journal: Journal) -> None:
    blocks = [Block(0, [b"a", b""]), Block(2, LARGE_ITEMS), Block(5, [b"z"])]
    await asyncio.wrap_future(journal.dispatch(JOB, blocks=blocks))
    assert await journal.inputs(JOB, 0, 6) == [b"a", b"", *LARGE_ITEMS, b"z"]
    assert await journal.inputs(JOB, 3, 1) == [LARGE_ITEMS[1]]
    await asyncio.wrap_future(journal.dispatch(JOB, blocks=[Block(2, LARGE_ITEMS[::-1])]))
    assert await journal.inputs(JOB, 2, 3) == LARGE_ITEMS[::-1], "written anew, not behind what was there"
    with pytest.raises(InternalFault):
        await journal.inputs(JOB, 4, 3)
    ((longest,),) = await journal.read("SELECT max(length(data)) FROM pieces")
    assert longest == LARGE
    await journal.close()


async def test_a_large_result_is_kept_once_and_the_first_one_stays(journal: Journal) -> None:
    rows = [ResultRow(JOB, 0, 1, b"small"), ResultRow(JOB, 1, 2, LARGE_ITEMS[2]), ResultRow(JOB, 3, 1, None, "it failed")]
    await journal.save_results(rows)
    await journal.save_results([ResultRow(JOB, 1, 2, LARGE_ITEMS[1]), ResultRow(JOB, 0, 1, LARGE_ITEMS[0])])
    assert await journal.results(JOB) == rows
    assert await journal.results(b"o" * 32) == []
    await journal.close()


async def test_what_lies_in_its_row_since_before_is_still_read(journal: Journal, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "buyer.db")) as db, db:
        db.execute("INSERT INTO inputs VALUES (?,?,?,?,?)", (JOB, 0, 1, Block(0, LARGE_ITEMS[:1]).sizes(), LARGE_ITEMS[0]))
        db.execute("INSERT INTO results VALUES (?,?,?,?,?,?)", (JOB, 0, 1, LARGE_ITEMS[1], None, 0))
    assert await journal.inputs(JOB, 0, 1) == [LARGE_ITEMS[0]]
    assert [row.value for row in await journal.results(JOB)] == [LARGE_ITEMS[1]]
    await journal.close()


async def test_memory_forgets_large_items_once_they_are_in_the_journal(journal: Journal) -> None:
    spool = Spool(JOB, journal)
    spool.add([b"small", *LARGE_ITEMS])
    await asyncio.wrap_future(journal.dispatch(JOB, blocks=spool.unsaved()))
    spool.saved(0, 4)
    assert spool.at_hand(0, 1) == [b"small"]
    assert spool.at_hand(1, 1) is None
    assert await spool.load(0, 4) == [b"small", *LARGE_ITEMS]
    await journal.close()


def sql(folder: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "buyer.db")) as db, db:
        return db.execute(statement, values).fetchall()


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
async def test_of_a_large_block_only_the_pieces_of_the_wanted_items_are_read(journal: Journal, tmp_path: Path, number: int) -> None:
    items = [bytes([each]) * (2 * LARGE + each) for each in range(5)]
    await asyncio.wrap_future(journal.dispatch(JOB, blocks=[Block(7, items)]))
    assert await journal.inputs(JOB, 7, 5) == items
    begin = sum(map(len, items[:number]))
    end = begin + len(items[number])
    sql(tmp_path, "UPDATE pieces SET data = x'' WHERE number < ? OR number > ?", begin // LARGE, (end - 1) // LARGE)
    assert await journal.inputs(JOB, 7 + number, 1) == [items[number]]
    await journal.close()


@given(sizes=st.lists(st.sampled_from([0, 1, LARGE - 1, LARGE, LARGE + 1]), min_size=1, max_size=6), data=st.data())
def test_any_run_of_a_blocks_items_is_read_back(sizes: list[int], data: st.DataObject) -> None:
    items = [bytes([number]) * size for number, size in enumerate(sizes)]
    low = data.draw(st.integers(0, len(items)))
    high = data.draw(st.integers(low, len(items)))
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
        put_inputs(db, JOB, [Block(10, items)])
        assert read_inputs(db, JOB, 10 + low, high - low) == items[low:high]


async def test_what_the_journal_lacks_comes_in_blocks_of_some_mib_or_one_item(journal: Journal) -> None:
    spool = Spool(JOB, journal, count=3)
    items = [bytes([number]) * size for number, size in enumerate([BLOCK_BYTES - 1, 1, 1, 3 * BLOCK_BYTES, *[LARGE] * 9])]
    spool.add(items)
    assert spool.is_heavy
    blocks = spool.unsaved()
    assert not spool.is_heavy
    assert spool.unsaved() == []
    assert [(block.first, len(block.items)) for block in blocks] == [(3, 2), (5, 1), (6, 1), (7, 4), (11, 4), (15, 1)]
    assert [item for block in blocks for item in block.items] == items
    await asyncio.wrap_future(journal.dispatch(JOB, blocks=blocks))
    assert await journal.inputs(JOB, 4, 9) == items[1:10]
    await journal.close()


def length(item: bytes) -> bytes:
    return item * 2


async def test_a_killed_buyer_goes_on_with_large_items_and_results(beds: Callable[..., Bed]) -> None:
    one = FakeProvider(functions={"f": length}, seconds=lambda count: 0.05)
    bed = beds(one)
    plan = bed.plan(chunk=1)
    _, results = await bed.start(plan, [bytes([number]) * LARGE for number in range(6)], total=6)
    await asyncio.to_thread(next, results)
    await bed.kill()
    async with asyncio.timeout(5):
        while one.busy:
            await asyncio.sleep(0.005)
    again = beds(one)
    job, results = await again.resume(plan.id)
    found = await asyncio.wait_for(asyncio.to_thread(list, results), 20)
    assert found == [bytes([number]) * 2 * LARGE for number in range(6)]
    await asyncio.wait_for(job.settled.wait(), 5)
    assert len(set(one.ran)) == len(one.ran) == 6
