"""Delegates, and those who were, that work against the owner whose objects they keep."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import surge
from keeping_support import CODE, MIB, deals, shard_file, town_of
from network_support import Town
from surge.storage import charges, keeper, keeper_repair
from surge.storage.keeper_maps import view

CAP = 50 * 10**18
DEAR = 10**24
"""Wei for a gigabyte over a month: some SURGE a second for a shard of a third of a MiB."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path / "town") as town:
        yield town


def test_what_a_delegate_agreed_to_pay_many_times_too_much_for_is_not_paid_and_moved(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, data = tmp_path / "keeper.bundle", random.Random(1).randbytes(2 * MIB)
    with surge.connect(town.file) as owner:
        owner.files.put(data, "secret", code=CODE, segment_size=MIB)
        owner.files.delegate(bundle, cap=CAP)
        usual = sum(each.paid for each in owner.files.audit())
        victim = deals(owner, "secret")[0]
    honest = keeper.candidates

    async def dear(*asked: Any) -> Any:
        return [replace(each, price=DEAR) for each in await honest(*asked)]

    monkeypatch.setattr(keeper, "candidates", dear)
    monkeypatch.setattr(keeper_repair, "MOST_DEARER", DEAR)
    with surge.connect(town.file, wallet=charges.read(bundle).signer) as delegate:
        delegate.files.act_for(bundle)
        shard_file(town, victim).unlink()
        delegate.files.audit()
        assert [each.what for each in delegate.files.repair()] == ["rebuilt"]
        assert max(row.price for row in deals(delegate)) == DEAR
    monkeypatch.undo()
    with surge.connect(town.file) as owner:
        files: Any = owner.files
        charge = files._call(charges.owned)[0]
        files._call(lambda storage: view(storage, charge))  # the owner learns what the delegate placed
        audits = owner.files.audit()
        assert sum(each.paid for each in audits) < 10 * usual
        assert sum("many times the usual price" in each.why for each in audits) == 1
        assert [each.what for each in owner.files.repair() if each.what != "dropped"] == ["moved"]
        assert max(row.price for row in deals(owner)) < DEAR
        assert owner.files.read("secret") == data
