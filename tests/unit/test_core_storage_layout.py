"""How an object is cut: every byte has one place, and a range needs no leaf that does not hold some of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core.storage.layout import (
    CHUNK,
    FRAGMENT,
    MIB,
    MOST_SEALED,
    MOST_SEGMENT,
    MOST_SHARD,
    MOST_SHARDS,
    MOST_SIZE,
    SEALED_CHUNK,
    TRANSFER_LEAF,
    Layout,
    SegmentLayout,
    plain_size,
    sealed_size,
)
from surge.core.storage.tree import transfer_leaves
from surge.errors import InvalidInput

CODES = st.integers(1, MOST_SHARDS).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))
SEGMENT_SIZES = st.integers(0, 8).map(lambda power: MIB << power)
EDGES = [1, 2, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, MIB - 1, MIB, MIB + 1, 20 * FRAGMENT, 32 * MIB, 32 * MIB + 1]
SIZES = st.one_of(st.sampled_from(EDGES), st.integers(1, 300 * MIB))


@pytest.mark.parametrize("plain", EDGES)
def test_a_sealed_size_tells_the_plain_one(plain: int) -> None:
    assert plain_size(sealed_size(plain)) == plain


@pytest.mark.parametrize("sealed", [-1, 0, 1, 16, SEALED_CHUNK + 1, SEALED_CHUNK + 16])
def test_a_size_that_no_plaintext_gives_is_refused(sealed: int) -> None:
    with pytest.raises(InvalidInput, match="no plaintext"):
        plain_size(sealed)


@settings(deadline=None)
@given(SIZES, SEGMENT_SIZES, CODES)
def test_segments_hold_the_object_and_shards_hold_the_segments(size: int, segment_size: int, code: tuple[int, int]) -> None:
    layout = Layout(size, segment_size, *code)
    segments = [layout.segment(number) for number in range(layout.segments)]
    assert sum(segment.plain for segment in segments) == size
    for segment in segments:
        assert segment.sealed <= segment.k * segment.shard
        assert segment.k * (segment.shard - segment.fragment(segment.stripes - 1)) < segment.sealed
        assert segment.shard == sum(segment.fragment(stripe) for stripe in range(segment.stripes)) <= MOST_SHARD
        assert segment.stripes == transfer_leaves(segment.shard)
        assert all(segment.fragment(stripe) == TRANSFER_LEAF for stripe in range(segment.stripes - 1))
        assert 0 < segment.fragment(segment.stripes - 1) <= TRANSFER_LEAF
        assert segment.shard % 32 == 0


def test_an_empty_object_has_no_segment() -> None:
    assert Layout(0).segments == 0
    assert list(Layout(0).ranges(0, 0)) == []
    with pytest.raises(InvalidInput, match="no segment"):
        Layout(0).segment(0)


def test_one_byte_takes_one_leaf_of_each_shard() -> None:
    segment = Layout(1).segment(0)
    assert (segment.sealed, segment.stripes, segment.shard) == (17, 1, 32)


@settings(deadline=None)
@given(SIZES, SEGMENT_SIZES, st.data())
def test_ranges_cover_what_is_asked_for_and_no_chunk_without_some_of_it(size: int, segment_size: int, data: st.DataObject) -> None:
    layout = Layout(size, segment_size)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, min(size, start + 3 * segment_size)))
    at = start
    for part in layout.ranges(start, end):
        first = part.segment * segment_size + part.first * CHUNK
        assert first + part.skip == at
        assert 0 <= part.skip < CHUNK
        assert part.size > 0
        assert (part.end - 1) * CHUNK < part.first * CHUNK + part.skip + part.size <= part.end * CHUNK
        assert part.end <= layout.segment(part.segment).chunks
        at += part.size
    assert at == end


@pytest.mark.parametrize(
    ("start", "end", "first", "last"), [(0, 1, 0, 1), (CHUNK - 1, CHUNK, 0, 1), (CHUNK, 2 * CHUNK, 1, 2), (1, CHUNK + 1, 0, 2)]
)
def test_a_range_up_to_a_chunks_edge_takes_no_chunk_more(start: int, end: int, first: int, last: int) -> None:
    assert [(part.first, part.end) for part in Layout(MIB).ranges(start, end)] == [(first, last)]


@settings(deadline=None)
@given(st.integers(17, 40 * MIB), CODES, st.data())
def test_pieces_lie_in_a_row_in_the_stripes(sealed: int, code: tuple[int, int], data: st.DataObject) -> None:
    segment = SegmentLayout(sealed, *code)
    start = data.draw(st.integers(0, sealed))
    end = data.draw(st.integers(start, min(sealed, start + 4 * FRAGMENT)))
    at = start
    for piece in segment.pieces(start, end):
        assert 0 <= piece.start < piece.end <= segment.fragment(piece.stripe)
        assert piece.index < segment.k
        assert piece.stripe * segment.stripe + piece.index * segment.fragment(piece.stripe) + piece.start == at
        at += piece.end - piece.start
    assert at == end


def test_a_chunk_lies_in_two_leaves_at_most_but_for_the_last_stripe() -> None:
    layout = Layout(32 * MIB)
    segment = layout.segment(0)
    for chunk in range(segment.chunks - 20 * 2):
        start = chunk * SEALED_CHUNK
        assert len(list(segment.pieces(start, start + SEALED_CHUNK))) <= 2


@pytest.mark.parametrize(("k", "n"), [(0, 1), (-1, 3), (2, 1), (20, 33), (33, 33)])
def test_a_code_that_there_is_not_is_refused(k: int, n: int) -> None:
    with pytest.raises(InvalidInput, match="no code"):
        Layout(1, k=k, n=n)
    with pytest.raises(InvalidInput, match="no code"):
        SegmentLayout(17, k, n)


@pytest.mark.parametrize("size", [-1, MOST_SIZE + 1])
def test_an_object_too_large_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="an object of"):
        Layout(size)


@pytest.mark.parametrize("segment_size", [0, MIB // 2, MIB + 1, 3 * MIB, 2 * MOST_SEGMENT, -MIB])
def test_a_segment_of_another_size_is_refused(segment_size: int) -> None:
    with pytest.raises(InvalidInput, match="power of two"):
        Layout(1, segment_size)


@pytest.mark.parametrize("sealed", [0, 16, MOST_SEALED + 1])
def test_a_sealed_segment_of_another_size_is_refused(sealed: int) -> None:
    with pytest.raises(InvalidInput, match="sealed segment"):
        SegmentLayout(sealed, 1, 1)


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (2, 1), (0, 101), (101, 101)])
def test_a_range_outside_is_refused(start: int, end: int) -> None:
    with pytest.raises(InvalidInput, match="not in an object"):
        list(Layout(100).ranges(start, end))
    with pytest.raises(InvalidInput, match="not in a sealed"):
        list(SegmentLayout(100, 1, 1).pieces(start, end))
