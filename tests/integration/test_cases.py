"""Case files over a real network: exported, verified, replayed, tampered with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import surge
from buyer_functions import add_one
from network_support import Town
from surge.buyer.cases import replay_case, verify_case
from surge.core import canonical


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def test_a_receipt_is_exported_verified_and_replayed(town: Town, network: surge.Network, tmp_path: Path) -> None:
    results = network.map(add_one, range(20))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    case = network.export_case(unit["receipt"], tmp_path / "case.json", inputs=True)
    report = verify_case(case, town.network.rpc)
    assert report.holds, report.as_dict()
    assert len(report.checks) == 9
    replayed = replay_case(case)
    assert replayed.holds, replayed.as_dict()
    assert network.replay(unit["receipt"]).holds


@pytest.mark.parametrize("change", ["amount", "quantity", "result", "accepted", "path", "fuel limit"])
def test_a_case_that_was_tampered_with_does_not_hold(town: Town, network: surge.Network, tmp_path: Path, change: str) -> None:
    results = network.map(add_one, range(3))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    case = network.export_case(unit["receipt"], tmp_path / "case.json")
    document = json.loads(case.read_text())
    if change in ("amount", "quantity"):
        document["receipt"][change] += 1
    elif change == "result":
        document["receipt"]["result"] = "0x" + "11" * 32
    elif change == "accepted":
        document["acknowledgement"]["accepted"] = False
    elif change == "path":
        document["proof"]["path"] = ["0x" + "22" * 32, *document["proof"]["path"][1:]]
    else:
        document["unit"]["limits"][1] -= 1
    case.write_text(json.dumps(document))
    assert not verify_case(case, town.network.rpc).holds


def test_terms_that_were_tampered_with_do_not_hold(town: Town, network: surge.Network, tmp_path: Path) -> None:
    list(network.map(add_one, range(3)))
    rows = {row["kind"]: row for row in network.receipts()}
    assert rows.keys() >= {1, 3}
    for row in rows.values():
        case = network.export_case(row["receipt"], tmp_path / "case.json")
        report = verify_case(case, town.network.rpc)
        assert all(check.holds for check in report.checks), report.as_dict()
        document = json.loads(case.read_text())
        fields = canonical.decode(bytes.fromhex(document["terms"][2:]))
        assert len(fields) == 12
        for number, value in enumerate(fields):
            other = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
            changed = canonical.encode([*fields[:number], other, *fields[number + 1 :]])
            case.write_text(json.dumps({**document, "terms": "0x" + changed.hex()}))
            said = [check.text for check in verify_case(case, town.network.rpc).checks if not check.holds]
            assert any("signed the terms" in text for text in said), (number, said)


def test_a_journal_of_before_gives_cases_that_say_that_their_terms_are_not_proved(
    town: Town, network: surge.Network, tmp_path: Path
) -> None:
    results = network.map(add_one, range(3))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    with closing(sqlite3.connect(town.folder / "buyer" / "buyer.db")) as db, db:
        kept = db.execute("SELECT * FROM signed_terms").fetchall()
        db.execute("DELETE FROM signed_terms")
    try:
        case = network.export_case(unit["receipt"], tmp_path / "case.json")
    finally:
        with closing(sqlite3.connect(town.folder / "buyer" / "buyer.db")) as db, db:
            db.executemany("INSERT INTO signed_terms VALUES (?,?,?,?)", kept)
    report = verify_case(case, town.network.rpc)
    assert report.holds
    assert ["the terms are not proved" in check.text for check in report.checks if not check.holds] == [True]
