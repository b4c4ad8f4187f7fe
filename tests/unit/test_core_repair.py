"""Who is gone, what is repaired, in which order and where to."""

from __future__ import annotations

import random

import pytest

from surge.core.storage import repair
from surge.core.storage.placement import Candidate
from surge.core.storage.repair import DAY, HOUR, Habits, Presence, Repair, Segment, Shard, decide, plan, presence
from surge.core.types import Address

HERE, AWAY, LEAVING, GONE = Presence


def device(number: int, operator: int | None = None, region: str = "") -> Candidate:
    return Candidate(Address(f"0x{number:040x}"), Address(f"0x{10**6 + (number if operator is None else operator):040x}"), region)


def segment(states: str, k: int, threshold: int, key: bytes = b"key", first: int = 1) -> Segment:
    """A segment whose shards are here, away, leaving or gone; a dot has no shard at all."""
    shards = [Shard(at, device(first + at), Presence("HALG".index(each))) for at, each in enumerate(states) if each != "."]
    return Segment(key, k, len(states), threshold, 1000, tuple(shards))


FREE = [device(at) for at in range(500, 560)]


def after(done: Repair) -> Segment:
    """The segment once the repair was made."""
    moved = {each.index: Shard(each.index, each.to, HERE) for each in done.moves}
    kept = {each.index: each for each in done.segment.shards}
    old = done.segment
    return Segment(old.key, old.k, old.n, old.threshold, old.size, tuple((kept | moved)[at] for at in sorted(kept | moved)))


def test_a_device_that_sleeps_is_waited_for_by_its_habits() -> None:
    sleeper, steady, new = Habits(60 * DAY, 9 * HOUR), Habits(60 * DAY, 0), Habits(DAY, 0)
    assert presence(sleeper, 0) is HERE
    assert presence(sleeper, 0, leaving=True) is LEAVING
    assert [presence(each, 13 * HOUR) for each in (sleeper, steady, new)] == [AWAY, GONE, AWAY]
    assert [presence(each, 23 * HOUR) for each in (sleeper, steady, new)] == [GONE, GONE, AWAY]
    assert presence(sleeper, 22 * HOUR) is AWAY
    assert presence(new, 25 * HOUR) is GONE
    assert presence(Habits(60 * DAY, 30 * DAY), 8 * DAY) is GONE


def test_a_region_that_is_away_is_waited_for_longer() -> None:
    steady = Habits(60 * DAY, 0)
    assert presence(steady, 20 * HOUR, region_away=0.2) is GONE
    assert presence(steady, 20 * HOUR, region_away=0.9) is AWAY
    assert presence(steady, 37 * HOUR, region_away=0.9) is GONE


def test_habits_fade() -> None:
    assert repair.came_back(8 * HOUR, HOUR, 30 * DAY) == pytest.approx(4 * HOUR)
    assert repair.came_back(8 * HOUR, 9 * HOUR, 30 * DAY) == 9 * HOUR


def test_nothing_is_done_above_the_threshold_nor_for_devices_that_are_away() -> None:
    assert decide(segment("HHHHHG", 3, 4), FREE) is None
    assert decide(segment("HHHAAA", 3, 4), FREE) is None
    assert decide(segment("HHHHHH", 3, 5), FREE) is None


def test_at_the_threshold_all_that_is_lost_is_rebuilt() -> None:
    found = decide(segment("GHHAHG", 3, 4), FREE)
    assert found is not None
    assert found.sources == (1, 2, 4)
    assert [(each.index, each.copied) for each in found.moves] == [(0, False), (5, False)]
    assert found.moved == 5 * 1000
    assert after(found).sound == 6


def test_a_shard_that_nobody_holds_is_lost_too() -> None:
    found = decide(segment("HH.HH.", 2, 4), FREE)
    assert found is not None
    assert [each.index for each in found.moves] == [2, 5]


def test_who_leaves_hands_over_at_once_and_is_read_last() -> None:
    found = decide(segment("LHHHHH", 3, 4), FREE)
    assert found is not None
    assert found.sources == ()
    assert [(each.index, each.copied) for each in found.moves] == [(0, True)]
    assert found.moved == 2 * 1000
    both = decide(segment("LHHHGG", 3, 4), FREE)
    assert both is not None
    assert both.sources == (1, 2, 3)
    assert [(each.index, each.copied) for each in both.moves] == [(4, False), (5, False), (0, True)]


def test_what_cannot_be_rebuilt_now_waits_and_is_known() -> None:
    waiting = segment("HHAAGG", 3, 4)
    assert decide(waiting, FREE) is None
    assert repair.is_endangered(waiting)
    assert not repair.is_endangered(segment("HHHAGG", 3, 4))


def test_the_most_endangered_come_first() -> None:
    least = segment("HHHGGG", 3, 5, b"a")
    middle = segment("HHHAGG", 3, 5, b"b")
    calm = segment("HHHHGG", 3, 5, b"c")
    assert [each.segment.key for each in plan([calm, middle, least], FREE)] == [b"a", b"b", b"c"]


def test_no_operator_gets_a_second_shard_even_if_its_old_one_comes_back() -> None:
    few = [device(700, operator=6), device(701, operator=5), device(702, operator=1)]
    found = decide(segment("HHHHGG", 3, 4), few)
    assert found is not None
    assert [each.to for each in found.moves] == sorted(few[:2], key=lambda each: [move.to for move in found.moves].index(each))
    assert decide(segment("HHHHGG", 3, 4), few[:1]) is None
    assert decide(segment("HHHHGG", 3, 4), few[2:]) is None
    stranger = decide(segment("HHHHGG", 3, 4), [few[0], device(703)])
    assert stranger is not None
    partly = decide(segment("HHHGGG", 3, 4), [few[0], device(703)])
    assert partly is not None
    assert [each.to for each in partly.moves] == [device(703)]


def test_a_repair_always_helps_and_never_puts_two_shards_at_one_operator() -> None:
    chance = random.Random(4)
    repaired = 0
    for trial in range(400):
        n = chance.randrange(2, 31)
        k = chance.randrange(1, n)
        old = segment("".join(chance.choice("HHHHALG.") for _ in range(n)), k, chance.randrange(k, n), bytes([trial % 256]))
        free = [
            device(chance.randrange(400, 460), chance.choice([None, chance.randrange(1, 60)]), chance.choice("abc"))
            for _ in range(chance.randrange(40))
        ]
        free = list({each.device: each for each in free}.values())
        found = decide(old, free, trial)
        assert found == decide(old, free[::-1], trial)
        if found is None:
            continue
        repaired += 1
        new = after(found)
        if any(not each.copied for each in found.moves):
            assert new.sound > old.sound
            assert len(found.sources) == k
        assert sum(each.presence is LEAVING for each in new.shards) + new.n - new.sound < (
            sum(each.presence is LEAVING for each in old.shards) + old.n - old.sound
        )
        could_return = [each.holder.operator for each in new.shards]
        assert len(set(could_return)) == len(could_return)
    assert repaired > 100
