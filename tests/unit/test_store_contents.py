"""Contents: their digests, lies, leftovers, eviction, pins, budgets."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.store import Blobs


def test_contents_come_back_by_their_digest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put(b"content")
    assert digest == hashlib.sha256(b"content").digest()
    assert (blobs.has(digest), blobs.size(digest), blobs.read(digest)) == (True, 7, b"content")
    source = tmp_path / "source"
    source.write_bytes(b"file" * 1_000_000)
    assert blobs.read(blobs.put_file(source)) == source.read_bytes()
    blobs.delete(digest)
    blobs.delete(digest)
    assert not blobs.has(digest)
    for ask in (blobs.read, blobs.size):
        with pytest.raises(Unavailable, match="not here"):
            ask(digest)
    with pytest.raises(InvalidInput):
        blobs.path(b"../../etc/passwd")


def test_a_content_that_lies_or_grows_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with blobs.writer(expected=bytes(32)) as writer:
        writer.write(b"something")
        with pytest.raises(PeerFault, match="arrived as"):
            writer.commit()
    with blobs.writer(max_size=10) as writer:
        writer.write(bytes(10))
        with pytest.raises(PeerFault, match="grows past"):
            writer.write(b"x")
    with blobs.writer() as writer:
        writer.write(b"never committed")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_crash_go_and_those_of_another_process_stay(tmp_path: Path) -> None:
    old, young = tmp_path / "incoming-old", tmp_path / "incoming-young"
    for each in (old, young):
        each.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    Blobs(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["incoming-young"]


def aged(blobs: Blobs, data: bytes, seconds: float) -> bytes:
    digest = blobs.put(data)
    os.utime(blobs.path(digest), (time.time() - seconds,) * 2)
    return digest


def test_the_least_recently_used_goes_first_and_pins_hold(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, budget=350)
    (tmp_path / "a note of somebody's").write_bytes(bytes(1000))
    oldest, older, old = (aged(blobs, bytes([number]) * 100, 100 - number) for number in range(3))
    with blobs.pinned(oldest):
        aged(blobs, b"a" * 100, 50)
        assert (blobs.has(oldest), blobs.has(older), blobs.has(old)) == (True, False, True)
    os.utime(blobs.path(oldest), (time.time() - 500,) * 2)
    blobs.put(b"b" * 100)
    assert not blobs.has(oldest)
    assert (tmp_path / "a note of somebody's").exists()


def test_asking_for_a_content_is_use(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, budget=250)
    first, second = aged(blobs, b"1" * 100, 100), aged(blobs, b"2" * 100, 50)
    assert blobs.has(first)
    os.utime(blobs.path(first), (time.time() - 1,) * 2)
    blobs.put(b"3" * 100)
    assert blobs.path(first).exists()
    assert not blobs.path(second).exists()


def test_a_content_larger_than_the_budget_stays_until_the_next(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, budget=10)
    assert blobs.has(blobs.put(b"x" * 100))


def test_contents_without_bytes_are_bounded_by_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.store.blobs.MAX_CONTENTS", 32)
    blobs = Blobs(tmp_path, budget=10**6)
    for number in range(200):
        last = blobs.put(b"%d" % number)
        assert blobs.has(last)
        assert len(list(tmp_path.iterdir())) <= 32


def test_a_new_content_does_not_look_at_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(tmp_path, budget=64_000)
    looks = []
    look = blobs._make_room
    monkeypatch.setattr(blobs, "_make_room", lambda *arguments: looks.append(1) or look(*arguments))
    for number in range(256):
        blobs.put(number.to_bytes(2, "big") * 500)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 64_000
    assert len(looks) < 80, "a few are freed at a time"


def test_what_is_half_sent_stays_within_the_budget(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, budget=1000)
    writers = [blobs.writer(max_size=10**6) for _ in range(4)]
    for writer in writers[:3]:
        writer.write(bytes(300))
    with pytest.raises(Unavailable, match="on their way"):
        writers[3].write(bytes(300))
    writers[3].abandon()
    writers[0].abandon()
    writers[0].abandon()
    with blobs.writer() as writer:
        writer.write(bytes(300))
        writer.commit()
    writers[1].abandon()
    writers[2].abandon()
    assert blobs._coming == 0


def test_pins_that_are_over_leave_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for number in range(10):
        with blobs.pinned(bytes([number]) * 32, bytes(32)):
            assert blobs._pins[bytes(32)]
    assert not blobs._pins
