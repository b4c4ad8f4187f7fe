"""The map: read as written, sealed from all but keepers, and no number in it believed that does not follow from the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from surge.core import canonical
from surge.core.storage import map as maps
from surge.core.storage.layout import MIB, MOST_SHARDS, Layout
from surge.core.storage.map import PAGE, Page, Placed, Segment, Shard, check_page, open_page, sealed_page
from surge.core.storage.records import MOST_BODY, page_label, sign
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault
from surge.wallet import KeySigner

SECRET, IDENTITY, MAP_KEY = bytes(range(32)), b"o" * 32, KeySigner(bytes(31) + b"\x07")
LAYOUT = Layout(70 * MIB - 5, MIB, 2, 4)


def shard(segment: int, index: int) -> Shard:
    name = f"{segment:04}{index:04}".encode()
    device, operator = Address(f"0x{index:040x}"), Address(f"0x{index + 1000:040x}")
    return Shard(name * 2, Placed(device, operator, name * 4, name[::-1] * 4, 10**15, 1 << 31))


def page(number: int = 0, layout: Layout = LAYOUT) -> Page:
    first = number * PAGE
    segments = [
        Segment(layout.segment(each), tuple(shard(each, index) for index in range(layout.n)))
        for each in range(first, min(first + PAGE, layout.segments))
    ]
    return Page(IDENTITY, number, layout.segments, tuple(segments))


def with_shard(changed: Shard, *, segment: int = 3, index: int = 1) -> Page:
    whole = page()
    shards = list(whole.segments[segment].shards)
    shards[index] = changed
    segments = list(whole.segments)
    segments[segment] = replace(segments[segment], shards=tuple(shards))
    return replace(whole, segments=tuple(segments))


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_is_read_as_it_was_written(number: int) -> None:
    record = sealed_page(page(number), SECRET, MAP_KEY, 5)
    assert (record.author, record.label, record.version) == (MAP_KEY.address, page_label(number), 5)
    assert open_page(record, SECRET, IDENTITY) == page(number)
    check_page(page(number), IDENTITY, number, LAYOUT)


def test_a_shard_may_be_nowhere_for_a_while() -> None:
    waiting = with_shard(replace(shard(3, 1), placed=None))
    assert maps.decode(maps.encode(waiting)) == waiting
    assert waiting.place(3, 1) is None
    place = waiting.place(3, 2)
    assert place is not None
    assert (place.object_id, place.segment, place.index, place.deal) == (IDENTITY, 3, 2, b"00030002" * 4)


def test_the_largest_page_fits_a_record() -> None:
    layout = Layout(PAGE * 256 * MIB, 256 * MIB, 20, MOST_SHARDS)
    assert len(maps.encode(page(0, layout))) + 28 < MOST_BODY


def test_a_page_opens_for_its_keepers_as_itself_only() -> None:
    record = sealed_page(page(), SECRET, MAP_KEY, 5)
    for secret, identity, label in ((bytes(32), IDENTITY, 0), (SECRET, b"p" * 32, 0), (SECRET, IDENTITY, 1)):
        with pytest.raises(PeerFault, match="does not open"):
            open_page(sign(MAP_KEY, page_label(label), 5, record.body), secret, identity)
    with pytest.raises(PeerFault, match="no page"):
        open_page(sign(MAP_KEY, b"\xff" * 32, 5, record.body), SECRET, IDENTITY)
    moved = replace(page(), object_id=b"p" * 32)
    body = maps.sealing.seal(SECRET, ["surge map 1", IDENTITY, 0], maps.encode(moved))
    with pytest.raises(PeerFault, match="labelled as another"):
        open_page(sign(MAP_KEY, page_label(0), 5, body), SECRET, IDENTITY)


@pytest.mark.parametrize(
    ("other", "identity", "number"),
    [
        (Layout(70 * MIB - 6, MIB, 2, 4), IDENTITY, 1),
        (Layout(70 * MIB - 5, 2 * MIB, 2, 4), IDENTITY, 0),
        (Layout(71 * MIB - 5, MIB, 2, 4), IDENTITY, 0),
        (Layout(70 * MIB - 5, MIB, 3, 4), IDENTITY, 0),
        (Layout(70 * MIB - 5, MIB, 2, 5), IDENTITY, 0),
        (LAYOUT, b"p" * 32, 0),
        (LAYOUT, IDENTITY, 1),
    ],
)
def test_a_map_that_is_not_as_the_header_says_is_refused(other: Layout, identity: bytes, number: int) -> None:
    found = page(1) if other.size == 70 * MIB - 6 else page(0)
    with pytest.raises(PeerFault, match="map"):
        check_page(found, identity, number, other)


@pytest.mark.parametrize("what", ["operator", "device", "deal"])
def test_two_shards_of_a_segment_with_one_are_refused(what: str) -> None:
    second, first = shard(3, 1), shard(3, 0)
    assert second.placed is not None
    assert first.placed is not None
    twice = with_shard(replace(second, placed=replace(second.placed, **{what: getattr(first.placed, what)})))
    with pytest.raises(InvalidInput, match=f"one {what} "):
        maps.encode(twice)
    raw = canonical.encode([IDENTITY, 0, LAYOUT.segments, [maps._segment_fields(each) for each in twice.segments]])
    with pytest.raises(PeerFault, match=f"one {what} "):
        maps.decode(raw)


def fields() -> list[Any]:
    return canonical.decode(maps.encode(page()))


def lies() -> list[Any]:
    """A field's place, and what a liar puts there."""
    return [
        ([0], b"short"),
        ([0], "o" * 32),
        ([1], -1),
        ([1], 1),
        ([1], 2),
        ([1], True),
        ([2], 0),
        ([2], 63),
        ([2], 1 << 60),
        ([2], -1),
        ([3], []),
        ([3], None),
        ([3, 0], []),
        ([3, 0, 0], 0),
        ([3, 0, 0], 5),
        ([3, 0, 0], 3),
        ([3, 0, 1], 3),
        ([3, 0, 1], 33),
        ([3, 0, 1], 1 << 62),
        ([3, 5, 2], 17),
        ([3, 5, 2], Layout(2 * MIB, 2 * MIB).segment(0).sealed),
        ([3, 5, 2], 0),
        ([3, 5, 2], -17),
        ([3, 5, 2], 1 << 50),
        ([3, 5, 2], LAYOUT.segment(0).sealed + 1),
        ([3, 63, 2], LAYOUT.segment(0).sealed - 1),
        ([3, 0, 3], []),
        ([3, 0, 3, 0], []),
        ([3, 0, 3, 0], [b"c" * 16, b"d" * 20]),
        ([3, 0, 3, 0], ["c" * 16]),
        ([3, 0, 3, 0, 0], b"c" * 15),
        ([3, 0, 3, 0, 1], b"d" * 19),
        ([3, 0, 3, 0, 2], b"d" * 21),
        ([3, 0, 3, 0, 3], b"d" * 31),
        ([3, 0, 3, 0, 4], b""),
    ]


