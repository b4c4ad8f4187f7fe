"""Why devices are checked, as listings say it."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from surge.buyer.audited import job_audits, job_operators
from surge.buyer.bonded import Bond
from surge.buyer.journal import Journal
from surge.buyer.plan import Wishes
from surge.buyer.records import JobRecord
from surge.core.types import address

ALICE, BOB = address("0x" + "0a" * 20), address("0x" + "0b" * 20)


class Rows:
    """A journal in which device 1 and 2 are Alice's and 3 is Bob's: each has 500 units, all checked; `failed` are Alice's device's."""

    def __init__(self, failed: int = 0) -> None:
        self.failed = failed

    def read_now(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if query.startswith("SELECT DISTINCT operator FROM receipts"):
            return [(ALICE,), (BOB,)]
        if query.startswith("SELECT DISTINCT operator FROM evidence"):
            return [(ALICE,)] if self.failed else []
        if query.startswith("SELECT device, operator, count"):
            return [("1", ALICE, 5), ("2", ALICE, 5), ("3", BOB, 5)]
        if "FROM evidence" in query:
            return [(500.0, 500.0, self.failed if values == ("1",) else 0, time.time())]
        return []


class Record:
    """A job."""

    id = "aa" * 32

    class plan:
        """What it asks for."""

        wishes = Wishes()


def whys(rows: Rows, bonds: dict[Any, Bond]) -> list[tuple[float, str]]:
    found = job_audits(cast("Journal", rows), cast("JobRecord", Record), (), bonds)
    return [(each["chance"], each["why"]) for each in found.devices]


def test_who_has_no_bond_is_told_to_be_checked_always() -> None:
    rows = Rows()
    assert job_operators(cast("Journal", rows), cast("JobRecord", Record)) == [ALICE, BOB]
    first, second, third = whys(rows, {BOB: Bond(5, enough=False)})
    assert first[0] == pytest.approx(second[0])
    assert first[1] == second[1]
    assert first[0] < 0.05
    assert first[1].startswith("proven: 500 checks passed")
    assert third == (1.0, "its operator's bond is too small, or no court could take it: all results are checked")


def test_the_other_devices_of_who_was_caught_are_doubted_more() -> None:
    (gone, why), (more, _), (less, _) = whys(Rows(failed=1), {})
    assert (gone, why) == (1.0, "it gave a wrong result: it gets no more work")
    assert more > less
