"""Storage under churn: core's rules on arrays are core's rules, rare losses are estimated right, and runs do what they say."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from surge.core.storage import odds, placement, repair
from surge.core.storage.odds import Decay, nines
from surge.core.storage.placement import Candidate
from surge.core.storage.repair import DAY
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.simulate import storage, storage_published, storage_rules
from surge.simulate.storage import Settings, simulate
from surge.simulate.storage_rare import Life, disaster_loss, loss_a_year, regions_of
from surge.simulate.storage_rules import Market
from surge.simulate.storage_sweep import Result, bound, sweep
from surge.simulate.storage_world import REGIONS, Churn, drawn

HARSH = Churn(lifetime=25.0, proper=0.2, uptime=0.9, nightly=0.3, large=0.3, quits=2.0, outages=6.0, disasters=2.0)


def test_mixing_gives_the_same_bits() -> None:
    numbers = [0, 1, 2**63, 2**64 - 1, *(random.Random(1).randrange(2**64) for _ in range(200))]
    assert storage_rules.mixed(np.array(numbers, dtype=np.uint64)).tolist() == [placement.mixed(each) for each in numbers]


def test_weights_and_turns_are_cores() -> None:
    chance = random.Random(2)
    rows = [
        (
            chance.choice([0.0, 0.5, 1.0, chance.random()]),
            chance.random(),
            chance.randrange(10**18),
            chance.randrange(1, 1 << 42),
            chance.randrange(2**64),
        )
        for _ in range(300)
    ]
    uptime, standing, price, room = (np.array([row[at] for row in rows]) for at in range(4))
    number = np.array([row[4] for row in rows], dtype=np.uint64)
    weights = storage_rules.weights(uptime, standing, price, room, 10**15)
    assert weights == pytest.approx([placement.weight(*row[:4], 10**15) for row in rows], rel=1e-12)
    turns = storage_rules.turns(7, storage_rules.mixed(number), weights)
    assert turns == pytest.approx([placement.turn(7, row[4], float(each)) for row, each in zip(rows, weights, strict=True)], rel=1e-12)


def test_graces_and_habits_are_cores() -> None:
    chance = random.Random(3)
    rows = [(chance.random() * 60 * DAY, chance.random() * 5 * DAY, chance.random(), chance.random() * DAY) for _ in range(300)]
    watched, longest, away, absence = (np.array(each) for each in zip(*rows, strict=True))
    assert storage_rules.grace(watched, longest, away) == pytest.approx([repair.grace(*row[:3]) for row in rows], rel=1e-12)
    fades = storage_rules.came_back(longest, absence, watched)
    assert fades == pytest.approx([repair.came_back(row[1], row[3], row[0]) for row in rows], rel=1e-12)


def test_what_is_due_is_cores() -> None:
    sound = np.arange(31)
    for threshold in (20, 25, 29):
        assert storage_rules.is_due(sound, 30, threshold).tolist() == [repair.is_due(at, 30, threshold) for at in range(31)]


def test_a_market_places_as_core_does() -> None:
    chance = random.Random(4)
    for trial in range(60):
        count = chance.randrange(1, 80)
        numbers = [placement.mixed(trial * 1000 + at) for at in range(count)]
        found = [
            Candidate(
                Address(f"0x{number:040x}"),
                Address(f"0x{chance.randrange(count * 2 // 3 + 1):040x}"),
                chance.choice("abc"),
                chance.choice([0.3, 0.9, 1.0]),
                0.5,
                chance.randrange(10**16),
                chance.choice([1, 1 << 38, 1 << 50]),
            )
            for number in numbers
        ]
        at = np.array(sorted(chance.sample(range(count), chance.randrange(count + 1))), dtype=np.int64)
        market = Market(
            found,
            np.array(numbers, dtype=np.uint64),
            at,
            np.array([each.uptime for each in found]),
            np.array([each.price for each in found]),
            np.array([each.room for each in found]),
        )
        n = chance.randrange(2, 31)
        k = chance.randrange(1, n)
        kept = chance.sample(found, min(count, 4))
        barred = {each.operator for each in chance.sample(found, min(count, 3))}
        here = [found[each] for each in at.tolist()]
        seed = trial.to_bytes(2, "big")
        assert [found[each] for each in market.place(seed, k, n, n, kept, barred)] == placement.place(here, seed, k, n, 1, n, kept, barred)


@pytest.mark.parametrize(("lifetime", "wait", "code"), [(60.0, 1.0, (4, 8, 6)), (120.0, 2.0, (5, 9, 7)), (365.0, 1.0, (10, 18, 14))])
def test_splitting_finds_what_the_binomial_model_has(lifetime: float, wait: float, code: tuple[int, int, int]) -> None:
    found = loss_a_year(Life(lifetime, (wait,)), *code, 600, 1)
    expected = Decay(lifetime, wait).window_loss(*code)
    assert found.low < found.chance < found.high
    assert 0.4 < found.chance / expected < 2.5


def test_splitting_finds_what_counting_finds() -> None:
    """Not rare, with disasters and unequal waits: against a plain count of segments that were lost."""
    life = Life(40.0, (0.5, 3.0), (0.5, 0.3, 0.2), 1.0, 0.4)
    found = loss_a_year(life, 3, 6, 4, 300, 2)
    lost = _counted(life, 3, 6, 4, 2000)
    assert found.low - 0.03 < lost < found.high + 0.03


def _counted(life: Life, k: int, n: int, threshold: int, segments: int) -> float:
    """The part of segments that are lost in a year, in small steps of time."""
    chance, region, step = np.random.default_rng(5), regions_of(life, k, n), 1 / 8
    died = np.full((segments, n), np.inf)
    waits = chance.choice(life.waits, (segments, n))
    lost = np.zeros(segments, dtype=bool)
    for now in np.arange(step, 365.0, step):
        known = died + waits <= now
        mended = known & (known.sum(axis=1) >= n - threshold)[:, None]
        died[mended] = np.inf
        waits[mended] = chance.choice(life.waits, int(mended.sum()))
        struck = chance.random((segments, len(life.regions))) < life.disasters / 365 * step
        dies = (chance.random((segments, n)) < step / life.lifetime) | (struck[:, region] & (chance.random((segments, n)) < life.share))
        died[dies & np.isinf(died)] = now
        lost |= np.isinf(died).sum(axis=1) < k
    return float(lost.mean())


def test_a_loss_that_is_not_reached_has_a_bound() -> None:
    found = loss_a_year(Life(1e6, (0.1,)), 20, 30, 27, 50, 1)
    assert found.chance == found.low == 0.0
    assert 0.0 < found.high <= 0.06


def test_disasters_are_summed_up_as_splitting_finds_them() -> None:
    life, code = Life(30.0, (1.0,), (0.5, 0.3, 0.2), 0.3, 0.8), (3, 8, 6)
    alone = loss_a_year(replace(life, disasters=0.0), *code, 300, 5).chance
    found = loss_a_year(life, *code, 1000, 6).chance
    assert found > 3 * alone
    assert disaster_loss(life, *code) + alone == pytest.approx(found, rel=0.4)
    assert disaster_loss(Life(100.0, (1.0,)), 3, 8, 6) == 0.0


def test_regions_get_no_more_than_their_cap() -> None:
    spread = np.bincount(regions_of(Life(1.0, (1.0,), tuple(part for _, part, _ in REGIONS)), 20, 30))
    assert spread.sum() == 30
    assert spread.max() <= placement.region_cap(20, 30, len(REGIONS))
    assert np.bincount(regions_of(Life(1.0, (1.0,)), 2, 5)).tolist() == [5]


@pytest.fixture(scope="module")
def result() -> Result:
    return sweep(
        Settings(devices=120, years=0.15, segments=30, codes=((4, 8, 6), (2, 4, 2), (4, 10, 8)), churn=HARSH, particles=50, seed=1)
    )


def test_the_same_seed_gives_the_same_figures(result: Result) -> None:
    again = simulate(result.settings)
    for one, other in zip(again.groups, result.run.groups, strict=True):
        assert (one.holder == other.holder).all()
        assert (one.lost, one.read, one.by_day) == (other.lost, other.read, other.by_day)
    assert loss_a_year(Life(60.0, (1.0,)), 4, 8, 6, 50, 3) == loss_a_year(Life(60.0, (1.0,)), 4, 8, 6, 50, 3)
    other = simulate(Settings(devices=120, years=0.02, segments=30, codes=((4, 8, 6),), churn=HARSH, seed=2))
    assert other.groups[0].by_day[:3] != result.run.groups[0].by_day[:3]


def test_no_operator_ever_holds_two_shards_of_a_segment(result: Result) -> None:
    world = drawn(HARSH, 120, float(round(0.15 * 8760)), np.random.Generator(np.random.PCG64(1)), float(storage.SETTLING))
    for group in result.run.groups:
        assert group.rebuilt > 0
        for holders in world.operator[group.holder]:
            assert len(set(holders.tolist())) == len(holders)


def test_what_is_put_on_more_devices_is_lost_less(result: Result) -> None:
    middle, thin, wide = result.rows
    assert thin.lost > middle.lost >= wide.lost
    assert thin.loss.chance > middle.loss.chance > wide.loss.chance
    assert thin.repairs < middle.repairs


def test_losses_are_seen_as_often_as_they_are_estimated() -> None:
    alone = Churn(lifetime=40.0, proper=0.0, uptime=1.0, nightly=0.0, large=0.0, outages=0.0, disasters=0.0)
    row = sweep(Settings(devices=100, years=0.6, segments=100, codes=((2, 3, 2),), churn=alone, particles=200)).rows[0]
    assert row.lost > 15
    assert row.lost / row.segment_years == pytest.approx(-np.log1p(-row.loss.chance), rel=0.5)


def test_a_calm_network_loses_nothing_and_moves_what_the_model_says() -> None:
    calm = Churn(lifetime=120.0, proper=0.0, uptime=1.0, nightly=0.0, large=0.0, outages=0.0, disasters=0.0)
    found = sweep(Settings(devices=100, years=0.5, segments=60, codes=((6, 12, 9),), churn=calm, particles=50))
    row = found.rows[0]
    assert (row.lost, found.run.false, row.handover_traffic, row.availability) == (0, 0, 0.0, 1.0)
    assert row.repair_traffic == pytest.approx(row.model_traffic, rel=0.35)
    assert row.cost == pytest.approx(2 * 1.5 + row.repair_traffic * 2)


def test_who_leaves_properly_hands_over() -> None:
    proper = Churn(lifetime=60.0, proper=1.0, uptime=1.0, nightly=0.0, large=0.0, outages=0.0, disasters=0.0)
    found = simulate(Settings(devices=100, years=0.25, segments=20, codes=((6, 12, 9),), churn=proper))
    group = found.groups[0]
    assert group.copied > 100
    assert (group.rebuilt, group.lost, found.ended) == (0, 0, 0)


def test_devices_that_sleep_at_night_are_not_believed_to_be_gone() -> None:
    nights = Churn(lifetime=1e6, uptime=1.0, nightly=1.0, large=0.0, outages=0.0, disasters=0.0)
    found = simulate(Settings(devices=100, years=0.1, segments=10, codes=((2, 6, 4),), churn=nights))
    assert found.uptime == pytest.approx(2 / 3, abs=0.03)
    assert found.false == 0
    assert max(found.online) > min(found.online) + 0.1


def test_a_region_that_is_cut_off_makes_nobody_rebuild_much() -> None:
    storms = Churn(lifetime=1e6, uptime=1.0, nightly=0.0, large=0.0, outages=20.0, outage_hours=8.0, disasters=0.0)
    group = simulate(Settings(devices=100, years=0.3, segments=20, codes=((6, 12, 9),), churn=storms)).groups[0]
    assert group.rebuilt < 20 * 12 * 0.05


def test_too_few_operators_are_said(result: Result) -> None:
    with pytest.raises(InvalidInput, match="more devices"):
        simulate(Settings(devices=20, years=0.01, segments=1, codes=((20, 30, 25),)))


def test_what_was_not_seen_is_bounded() -> None:
    assert bound(0, 300.0) == pytest.approx(0.009986, rel=1e-3)
    assert bound(1, 1.0) == pytest.approx(4.744, rel=1e-3)
    assert bound(5, 0.0) == float("inf")


def test_the_published_figures_follow_from_the_published_formulas() -> None:
    for k, n, said in storage_published.POISSON:
        assert 100 * storage_published.kept(k, n, 0.1) == pytest.approx(said, abs=2e-13 * 100)
    for row in storage_published.DECISIONS:
        assert round(storage_published.traffic(row), 2) == row.traffic
        assert abs(nines(storage_published.loss(row)) - row.nines) < 1
        assert Decay(row.months * 365 / 12, 0.5).traffic(row.k, row.n, row.threshold) / 12 == pytest.approx(row.traffic, rel=0.1)


def test_twenty_of_thirty_at_the_measured_uptime_is_the_binomial_models() -> None:
    """No nights, no outages, nobody dies: what is seen is the binomial distribution."""
    steady = Churn(lifetime=1e7, uptime=0.8, down=3.0, nightly=0.0, large=0.0, outages=0.0, disasters=0.0)
    found = sweep(Settings(devices=120, years=0.1, segments=40, codes=((20, 30, 20),), churn=steady, particles=50))
    row = found.rows[0]
    assert row.availability == pytest.approx(row.binomial, abs=0.02)
    assert odds.availability([found.run.held_uptime] * 30, 20) == pytest.approx(row.binomial, abs=0.01)
