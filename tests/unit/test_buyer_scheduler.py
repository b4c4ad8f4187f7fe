"""The scheduler against a simulated set of providers: no network, a clock of its own."""

from __future__ import annotations

import math
import random

import pytest

from scheduled_world import World
from surge.buyer.cuts import Abandon, Assign, Deliver, Fault, Lane, Recut
from surge.buyer.scheduler import TRIES, Scheduler
from surge.buyer.sizes import DEPTH, RAMP


def test_every_item_is_delivered_once_and_large_jobs_get_large_units() -> None:
    scheduler = Scheduler()
    scheduler.items_arrived(20_000)
    scheduler.items_ended()
    world = World(scheduler, {"a": 50e-6, "b": 50e-6})
    world.run()
    assert sorted(world.delivered) == list(range(20_000))
    assert len(world.assigned) < 80
    assert world.now < 20_000 * 50e-6 / 2 * 1.5


def test_units_aim_at_half_a_second_and_ramp_by_a_bounded_factor() -> None:
    scheduler = Scheduler()
    scheduler.items_arrived(100_000)
    world = World(scheduler, {"a": 1e-3})
    world.run(until=60)
    sizes = [one.count for one in world.assigned]
    assert sizes[:DEPTH] == [1] * DEPTH
    largest = 1
    for size in sizes:
        assert size <= RAMP * largest
        largest = max(largest, size)
    assert 400 <= sizes[len(sizes) // 2] <= 600


def test_a_fast_provider_gets_bigger_units_and_all_end_together() -> None:
    scheduler = Scheduler()
    scheduler.items_arrived(4_000)
    scheduler.items_ended()
    world = World(scheduler, {"fast": 1e-3, "slow": 4e-3})
    world.run()
    share = sum(one.count for one in world.assigned if one.lane == "fast")
    assert 0.7 < share / 4_000 < 0.9
    assert world.now < 4_000 / (1000 + 250) * 1.3


def test_a_slow_generator_is_not_waited_for() -> None:
    scheduler = Scheduler()
    World(scheduler, {"a": 1e-3, "b": 1e-3})
    scheduler.seconds, scheduler.largest = 1e-3, 500
    scheduler.items_arrived(4)
    assigned = scheduler.assign(0.0, {"a": 8, "b": 8})
    assert sum(one.count for one in assigned) == 4


def test_a_fixed_chunk_is_kept() -> None:
    scheduler = Scheduler(chunk=7)
    scheduler.items_arrived(30)
    scheduler.items_ended()
    world = World(scheduler, {"a": 1e-3})
    world.run()
    assert [one.count for one in world.assigned] == [7, 7, 7, 7, 2]


def test_the_window_and_the_depth_bound_what_is_in_flight() -> None:
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(100)
    scheduler.lane_joined(Lane("a", 4, 1))
    assert len(scheduler.assign(0.0, {"a": 3})) == 3
    assert len(scheduler.assign(0.0, {"a": 97})) == DEPTH * 4 - 3


def test_one_bad_item_is_found_and_the_others_are_delivered() -> None:
    scheduler = Scheduler()
    scheduler.items_arrived(1_000)
    scheduler.items_ended()
    world = World(scheduler, {"a": 1e-3, "b": 1e-3})
    world.bad = {613}
    world.run()
    assert world.faults == [613]
    assert sorted(world.delivered) == [index for index in range(1_000) if index != 613]


def test_a_lowered_limit_is_raised_before_an_item_is_blamed() -> None:
    scheduler = Scheduler()
    scheduler.items_arrived(1)
    scheduler.lane_joined(Lane("a", 1, 1))
    (one,) = scheduler.assign(0.0, {"a": 1})
    assert not one.whole
    assert scheduler.ended_badly(one.number, "a", lowered=True) == []
    (again,) = scheduler.assign(0.0, {"a": 1})
    assert again.whole
    assert scheduler.ended_badly(one.number, "a", lowered=True) == [Fault(one.number, 0, "a")]


def test_local_endings_go_elsewhere_and_after_three_the_item_is_blamed() -> None:
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(1)
    scheduler.items_ended()
    for key in ("a", "b"):
        scheduler.lane_joined(Lane(key, 1, 1))
    seen = []
    for _ in range(TRIES):
        (one,) = scheduler.assign(0.0, {"a": 1, "b": 1})
        seen.append(one.lane)
        effects = scheduler.ended_locally(one.number, one.lane, now=0.0)
    assert set(seen[:2]) == {"a", "b"}
    assert effects == [Fault(0, 0, seen[-1])]
    assert scheduler.finished_all


def test_a_unit_too_long_for_its_wall_time_is_halved_at_once() -> None:
    scheduler = Scheduler(chunk=8)
    scheduler.items_arrived(8)
    scheduler.lane_joined(Lane("a", 1, 1))
    (one,) = scheduler.assign(0.0, {"a": 1})
    (recut,) = scheduler.ended_locally(one.number, "a", now=0.0, split=True)
    assert isinstance(recut, Recut)
    assert [(first, count) for _, first, count in recut.parts] == [(0, 4), (4, 4)]


def test_a_provider_that_left_loses_its_units_to_the_others() -> None:
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(4)
    for key in ("a", "b"):
        scheduler.lane_joined(Lane(key, 1, 1))
    first = scheduler.assign(0.0, {"a": 2, "b": 2})
    mine = {one.number for one in first if one.lane == "a"}
    scheduler.lane_left("a")
    for one in first:
        if one.lane == "b":
            scheduler.finished(one.number, "b", now=1.0, seconds=1.0)
    assert {one.number for one in scheduler.assign(1.0, {"b": 2})} == mine


def test_a_straggler_gets_one_copy_and_the_loser_is_withdrawn() -> None:
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(40)
    scheduler.items_ended()
    world = World(scheduler, {"a": 0.5, "b": 0.5})
    world.run(until=3.0)
    world.silent = {"a"}
    world.events = [event for event in world.events if event[2].lane != "a"]
    world.run(until=300.0)
    assert sorted(world.delivered) == list(range(40))
    assert any(one.copy for one in world.assigned)
    assert {effect.lane for effect in world.withdrawn} == {"a"}
    assert world.now < 40


def test_a_provider_that_never_answers_is_helped_out() -> None:
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(10)
    scheduler.items_ended()
    world = World(scheduler, {"a": 0.01, "mute": 0.01})
    world.silent = {"mute"}
    world.run(until=100.0)
    assert sorted(world.delivered) == list(range(10))
    assert world.now < 10


def test_a_lane_that_shows_nothing_past_its_wall_time_is_abandoned() -> None:
    scheduler = Scheduler(chunk=1, wall_seconds=10)
    scheduler.items_arrived(1)
    scheduler.lane_joined(Lane("a", 1, 1))
    scheduler.assign(0.0, {"a": 1})
    assert scheduler.tick(20.0) == []
    assert scheduler.tick(26.0) == [Abandon("a")]


def test_the_cheaper_lane_is_preferred_among_equally_busy_ones() -> None:
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(1)
    scheduler.lane_joined(Lane("dear", 1, 20))
    scheduler.lane_joined(Lane("cheap", 1, 10))
    assert [one.lane for one in scheduler.assign(0.0, {"dear": 1, "cheap": 1})] == ["cheap"]


def test_who_holds_what_is_read_next_is_preferred_among_equals_and_only_among_those() -> None:
    def assigned(*, price: int = 10, busy: int = 0) -> list[str]:
        scheduler = Scheduler(chunk=1)
        scheduler.items_arrived(1)
        scheduler.holders[0] = {"holder"}
        scheduler.lane_joined(Lane("near", 1, 10, latency=0.001, seconds=0.1))
        scheduler.lane_joined(Lane("holder", 1, price, latency=0.1, seconds=0.5, running=set(range(100, 100 + busy))))
        return [one.lane for one in scheduler.assign(0.0, {"near": 1, "holder": 1})]

    assert assigned() == ["holder"]
    assert assigned(price=11) == ["near"]
    assert assigned(busy=1) == ["near"]


def test_a_cut_that_reads_too_much_is_halved_and_none_is_so_large_again() -> None:
    scheduler = Scheduler(chunk=8)
    scheduler.items_arrived(20)
    scheduler.lane_joined(Lane("a", 1, 10))
    (one, *_) = scheduler.assign(0.0, {"a": 1})
    assert (one.first, one.count) == (0, 8)
    (recut,) = scheduler.too_much(one.number, "a")
    assert [(first, count) for _, first, count in recut.parts] == [(0, 4), (4, 4)]
    after = scheduler.assign(0.0, {"a": 9})
    assert [(each.first, each.count) for each in after] == [(0, 4), (4, 4)]
    for each in after:
        scheduler.finished(each.number, "a", now=1.0, seconds=0.1)
    assert [each.count for each in scheduler.assign(1.0, {"a": 1})] == [4]
    single = Scheduler(chunk=1)
    single.items_arrived(1)
    single.lane_joined(Lane("a", 1, 10))
    (one,) = single.assign(0.0, {"a": 1})
    assert single.too_much(one.number, "a") == [], "one item is what it is"


def test_what_a_unit_reads_may_take_its_time_on_the_way() -> None:
    scheduler = Scheduler(chunk=1, wall_seconds=10)
    scheduler.items_arrived(1)
    scheduler.lane_joined(Lane("a", 1, 10))
    (one,) = scheduler.assign(0.0, {"a": 1})
    cut = scheduler.cuts[one.number]
    cut.starts("a", math.inf)
    assert scheduler.tick(10_000.0) == []
    cut.starts("a", 10_000.0)
    assert scheduler.tick(10_001.0) == []
    assert scheduler.tick(10_100.0) == [Abandon("a")]


def test_a_restored_job_runs_only_what_has_no_result() -> None:
    scheduler = Scheduler(chunk=4)
    scheduler.items_arrived(20)
    scheduler.items_ended()
    scheduler.restore([(0, 4), (12, 4)], [(7, 4, 4)])
    world = World(scheduler, {"a": 1e-3})
    world.run()
    assert sorted(world.delivered) == [*range(4, 12), *range(16, 20)]
    assert world.delivered[4][0] == 7
    assert scheduler.done_items == 20


def test_an_answer_that_was_ready_before_a_restart_says_nothing_of_a_lanes_speed() -> None:
    scheduler = Scheduler()
    scheduler.items_arrived(50)
    scheduler.items_ended()
    scheduler.restore([], [(0, 0, 10)])
    scheduler.hold(0)
    scheduler.lane_joined(Lane("a", 1, price=10))
    scheduler.adopt(0, "a", 0.0)
    scheduler.finished(0, "a", now=0.001, seconds=5.0)
    assert [one.count for one in scheduler.assign(0.01, {"a": 64})] == [1] * DEPTH


def test_a_cut_that_two_should_answer_goes_to_another_when_the_lane_it_was_held_for_has_it() -> None:
    scheduler = Scheduler(copies=2)
    scheduler.items_arrived(10)
    scheduler.items_ended()
    scheduler.restore([], [(0, 0, 10)])
    scheduler.hold(0)
    for key in ("a", "b"):
        lane = Lane(key, 1, price=10)
        lane.operator = key
        scheduler.lane_joined(lane)
    assert scheduler.assign(0.0, {"a": 1, "b": 1}) == []
    scheduler.adopt(0, "a", 0.0)
    assert [(one.number, one.lane) for one in scheduler.assign(0.0, {"a": 1, "b": 1})] == [(0, "b")]


@pytest.mark.parametrize("seed", range(20))
def test_random_days_never_lose_or_repeat_an_item(seed: int) -> None:
    """Finishes, bad endings, local endings, refusals and departures in any order."""
    draw = random.Random(seed)
    scheduler = Scheduler(chunk=draw.choice([0, 1, 7]))
    total = draw.randint(1, 200)
    scheduler.items_arrived(total)
    scheduler.items_ended()
    bad = set(draw.sample(range(total), min(total, 3)))
    results: dict[int, str] = {}
    live: list[Assign] = []
    now = 0.0
    for step in range(100_000):
        if scheduler.finished_all:
            break
        now += draw.random() * 3
        if len(scheduler.lanes) < 3:
            scheduler.lane_joined(Lane(f"lane{step}", draw.randint(1, 3), draw.randint(1, 3)))
        live += scheduler.assign(now, dict.fromkeys(scheduler.lanes, 5))
        if not live:
            continue
        one = live.pop(draw.randrange(len(live)))
        fate = draw.random()
        effects: list[object] = []
        if one.lane not in scheduler.lanes:
            continue
        if fate < 0.05:
            scheduler.lane_left(one.lane)
        elif fate < 0.1:
            scheduler.released(one.number, one.lane, now=now, rest=1.0)
        elif fate < 0.13:
            effects += scheduler.ended_locally(one.number, one.lane, now=now)
        elif bad & set(range(one.first, one.first + one.count)):
            effects += scheduler.ended_badly(one.number, one.lane)
        else:
            effects += scheduler.finished(one.number, one.lane, now=now, seconds=draw.random())
        for effect in effects:
            if isinstance(effect, Deliver):
                for index in range(effect.first, effect.first + effect.count):
                    assert index not in results
                    results[index] = "ok"
            elif isinstance(effect, Fault):
                assert effect.index not in results
                results[effect.index] = "fault"
    assert scheduler.finished_all
    assert sorted(results) == list(range(total))
    assert bad <= {index for index, kind in results.items() if kind == "fault"}


def two_lanes_with_a_unit_each() -> Scheduler:
    """Both measured at a second a unit, and nothing else to hand out."""
    scheduler = Scheduler(chunk=1)
    scheduler.items_arrived(4)
    scheduler.items_ended()
    for key in "ab":
        scheduler.lane_joined(Lane(key, 1, price=10))
    room = {"a": 1, "b": 1}
    for one in scheduler.assign(0.0, room):
        scheduler.finished(one.number, one.lane, now=1.0, seconds=1.0)
    assert {one.lane for one in scheduler.assign(1.0, room)} == {"a", "b"}
    return scheduler


ROOM = {"a": 2, "b": 2}


def test_lanes_that_were_away_together_bring_what_they_did_before_it_is_copied() -> None:
    scheduler = two_lanes_with_a_unit_each()
    for lane in scheduler.lanes.values():
        lane.ready = False
    (mine,) = scheduler.lanes["a"].running
    (other,) = scheduler.lanes["b"].running
    scheduler.lane_back("a", 30.0)
    assert scheduler.finished(mine, "a", now=30.1, seconds=1.0)
    assert scheduler.assign(30.2, ROOM) == []
    assert scheduler.lanes["a"].seconds == pytest.approx(1.0), "the wait was taken for the lane's speed"
    scheduler.lane_back("b", 31.0)
    assert scheduler.assign(32.9, ROOM) == [], "what was asked for anew is not late yet"
    (copy,) = scheduler.assign(34.0, ROOM)
    assert (copy.number, copy.lane, copy.copy) == (other, "a", True)


def test_a_lane_that_stays_away_has_its_units_copied() -> None:
    scheduler = two_lanes_with_a_unit_each()
    scheduler.lanes["b"].ready = False
    (mine,) = scheduler.lanes["a"].running
    scheduler.finished(mine, "a", now=2.0, seconds=1.0)
    assert scheduler.assign(2.1, ROOM) == []
    assert [one.lane for one in scheduler.assign(3.5, ROOM)] == ["a"]


def test_time_in_which_this_machine_was_stopped_counts_against_no_lane() -> None:
    scheduler = two_lanes_with_a_unit_each()
    scheduler.slept(300.0)
    assert scheduler.tick(301.5) == []
    (mine,) = scheduler.lanes["a"].running
    assert scheduler.finished(mine, "a", now=301.5, seconds=1.0)
    assert scheduler.lanes["a"].seconds == pytest.approx(1.0)
    assert scheduler.assign(302.0, ROOM) == []
    assert [one.copy for one in scheduler.assign(304.0, ROOM)] == [True]