@pytest.mark.parametrize(("where", "lie"), lies())
def test_a_lie_in_a_page_is_refused(where: list[int], lie: Any) -> None:
    found = fields()
    inside = found
    for step in where[:-1]:
        inside = inside[step]
    inside[where[-1]] = lie
    with pytest.raises(PeerFault, match="cannot be read"):
        maps.decode(canonical.encode(found))


def test_segments_all_alike_but_of_no_segments_size_are_refused() -> None:
    found = fields()
    for row in found[3]:
        row[2] = 1000 + 16
    with pytest.raises(PeerFault, match="power of two"):
        maps.decode(canonical.encode(found))


def test_a_last_segment_longer_than_the_others_is_refused() -> None:
    found = canonical.decode(maps.encode(page(1)))
    found[3][-1][2] = Layout(2 * MIB, 2 * MIB).segment(0).sealed
    with pytest.raises(PeerFault, match="shorter last"):
        maps.decode(canonical.encode(found))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", canonical.encode({}), canonical.encode([]), canonical.encode([IDENTITY, 0, 1]), b"\x84\x9a" + b"\xff" * 4]
)
def test_what_is_no_page_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault, match="cannot be read"):
        maps.decode(data)


def test_more_segments_than_a_page_has_and_more_bytes_than_a_record_has_are_refused() -> None:
    found = fields()
    found[3].append(found[3][0])
    with pytest.raises(PeerFault, match="64 at most"):
        maps.decode(canonical.encode(found))
    with pytest.raises(PeerFault, match="larger than"):
        maps.decode(bytes(MOST_BODY + 1))
