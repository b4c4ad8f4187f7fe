"""Which code the devices at hand allow, and who gets the shards."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from surge.core.storage import placement
from surge.core.storage.odds import Decay
from surge.core.storage.placement import Candidate, Wanted, choose_code, measured_uptime, place
from surge.core.types import Address
from surge.errors import InvalidInput


def device(number: int, operator: int | None = None, region: str = "", uptime: float = 0.95, **other: object) -> Candidate:
    who = number if operator is None else operator
    return Candidate(Address(f"0x{number * 0x9E3779B97F4A7C15:040x}"), Address(f"0x{who + 10**6:040x}"), region, uptime, **other)  # type: ignore[arg-type]


def made_up(chance: random.Random, count: int) -> list[Candidate]:
    """Devices of all kinds, some of one operator."""
    return [
        device(
            number,
            chance.randrange(max(1, count * 2 // 3)),
            chance.choice(["eu", "us", "asia", ""]),
            chance.choice([0.0, 0.3, 0.8, 0.99, 1.0]),
            standing=chance.random(),
            price=chance.randrange(10**15),
            room=chance.choice([0, 1 << 20, 1 << 30, 1 << 45]),
            leaving=chance.random() < 0.1,
        )
        for number in range(1, count + 1)
    ]


def test_no_operator_gets_two_shards_and_nobody_what_does_not_fit() -> None:
    chance = random.Random(1)
    for trial in range(200):
        candidates, n = made_up(chance, chance.randrange(1, 60)), chance.randrange(1, 31)
        k = chance.randrange(1, n + 1)
        kept = chance.sample(candidates, min(len(candidates), 2))
        barred = {each.operator for each in chance.sample(candidates, min(len(candidates), 3))}
        got = place(candidates, bytes([trial]), k, n, 1 << 20, n, kept, barred)
        operators = [each.operator for each in got]
        assert len(set(operators)) == len(operators)
        assert not set(operators) & (barred | {each.operator for each in kept})
        assert all(each.room >= 1 << 20 and not each.leaving for each in got)
        free = {each.operator for each in candidates if each.room >= 1 << 20 and not each.leaving}
        assert len(got) == min(n, len(free - barred - {each.operator for each in kept}))


def test_a_seed_gives_the_same_places_however_the_devices_are_listed() -> None:
    chance = random.Random(2)
    candidates = made_up(chance, 80)
    first = place(candidates, b"seed", 10, 15, 1)
    chance.shuffle(candidates)
    assert place(candidates, b"seed", 10, 15, 1) == first
    assert place(candidates, b"other", 10, 15, 1) != first


def test_a_region_may_fail_while_there_are_others() -> None:
    candidates = [device(at, region="eu" if at % 10 else f"r{at % 40}", uptime=0.99) for at in range(1, 401)]
    for seed in range(30):
        found = Counter(each.region for each in place(candidates, bytes([seed]), 20, 30, 1))
        assert max(found.values()) <= 10
    alone = [device(at, region="eu") for at in range(1, 41)]
    assert len(place(alone, b"", 20, 30, 1)) == 30


def test_shards_that_stay_count_for_their_region() -> None:
    candidates = [device(at, region="ab"[at % 2]) for at in range(1, 101)]
    kept = [device(1000 + at, region="a") for at in range(15)]
    assert {each.region for each in place(candidates, b"x", 20, 30, 1, 5, kept)} == {"b"}


def share(better: Candidate, worse: Candidate, draws: int = 3000) -> float:
    """How often the first of two is drawn before the second."""
    return sum(place([better, worse], draw.to_bytes(2, "big"), 1, 1, 1)[0] is better for draw in range(draws)) / draws


@pytest.mark.parametrize(
    ("better", "weighs"),
    [
        (device(1, uptime=0.99), (0.99 / 0.95) ** 8),
        (device(1, standing=1.0), 1.5**2),
        (device(1, price=10**9), 4.0),
        (device(1, room=1 << 39), 0.5),
    ],
    ids=["uptime", "standing", "price", "room"],
)
def test_devices_are_drawn_by_their_weight(better: Candidate, weighs: float) -> None:
    worse = device(2, price=2 * 10**9 if better.price else 0)
    assert share(better, worse) == pytest.approx(weighs / (1 + weighs), abs=0.03)


def test_shards_spread_over_all_good_devices() -> None:
    candidates = [device(at) for at in range(1, 101)]
    load = Counter(each.device for seed in range(300) for each in place(candidates, seed.to_bytes(2, "big"), 20, 30, 1))
    assert len(load) == 100
    assert min(load.values()) > 60
    assert max(load.values()) < 120


def test_the_usual_code_where_there_are_good_devices_enough() -> None:
    code = choose_code([device(at) for at in range(1, 61)])
    assert (code.k, code.n, code.threshold, code.enough) == (20, 30, 25, True)
    assert code.availability > 0.999
    assert code.loss < 1e-11


def test_seldom_there_takes_more_shards() -> None:
    code = choose_code([device(at, uptime=0.8) for at in range(1, 101)])
    assert code.enough
    assert code.n / code.k > 1.7
    hopeless = choose_code([device(at, uptime=0.5) for at in range(1, 101)])
    assert not hopeless.enough
    assert hopeless.n / hopeless.k == 3.0


def test_good_devices_among_bad_ones_are_what_the_code_follows() -> None:
    mixed = [device(at, uptime=0.99 if at % 2 else 0.5) for at in range(1, 121)]
    code = choose_code(mixed)
    assert (code.k, code.n, code.enough) == (20, 30, True)


def test_fewer_operators_get_a_smaller_code() -> None:
    for count in (1, 2, 3, 5, 10, 20, 29):
        code = choose_code([device(at) for at in range(1, count + 1)])
        assert 1 <= code.k <= code.n <= count
        assert code.k <= code.threshold <= max(code.k, code.n - 1)
        assert code.n <= 3 * code.k
    assert choose_code([device(1), device(2)]).n == 2
    one_owner = [device(at, operator=7) for at in range(1, 40)]
    assert choose_code(one_owner).n == 1
    with pytest.raises(InvalidInput, match="no device has room"):
        choose_code([device(1, room=0)])


def test_a_code_is_only_said_to_be_enough_if_it_is() -> None:
    chance = random.Random(3)
    for _ in range(40):
        wanted = Wanted(
            chance.choice([0.9, 0.999, 0.99999]), 10.0 ** -chance.randrange(2, 14), Decay(chance.choice([30, 365]), chance.choice([0.2, 3]))
        )
        code = choose_code([device(at, uptime=chance.choice([0.7, 0.9, 0.99])) for at in range(1, chance.randrange(3, 70))], wanted)
        assert code.enough == (code.availability >= wanted.availability and code.loss <= wanted.loss)
        assert code.loss == wanted.decay.window_loss(code.k, code.n, code.threshold)


def test_devices_that_come_and_go_fast_are_repaired_sooner() -> None:
    candidates = [device(at, uptime=0.99) for at in range(1, 61)]
    stable = choose_code(candidates, Wanted(decay=Decay(1460, 1)))
    fleeting = choose_code(candidates, Wanted(decay=Decay(200, 1)))
    assert stable.threshold < fleeting.threshold


def test_uptime_is_assumed_until_it_was_measured() -> None:
    assert measured_uptime(0, 0) == placement.PRIOR_UPTIME
    assert measured_uptime(0, 24) == pytest.approx(0.45)
    assert measured_uptime(10_000, 10_000) > 0.999


def test_between_repairs_fewer_shards_are_there() -> None:
    unread = [1.0, 0.4, 0.2, 0.1]
    assert placement.cycle_unread(unread, 3, 2) == pytest.approx(0.1)
    assert placement.cycle_unread(unread, 3, 1) == pytest.approx((0.1 / 3 + 0.2 / 2) / (1 / 3 + 1 / 2))


def test_an_operator_has_room_for_one_shard_of_a_segment_however_many_devices_it_has() -> None:
    one, two = device(1, operator=1, room=35), device(2, operator=1, room=25)
    other, small, leaves = device(3, operator=2, room=10**9), device(4, room=9), device(5, room=10**9, leaving=True)
    assert placement.shards_that_fit([one, two, other, small, leaves], 10, 4) == 4 + 4
    assert placement.shards_that_fit([one, two, other, small, leaves], 10, 7) == 5 + 7
    assert placement.shards_that_fit([], 10, 7) == 0


def test_who_stands_badly_gets_a_shard_only_where_there_are_too_few_others() -> None:
    bad = [device(number, standing=0.04) for number in (1, 2)]
    well = [device(number, standing=0.1) for number in (3, 4, 5)]
    for seed in range(50):
        assert not {*place([*bad, *well], seed.to_bytes(4, "big"), 2, 3, 1000)} & {*bad}
        assert len({*place([*bad, *well], seed.to_bytes(4, "big"), 2, 4, 1000)} & {*bad}) == 1
