"""The call that brings a stored file: the largest fits a message, what is out of bounds is refused, and no fault repeats its keys."""

from __future__ import annotations

from typing import Any

import pytest

from surge.core.messages import encode_body
from surge.core.messages.fields import MAX_MESSAGE
from surge.core.messages.stored import (
    MOST_HOLDERS,
    MOST_SEGMENTS,
    Fetch,
    Fetched,
    Opening,
    PermitField,
    SegmentField,
    ShardField,
    decode_fetch,
    decode_fetched,
)
from surge.core.storage.layout import MOST_SHARDS
from surge.errors import PeerFault

H, A, KEY = b"h" * 32, "0x" + "ab" * 20, b"the object key, which is secret!"
MOST = (1 << 63) - 1


def fetch(segments: int = MOST_SEGMENTS, shards: int = MOST_SHARDS, permits: int = MOST_HOLDERS, **changes: Any) -> Fetch:
    listed = [SegmentField(number, [ShardField(index, A, H, H) for index in range(shards)]) for number in range(segments)]
    opening = Opening(KEY, H, MOST, MOST, MOST, listed)
    fields: dict[str, Any] = {"job": H, "object": H, "size": MOST, "offset": MOST, "length": MOST, "name": "n" * 1024}
    allowed = [PermitField(A, H, MOST, MOST, H, bytes(65))] * permits
    return Fetch(**{**fields, "opening": opening, "permits": allowed, **changes})


def test_the_largest_call_fits_a_message_with_room_around_it() -> None:
    data = encode_body(fetch())
    assert len(data) < MAX_MESSAGE - 1024
    assert decode_fetch(data) == fetch()


@pytest.mark.parametrize(
    "crooked",
    [
        fetch(segments=MOST_SEGMENTS + 1, shards=1),
        fetch(segments=1, shards=MOST_SHARDS + 1),
        fetch(segments=1, shards=0),
        fetch(segments=1, permits=MOST_HOLDERS + 1),
        fetch(segments=1, size=-1),
        fetch(segments=1, object=b"short"),
        fetch(segments=1, name="n" * 5000),
    ],
)
def test_what_is_out_of_bounds_is_refused_without_its_keys(crooked: Fetch) -> None:
    with pytest.raises(PeerFault) as refused:
        decode_fetch(encode_body(crooked))
    assert KEY not in repr((refused.value, refused.value.details, refused.value.__cause__)).encode()
    assert refused.value.details == {}
    assert refused.value.__cause__ is None


def test_what_a_device_says_is_bounded() -> None:
    assert decode_fetched(encode_body(Fetched([(A, MOST)] * MOST_HOLDERS))).read[0] == (A, MOST)
    for crooked in ([(A, 1)] * (MOST_HOLDERS + 1), [(A, -1)], [("0x12", 1)], [(A,)]):
        read: Any = crooked
        with pytest.raises(PeerFault):
            decode_fetched(encode_body(Fetched(read)))
