"""A segment's way out and back: bit for bit from any k of n, and whatever a holder changes is noticed before anything is decoded."""

from __future__ import annotations

import io
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage_support import CHUNKS, MASK_SECRET, OBJECT_ID, place, stored, unmasked
from surge.core.storage.chunks import Chunks
from surge.core.storage.layout import CHUNK, FRAGMENT, Layout
from surge.core.storage.masks import Check
from surge.core.storage.tree import Tree
from surge.errors import InternalFault, InvalidInput, PeerFault
from surge.storage import coding
from surge.storage.coding import Received, code_segment, moved, opened, rebuilt

SIZES = [1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 3 * FRAGMENT - 48, 3 * FRAGMENT - 47, 6 * FRAGMENT, 17 * CHUNK, 33 * CHUNK + 5, 1_000_000]
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 3), (2, 3), (3, 3), (3, 7), (20, 30)])
def test_a_segment_comes_back_from_its_own_bytes_and_from_parity(size: int, k: int, n: int) -> None:
    made = stored(size, k, n)
    for indices in (range(k), range(n - k, n)):
        fragments = made.from_holders(*indices)
        assert b"".join(opened(made.layout, CHUNKS, made.everything, fragments.__getitem__)) == made.plain


@SLOW
@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
    st.one_of(st.sampled_from(SIZES), st.integers(1, 800_000)),
    st.data(),
)
def test_any_range_comes_back_from_any_k(code: tuple[int, int], size: int, draw: st.DataObject) -> None:
    k, n = code
    made = stored(size, k, n)
    fragments = made.from_holders(*draw.draw(st.permutations(range(n)))[:k])
    start = draw.draw(st.integers(0, size - 1))
    end = draw.draw(st.integers(start + 1, size))
    (part,) = Layout(size, 256 << 20, k, n).ranges(start, end)
    assert b"".join(opened(made.layout, CHUNKS, part, fragments.__getitem__)) == made.plain[start:end]


@SLOW
@given(st.integers(1, 800_000), st.data())
def test_a_range_takes_the_leaves_that_the_layout_says_and_no_others(size: int, draw: st.DataObject) -> None:
    made = stored(size, 3, 5)
    start = draw.draw(st.integers(0, size - 1))
    end = draw.draw(st.integers(start + 1, min(size, start + 2 * CHUNK)))
    (part,) = Layout(size, 256 << 20, 3, 5).ranges(start, end)
    fragments: dict[int, dict[int, memoryview]] = {}
    for index, leaf in part.leaves(made.layout):
        fragments.setdefault(leaf, {}).update({index: made.sent(index, leaf, leaf + 1)[leaf]})
    assert b"".join(opened(made.layout, CHUNKS, part, fragments.__getitem__)) == made.plain[start:end]
    for leaf, index in [(leaf, index) for leaf, found in fragments.items() for index in found]:
        without = {each: {key: value for key, value in found.items() if (each, key) != (leaf, index)} for each, found in fragments.items()}
        with pytest.raises(InvalidInput, match="too few"):
            b"".join(opened(made.layout, CHUNKS, part, without.__getitem__))


def test_pieces_come_as_soon_as_their_stripes_are_there() -> None:
    made = stored(12 * FRAGMENT, 3, 5)
    fragments, asked = made.from_holders(0, 1, 4), []

    def of(stripe: int) -> dict[int, memoryview]:
        asked.append(stripe)
        return fragments[stripe]

    pieces = opened(made.layout, CHUNKS, made.everything, of)
    first = next(pieces)
    assert asked == [0]
    assert first == made.plain[: len(first)]
    assert first + b"".join(pieces) == made.plain
    assert asked == list(range(made.layout.stripes))


