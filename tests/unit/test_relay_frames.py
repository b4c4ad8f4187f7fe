from __future__ import annotations

import os

import pytest

from surge.errors import PeerFault
from surge.relay.client.frames import (
    FRAME_OVERHEAD,
    MAX_FRAME,
    MAX_MESSAGE,
    REKEY_SECONDS,
    Kind,
    LostFrame,
    Opener,
    Sealer,
    pack,
    unpack,
)

KEY = bytes(range(32))


def test_frames_carry_records_in_order() -> None:
    sealer, opener = Sealer(KEY, 0.0), Opener(KEY)
    for number in range(5):
        records = [(Kind.MESSAGE, bytes([number]) * size) for size in (0, 1, 1000)]
        assert opener.open(sealer.seal(records, 0.0)) == records


def test_a_frame_shows_nothing_of_its_message() -> None:
    frame = Sealer(KEY, 0.0).seal([(Kind.MESSAGE, b"secret words")], 0.0)
    assert b"secret" not in frame
    assert len(frame) == FRAME_OVERHEAD + 5 + 12


def test_a_replayed_frame_gives_nothing_and_does_no_harm() -> None:
    sealer, opener = Sealer(KEY, 0.0), Opener(KEY)
    first = sealer.seal([(Kind.MESSAGE, b"a")], 0.0)
    second = sealer.seal([(Kind.MESSAGE, b"b")], 0.0)
    assert opener.open(first) == [(Kind.MESSAGE, b"a")]
    assert opener.open(first) == []
    assert opener.open(second) == [(Kind.MESSAGE, b"b")]
    assert opener.open(first) == []


def test_a_missing_or_reordered_frame_is_noticed() -> None:
    sealer, opener = Sealer(KEY, 0.0), Opener(KEY)
    sealer.seal([(Kind.MESSAGE, b"a")], 0.0)
    later = sealer.seal([(Kind.MESSAGE, b"b")], 0.0)
    with pytest.raises(LostFrame):
        opener.open(later)


@pytest.mark.parametrize("position", [7, 8, 20, -1])
def test_a_changed_frame_is_refused(position: int) -> None:
    sealer, opener = Sealer(KEY, 0.0), Opener(KEY)
    frame = bytearray(sealer.seal([(Kind.MESSAGE, b"pay 1")], 0.0))
    frame[position] ^= 1
    with pytest.raises((PeerFault, LostFrame)):
        opener.open(bytes(frame))


def test_a_counter_of_its_own_choice_does_not_pass_for_the_next_frame() -> None:
    frame = Sealer(KEY, 0.0).seal([(Kind.MESSAGE, b"a")], 0.0)
    opener = Opener(KEY)
    opener.open(frame)
    with pytest.raises(PeerFault, match="changed"):
        opener.open((1).to_bytes(8, "big") + frame[8:])


@pytest.mark.parametrize("size", [0, 7, FRAME_OVERHEAD - 1, MAX_FRAME + 1])
def test_frames_of_impossible_size_are_refused(size: int) -> None:
    with pytest.raises(PeerFault):
        Opener(KEY).open(bytes(size))


def test_a_truncated_frame_is_refused() -> None:
    frame = Sealer(KEY, 0.0).seal([(Kind.MESSAGE, os.urandom(100))], 0.0)
    for end in (24, 50, len(frame) - 1):
        with pytest.raises(PeerFault):
            Opener(KEY).open(frame[:end])


@pytest.mark.parametrize(
    "text",
    [
        b"\0",
        b"\0\0\0\0",
        b"\0\0\0\0\x05abcd",
        b"\0\xff\xff\xff\xff",
        b"\x05\0\0\0\0",
        b"\xff\0\0\0\0",
        pack([(0, b"ok")]) + b"\0",
        b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big") + bytes(MAX_MESSAGE + 1),
    ],
)
def test_plain_texts_that_are_not_a_row_of_records_are_refused(text: bytes) -> None:
    with pytest.raises(PeerFault):
        unpack(text)


def test_keys_change_after_an_hour_and_the_old_one_opens_nothing_new() -> None:
    sealer, opener, stuck = Sealer(KEY, 0.0), Opener(KEY), Opener(KEY)
    last = bytes(sealer.seal([(Kind.MESSAGE, b"old")], REKEY_SECONDS))
    assert opener.open(last) == [(Kind.MESSAGE, b"old"), (Kind.REKEY, b"")]
    stuck.open(bytes(last))
    stuck._cipher, stuck._key = Opener(KEY)._cipher, KEY  # keeps the old key
    following = bytes(sealer.seal([(Kind.MESSAGE, b"new")], REKEY_SECONDS + 1))
    assert opener.open(following) == [(Kind.MESSAGE, b"new")]
    with pytest.raises(PeerFault):
        stuck.open(following)


def test_keys_change_after_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.client.frames.REKEY_FRAMES", 3)
    sealer, opener = Sealer(KEY, 0.0), Opener(KEY)
    rekeyed = 0
    for number in range(12):
        records = opener.open(sealer.seal([(Kind.MESSAGE, bytes([number]))], 0.0))
        assert records[0] == (Kind.MESSAGE, bytes([number]))
        rekeyed += records[-1][0] == Kind.REKEY
    assert rekeyed == 3
