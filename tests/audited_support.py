"""Providers in memory that are honest, or lie, about one function; and a buyer that checks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from buyer_support import Bed
from made_up_checks import MadeUpChecks
from made_up_provider import FakeProvider
from surge.buyer.evidence import Evidence


def add_one(item: int) -> int:
    return item + 1


def honest(**options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": add_one}, **options)


def lying(from_item: int = 0, **options: Any) -> FakeProvider:
    return FakeProvider(functions={"f": lambda item: item + 1 if item < from_item else -item}, **options)


def audited(make_bed: Callable[..., Bed]) -> Callable[..., Bed]:
    """Makes a buyer with evidence of providers: `own` are its operators; it checks with `checks`, or where `alone` not itself."""

    def make(*providers: FakeProvider, own: Sequence[str] = (), checks: MadeUpChecks | None = None, alone: bool = False) -> Bed:
        bed = make_bed(*providers)
        bed.evidence = Evidence(bed.journal, own)
        bed.checks = None if alone else checks or MadeUpChecks({"f": add_one})
        return bed

    return make