def test_flipped_cut_and_swapped_shards_are_noticed() -> None:
    made = stored(400_000, 2, 4)
    leaf = bytes(made.shards[0].data[:FRAGMENT])
    for instead in (
        leaf[:1000] + bytes([leaf[1000] ^ 1]) + leaf[1001:],
        leaf[:-1],
        leaf[: FRAGMENT // 2],
        b"",
        bytes(made.shards[1].data[:FRAGMENT]),
        bytes(made.shards[0].data[FRAGMENT : 2 * FRAGMENT]),
        made.sent(0, 0, 1)[0].tobytes(),
    ):
        with pytest.raises(PeerFault, match=f"{made.shards[0].place.holder} sent other bytes"):
            made.sent(0, 0, 1, instead)


def test_a_shard_of_another_holder_place_or_object_is_noticed() -> None:
    made = stored(100_000, 2, 4)
    data, proof = bytes(made.shards[0].data), made.shards[0].tree.range_proof(0, 1)
    whole = Received(made.layout, MASK_SECRET, made.shards[0].place, made.shards[0].root).accept(0, data, b"")
    assert whole[0] == made.sent(0, 0, 1)[0]
    with pytest.raises(PeerFault, match="sent other bytes"):
        Received(made.layout, MASK_SECRET, made.shards[1].place, made.shards[1].root).accept(0, data, proof)


def test_the_wrong_key_or_segment_opens_nothing() -> None:
    made = stored(100_000, 2, 4)
    fragments = made.from_holders(0, 2)
    for chunks, part in ((Chunks(bytes(32), OBJECT_ID), made.everything), (CHUNKS, replace(made.everything, segment=1))):
        with pytest.raises(PeerFault, match="does not open"):
            list(opened(made.layout, chunks, part, fragments.__getitem__))


def test_no_two_holders_have_anything_in_common_even_of_zeros() -> None:
    layout = Layout(300_000, 1 << 20, 1, 3).segment(0)
    shards = code_segment(layout, CHUNKS, MASK_SECRET, [place(index) for index in range(3)], io.BytesIO(bytes(300_000)).readinto)
    again = moved(shards[0].data, MASK_SECRET, place(0), place(0, turn=1))
    blocks = {bytes(data[at : at + 16]) for data in (*(shard.data for shard in shards), again.data) for at in range(0, layout.shard, 16)}
    assert len(blocks) == 4 * layout.shard // 16


@pytest.mark.parametrize(("size", "k", "n"), [(1, 1, 3), (100_000, 2, 4), (700_000, 3, 7)])
def test_every_shard_is_rebuilt_from_others_for_its_new_place(size: int, k: int, n: int) -> None:
    made = stored(size, k, n)
    for index in range(n):
        others = made.from_holders(*[each for each in range(n) if each != index][-k:])
        new = place(index, turn=1)
        shard = rebuilt(made.layout, MASK_SECRET, new, made.shards[index].check, others.__getitem__)
        assert shard.root == Tree.of(shard.data).root != made.shards[index].root
        received = Received(made.layout, MASK_SECRET, new, shard.root).accept(0, shard.data, b"")
        assert unmasked({stripe: {index: each} for stripe, each in received.items()}, index) == unmasked(made.from_holders(index), index)
        assert bytes(moved(made.shards[index].data, MASK_SECRET, place(index), new).data) == bytes(shard.data)


def test_a_rebuilt_shard_that_is_not_the_maps_is_not_placed() -> None:
    made = stored(100_000, 2, 4)
    fragments = {stripe: {2: each[2], 3: bytes(len(each[3]))} for stripe, each in made.from_holders(2, 3).items()}
    with pytest.raises(InternalFault, match="otherwise than the map has it"):
        rebuilt(made.layout, MASK_SECRET, place(0, turn=1), made.shards[0].check, fragments.__getitem__)


def test_the_check_is_of_the_unmasked_shard() -> None:
    made = stored(500_000, 3, 5)
    for index, shard in enumerate(made.shards):
        check = Check(MASK_SECRET, OBJECT_ID, 0, index)
        check.update(unmasked(made.from_holders(index), index))
        assert shard.check == check.digest()


def test_a_file_that_becomes_shorter_is_noticed() -> None:
    layout = Layout(200_000, 1 << 20, 2, 3).segment(0)
    with pytest.raises(InvalidInput, match="became shorter"):
        code_segment(layout, CHUNKS, MASK_SECRET, [place(index) for index in range(3)], io.BytesIO(bytes(199_999)).readinto)


def test_a_source_may_give_less_at_a_time() -> None:
    made = stored(200_000, 2, 3)
    source = io.BytesIO(made.plain)
    trickle = code_segment(
        made.layout, CHUNKS, MASK_SECRET, [place(index) for index in range(3)], lambda view: source.readinto(view[:1000])
    )
    assert [shard.root for shard in trickle] == [shard.root for shard in made.shards]


def test_places_that_are_not_the_segments_are_refused() -> None:
    layout = Layout(10, 1 << 20, 2, 3).segment(0)
    other = replace(place(2), object_id=b"p" * 32)
    for places in (
        [],
        [place(0), place(1)],
        [place(1), place(0), place(2)],
        [place(0), place(1), place(2, segment=1)],
        [place(0), place(1), other],
    ):
        with pytest.raises(InvalidInput, match="as many places"):
            code_segment(layout, CHUNKS, MASK_SECRET, places, io.BytesIO(bytes(10)).readinto)
    with pytest.raises(InvalidInput, match="moves to another holder"):
        moved(bytes(32), MASK_SECRET, place(0), place(1))


def test_a_segment_in_work_holds_its_shards_and_a_few_stripes() -> None:
    layout = Layout(16 << 20, 16 << 20, 4, 6).segment(0)
    tracemalloc.start()
    try:
        shards = code_segment(layout, CHUNKS, MASK_SECRET, [place(index) for index in range(6)], lambda view: len(view))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < sum(len(shard.data) for shard in shards) + (8 << 20)


def test_reading_a_segment_back_holds_a_few_stripes() -> None:
    made = stored(16 << 20, 4, 6)
    tracemalloc.start()
    try:
        whole = opened(
            made.layout, CHUNKS, made.everything, lambda stripe: {i: made.sent(i, stripe, stripe + 1)[stripe] for i in (2, 3, 4, 5)}
        )
        assert sum(len(piece) for piece in whole) == len(made.plain)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_more_stripes_than_are_coded_ahead_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stored(40 * FRAGMENT, 2, 3)
    monkeypatch.setattr(coding, "_AHEAD", 1)
    monkeypatch.setattr(coding, "_RUN", 3)
    assert [shard.root for shard in stored(40 * FRAGMENT, 2, 3).shards] == [shard.root for shard in expected.shards]
