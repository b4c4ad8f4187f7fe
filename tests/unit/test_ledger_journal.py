"""Transactions and their copies on disk: two rows of one nonce, of which one is mined."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from surge.errors import InternalFault, Unavailable
from surge.ledger.journal import _SCHEMA, Journal, Sent
from surge.wallet import KeySigner

ACCOUNT = KeySigner.random().address
DATA = b"salt" * 8


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "tx.db", 5)
    yield made
    made.close()


def add(journal: Journal, name: str, data: bytes = b"") -> Sent:
    return journal.add(ACCOUNT, 3, "test", lambda nonce: (name, "0x02" + data.hex()))


def copied(journal: Journal) -> tuple[Sent, Sent]:
    """A transaction and its copy at a higher price, and one that waits for them."""
    first = add(journal, "first", DATA)
    add(journal, "next")
    second = journal.reprice([first], "second", "0x03" + DATA.hex())
    assert second is not None
    assert (second.account, second.nonce, second.purpose) == (first.account, first.nonce, first.purpose)
    return first, second


def test_a_copy_has_its_transactions_nonce_and_takes_no_other(journal: Journal) -> None:
    first, second = copied(journal)
    assert [each.hash for each in journal.unfinished()] == ["first", "second", "next"]
    assert journal.at(ACCOUNT, 3) == [first, second]
    assert [[each.hash for each in rows] for rows in journal.waiting(ACCOUNT)] == [["first", "second"], ["next"]]
    assert add(journal, "more").nonce == 5


@pytest.mark.parametrize("mined", ["first", "second"])
def test_when_one_copy_is_final_the_other_is_forgotten(journal: Journal, mined: str) -> None:
    copied(journal)
    other = Journal(journal._path, 6)
    elsewhere = other.add(ACCOUNT, 3, "test", lambda nonce: ("on another chain", "0x"))
    journal.finished(mined)
    assert [each.hash for each in journal.at(ACCOUNT, 3)] == [mined]
    assert [each.hash for each in journal.unfinished()] == ["next"]
    assert journal.has(DATA)
    assert add(journal, "more").nonce == 5
    assert other.unfinished() == [elsewhere]
    other.close()


def test_what_is_written_is_known_while_any_copy_may_be_mined(journal: Journal) -> None:
    first, second = copied(journal)
    journal.drop(first)
    assert journal.has(DATA)
    assert add(journal, "more").nonce == 5
    journal.drop(second)
    assert not journal.has(DATA)
    assert add(journal, "again").nonce == 3


@pytest.mark.parametrize("copy", [0, 1])
def test_a_transaction_that_is_given_up_is_sent_in_no_copy(journal: Journal, copy: int) -> None:
    journal.refuse(copied(journal)[copy])
    assert [each.hash for each in journal.unfinished()] == ["next"]
    assert [each.hash for each in journal.refused()] == ["first", "second"]
    assert journal.has(DATA)
    assert [[each.hash for each in rows] for rows in journal.waiting(ACCOUNT)] == [["next"]]
    assert add(journal, "instead").nonce == 3
    assert [[each.hash for each in rows] for rows in journal.waiting(ACCOUNT)] == [["first", "second", "instead"], ["next"]]
    journal.finished("instead")
    assert not journal.refused()
    assert not journal.has(DATA)


def test_two_processes_make_one_copy_and_none_of_what_is_over(journal: Journal) -> None:
    first, second = copied(journal)
    assert journal.reprice([first], "mine", "0x") is None
    journal.refuse(first)
    assert journal.reprice([first, second], "mine", "0x") is None
    journal.finished("second")
    assert journal.reprice([second], "mine", "0x") is None
    (later,) = journal.unfinished()
    journal.drop(later)
    assert journal.reprice([later], "mine", "0x") is None
    assert [each.hash for each in journal.at(ACCOUNT, 3)] == ["second"]


def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tx.db", 5)
    journal.close()
    with pytest.raises(Unavailable, match="cannot be read"):
        journal.at(ACCOUNT, 0)


@pytest.mark.parametrize("damage", ["no database", "a torn page"])
def test_a_damaged_journal_says_so_and_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tx.db"
    journal = Journal(path, 5)
    for number in range(200):
        add(journal, f"number {number}", DATA)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(b"this is no database" * 1000 if damage == "no database" else whole[:4096] + b"\xff" * (len(whole) - 4096))

    def use() -> None:
        journal = Journal(path, 5)
        try:
            journal.has(DATA)
        finally:
            journal.close()

    with pytest.raises(InternalFault, match=r"tx\.db is damaged .*put a copy of it back, or move it away"):
        use()


def test_a_journal_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        Journal(tmp_path, 5)


def test_a_journal_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "tx.db")
    old.executescript(_SCHEMA.replace(", mined REAL", ""))
    old.execute("INSERT INTO transactions VALUES ('one', 5, ?, 3, '0x', 'test', 1.0, 0)", (ACCOUNT,))
    old.commit()
    old.close()
    for _ in range(2):
        journal = Journal(tmp_path / "tx.db", 5)
        (sent,) = journal.unfinished()
        since = journal.seen(sent, mined=True)
        assert sent.mined in (None, since)
        assert journal.unfinished()[0].mined == since
        journal.close()
