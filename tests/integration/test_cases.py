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
from surge.buyer.statements import ON_LEDGER, REPLAYED, STATED
from surge.core import canonical

DEAD = "http://127.0.0.1:1"
"""An endpoint at which nobody listens."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def changed(text: str, number: int) -> bytes:
    """Terms with another value in one of their fields."""
    fields = canonical.decode(bytes.fromhex(text[2:]))
    assert len(fields) == 12
    value = fields[number]
    fields[number] = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    return canonical.encode(fields)


def test_a_receipt_is_exported_verified_and_replayed(town: Town, network: surge.Network, tmp_path: Path) -> None:
    results = network.map(add_one, range(20))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    case = network.export_case(unit["receipt"], tmp_path / "case.json", inputs=True)
    report = verify_case(case, town.network.rpc)
    assert report.holds, report.as_dict()
    assert len(report.checks) == 9
    replayed = replay_case(case)
    assert all(check.holds for check in replayed.checks), replayed.as_dict()
    assert len(replayed.checks) == 11
    assert all(check.holds for check in network.replay(unit["receipt"]).checks)


@pytest.mark.parametrize("change", ["amount", "signature", "terms", "result", "salt"])
def test_a_forged_receipt_does_not_hold_when_it_is_replayed(town: Town, network: surge.Network, tmp_path: Path, change: str) -> None:
    results = network.map(add_one, range(3))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    case = network.export_case(unit["receipt"], tmp_path / "case.json", inputs=True)
    document = json.loads(case.read_text())
    if change == "amount":
        document["receipt"]["amount"] += 1
    elif change == "result":
        document["receipt"]["result"] = "0x" + "11" * 32
    elif change == "salt":
        document["unit"]["salt"] = "0x" + "11" * 32
    elif change == "terms":
        document["terms"] = "0x" + changed(document["terms"], 2).hex()
    else:
        document["signature"] = document["signature"][:-4] + "001b"
    case.write_text(json.dumps(document))
    for urls in (town.network.rpc, [DEAD]):
        report = replay_case(case, urls=urls)
        assert not report.holds
        assert not report.part(STATED).holds
    said = [check.holds for check in report.part(REPLAYED).checks]
    assert said == {"result": [False, True], "salt": [None]}.get(change, [True, True])


def test_a_replay_says_what_it_could_not_look_for_on_the_ledger(network: surge.Network, tmp_path: Path) -> None:
    results = network.map(add_one, range(3))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    (fresh,) = network.replay(unit["receipt"]).part(ON_LEDGER).checks
    assert fresh.holds is None
    assert "no voucher that covers it is redeemed yet" in fresh.text
    case = network.export_case(unit["receipt"], tmp_path / "case.json", inputs=True)
    for report in (replay_case(case, urls=[DEAD]), network.replay(unit["receipt"], rpc=[DEAD])):
        assert report.holds
        (said,) = report.part(ON_LEDGER).checks
        assert said.holds is None
        assert "not checked" in said.text
        assert DEAD in said.text
        assert [check.holds for check in report.part(REPLAYED).checks] == [True, True]


def test_a_receipt_of_ones_own_that_was_changed_does_not_hold_when_it_is_replayed(town: Town, network: surge.Network) -> None:
    results = network.map(add_one, range(3))
    list(results)
    unit = next(row for row in network.receipts(results.job) if row["kind"] == 1)
    place = (bytes.fromhex(unit["receipt"]),)
    with closing(sqlite3.connect(town.folder / "buyer" / "buyer.db")) as db:
        with db:
            ((signature,),) = db.execute("SELECT signature FROM receipts WHERE digest = ?", place).fetchall()
            db.execute("UPDATE receipts SET signature = ? WHERE digest = ?", (b"\x01" * 64 + b"\x1b", *place))
        report = network.replay(unit["receipt"])
        with db:
            db.execute("UPDATE receipts SET signature = ? WHERE digest = ?", (signature, *place))
    assert not report.holds
    assert [check.holds for check in report.part(REPLAYED).checks] == [True, True]


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
        for number in range(12):
            case.write_text(json.dumps({**document, "terms": "0x" + changed(document["terms"], number).hex()}))
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
