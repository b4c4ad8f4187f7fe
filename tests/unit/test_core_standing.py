"""How a provider stands: what counts, by how much, and what it would cost to buy it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core.standing import (
    BOND_MOST,
    BUYER_SCALE,
    FEES_SCALE,
    HALF_LIFE,
    IN_VAIN,
    PRIOR,
    PROVEN,
    Experience,
    Fault,
    Payment,
    Record,
    Standing,
    evidence,
    fees_shift,
    standing,
    weight,
)
from surge.core.types import Address

NOW = 1_800_000_000.0
DAY = 86_400.0
COIN = 10**18
NOTHING = Record()


def of(record: Record = NOTHING, fee_bps: int = 100, now: float = NOW, stated: int | None = None, **seen: object) -> Standing:
    return standing(record, Experience(**seen), now=now, fee_bps=fee_bps, stated=stated)  # type: ignore[arg-type]


def wallet(number: int) -> Address:
    return Address(f"0x{number:040x}")


def test_everybody_begins_in_the_middle_and_good_work_leads_up() -> None:
    assert of().value == 0.5
    values = [of(accepted=((NOW, count),)).value for count in (1, 10, 100, 10_000)]
    assert of(accepted=((NOW - 10 * 3600, 1),)).reasons[1].text == "1 unit accepted here, the last today"
    assert of(accepted=((NOW - 30 * 3600, 1),)).reasons[1].text == "1 unit accepted here, the last yesterday"
    assert values == pytest.approx([2 / 3, 11 / 12, 101 / 102, 10_001 / 10_002])
    assert not of(accepted=((NOW, PROVEN - 1),)).known
    assert of(accepted=((NOW, PROVEN),)).known
    assert of(accepted=((NOW, 10),), passed=((NOW, 2),)).value > of(accepted=((NOW, 26),)).value - 1e-9


@pytest.mark.parametrize("what", ["unsigned", "local", "away", "broke"])
def test_what_went_wrong_leads_down_and_says_so(what: str) -> None:
    good = of(accepted=((NOW, 20),))
    worse = of(accepted=((NOW, 20),), **{what: ((NOW - 2 * DAY, 10),)})
    assert worse.value < good.value - 0.02
    assert [reason.text.endswith("the last 2 days ago") for reason in worse.reasons if reason.adds < 0] == [True]


def test_a_local_ending_weighs_less_than_a_receipt_for_other_work() -> None:
    assert of(local=((NOW, 1),)).value > of(unsigned=((NOW, 1),)).value > of(broke=((NOW, 1),)).value


def test_what_was_found_wrong_is_never_outweighed_nor_forgotten() -> None:
    found = of(accepted=((NOW, 10**6),), passed=((NOW, 10**4),), caught=((NOW - 3 * 365 * DAY, 1),))
    assert (found.value, found.caught) == (0.0, True)
    assert found.reasons[-1].text == "1 unit run again and found wrong: it is not used here again, the last 1,095 days ago"
    assert found.reasons[-1].adds == pytest.approx(-1, abs=0.01)


def test_another_device_of_its_operator_that_was_caught_speaks_against_it() -> None:
    honest = Experience(accepted=((NOW, 20),))
    beside = standing(NOTHING, honest, now=NOW, fee_bps=100, siblings=((NOW, 1),))
    assert beside.value < 0.2
    assert not beside.caught


def test_half_of_it_is_forgotten_in_a_half_life() -> None:
    assert of(accepted=((NOW - HALF_LIFE, 10),)).value == pytest.approx(of(accepted=((NOW, 5),)).value)
    assert of(local=((NOW - 40 * HALF_LIFE, 1000),)).value == pytest.approx(0.5)
    paid = Record((Payment(NOW - HALF_LIFE, wallet(1), BUYER_SCALE),))
    assert evidence(paid.payments, NOW) == pytest.approx(BUYER_SCALE * math.log(1.5))
    assert weight(-1e9) == 1.0, "what claims to be of the future counts as what is now"


def test_one_that_never_gave_a_result_is_known_by_it() -> None:
    assert not of(asked=((NOW, IN_VAIN - 1),)).in_vain
    found = of(asked=((NOW, 1663),))
    assert (found.value, found.in_vain) == (0.0, True)
    assert found.reasons[-1].text.startswith("1,663 units asked of it, and never a result")
    assert not of(asked=((NOW, 1663),), accepted=((NOW, 1),)).in_vain
    assert not of(asked=((NOW - 10 * HALF_LIFE, 1663),)).in_vain, "after a long time it is tried again"


def test_a_device_much_slower_than_it_states_stands_a_little_lower() -> None:
    assert of(stated=10**9, speed=0.3e9).value == 0.5
    slow = of(stated=10**9, speed=0.125e9)
    assert slow.value == pytest.approx(0.5 * (1 - 0.05 * 0.5))
    assert slow.reasons[-1].text == "it works at 12 % of the speed that it states"


def test_what_the_ledger_shows_moves_where_one_begins_and_is_outweighed_by_a_few_units() -> None:
    rich = Record(tuple(Payment(NOW, wallet(each), COIN) for each in range(100)), bond=10**6 * COIN)
    most = of(rich, fee_bps=500).value
    assert 0.5 < most < 0.5 + 0.025 + BOND_MOST
    assert not of(rich).known
    assert of(rich, local=((NOW, 40),)).value < 0.2
    assert of(rich, accepted=((NOW, 98),)).value - of(accepted=((NOW, 98),)).value < 0.0015
    assert of(rich, fee_bps=0).value - of(replace(rich, payments=())).value == 0.0, "what costs nothing is worth nothing"


def test_faults_on_the_ledger_weigh_like_a_hundred_bad_events() -> None:
    found = of(Record(faults=(Fault(NOW - DAY, "its bond was slashed"), Fault(NOW - 9 * DAY, "it lost a case"))))
    assert found.value < 0.01
    assert found.reasons[-1].text == "its bond was slashed 24 hours ago; it lost a case 9 days ago"
    assert of(Record(faults=(Fault(NOW, "it lost a case"),)), accepted=((NOW, 900),)).value == pytest.approx(901 / 1002)


def test_a_fault_on_the_ledger_is_remembered_for_longer() -> None:
    year = of(Record(faults=(Fault(NOW - 365 * DAY, "it lost a case"),)))
    assert year.value == pytest.approx(of(broke=((NOW, 50 / 16),)).value)


def test_the_reasons_say_what_the_ledger_shows() -> None:
    paid = Record((Payment(NOW - 90 * DAY, wallet(1), 3), Payment(NOW, wallet(2), 4), Payment(NOW, wallet(2), 5)), bond=7)
    texts = [each.text for each in of(paid).reasons]
    assert texts == [
        "where everybody begins",
        "2 buyers paid it and 12 wei of fees on the ledger, since 90 days ago (age itself counts nothing)",
        "its operator stakes 7 wei",
    ]
    assert [each.text for each in of(Record(bond=0)).reasons][-1] == "its operator stakes nothing"
    assert len(of().reasons) == 1, "of an unknown bond nothing is said"


counts = st.lists(st.tuples(st.floats(NOW - 400 * DAY, NOW + DAY), st.integers(0, 10**6)), max_size=4).map(tuple)
experiences = st.builds(
    Experience, accepted=counts, passed=counts, caught=counts, unsigned=counts, local=counts, away=counts, broke=counts, asked=counts,
    speed=st.none() | st.floats(0, 1e12),
)  # fmt: skip
payments = st.lists(
    st.builds(Payment, st.floats(NOW - 400 * DAY, NOW), st.integers(1, 100).map(wallet), st.integers(0, 10**24)), max_size=20
)
faults = st.lists(st.builds(Fault, st.floats(NOW - 400 * DAY, NOW), st.just("it lost a case")))
records = st.builds(Record, payments.map(tuple), st.none() | st.integers(0, 10**27), faults.map(tuple))


@given(records, experiences, st.integers(0, 500), counts)
def test_the_reasons_add_up_to_the_standing(
    record: Record, seen: Experience, fee_bps: int, siblings: Sequence[tuple[float, float]]
) -> None:
    found = standing(record, seen, now=NOW, fee_bps=fee_bps, stated=10**9, siblings=siblings)
    assert 0 <= found.value <= 1
    assert sum(each.adds for each in found.reasons) == pytest.approx(found.value, abs=1e-9)


@given(payments)
def test_evidence_is_never_more_than_was_burnt_through_however_many_wallets(paid: list[Payment]) -> None:
    burnt = sum(each.fee for each in paid)
    assert evidence(paid, NOW) <= burnt * (1 + 1e-9)
    scattered = [replace(each, buyer=wallet(1000 + number)) for number, each in enumerate(paid)]
    assert evidence(paid, NOW) <= evidence(scattered, NOW) * (1 + 1e-9) <= burnt * (1 + 1e-6)


@given(records, st.integers(0, 500))
def test_nothing_on_the_ledger_makes_a_device_known_or_undoes_what_was_found(record: Record, fee_bps: int) -> None:
    """So nothing that can be bought stands in for the buyer's own checks."""
    bought = of(record, fee_bps)
    assert not bought.known
    assert bought.value <= 0.5 + fee_bps / 20_000 + BOND_MOST
    assert of(record, fee_bps, caught=((NOW, 1),)).value == 0.0
    assert of(record, fee_bps, asked=((NOW, IN_VAIN),)).value == 0.0


# What it would cost to buy it


def gain(selves: Sequence[Payment], work: Sequence[tuple[float, Address, int]], fee_bps: int) -> float:
    """Wei that payments to oneself bring a provider in all: what it may ask more of each buyer, at the same rank, than without them.

    `work` are units that buyers pay and accept: when, who, and the price without the payments.
    """
    total = 0.0
    honest: list[Payment] = []
    accepted: dict[Address, list[tuple[float, float]]] = {}
    for at, buyer, price in sorted(work):
        known = Experience(accepted=tuple(accepted.get(buyer, ())))
        bought = [each for each in selves if each.time <= at]
        without = standing(Record(tuple(honest)), known, now=at, fee_bps=fee_bps).value
        with_them = standing(Record((*honest, *bought)), known, now=at, fee_bps=fee_bps).value
        total += price * ((2 - without) / (2 - with_them) - 1)
        honest.append(Payment(at, buyer, price * fee_bps // 10_000))
        accepted.setdefault(buyer, []).append((at, 1.0))
    return total


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[Payment], list[tuple[float, Address, int]], int]:
    fee_bps = draw(st.integers(1, 500))
    dearest = int(BUYER_SCALE / PRIOR) * 10_000 // fee_bps
    times = st.floats(0, 200 * DAY)
    wallets = st.integers(1000, 1100).map(wallet)
    selves = draw(st.lists(st.builds(Payment, times | st.just(0.0), wallets, st.integers(1, 10**18)), min_size=1, max_size=20))
    buyers = st.integers(1, draw(st.sampled_from([1, 3, 60]))).map(wallet)
    work = draw(
        st.lists(st.tuples(times | st.just(1.0), buyers, st.integers(dearest // 3, dearest) | st.integers(1, dearest)), max_size=60)
    )
    return selves, work, fee_bps


@given(markets())
@settings(max_examples=60, deadline=None)
def test_who_pays_himself_gains_less_than_he_burns(market: tuple[list[Payment], list[tuple[float, Address, int]], int]) -> None:
    selves, work, fee_bps = market
    assert gain(selves, work, fee_bps) <= sum(each.fee for each in selves)


@pytest.mark.parametrize("burnt", [FEES_SCALE // 100, FEES_SCALE, 100 * FEES_SCALE])
@pytest.mark.parametrize("wallets", [1, 100])
@pytest.mark.parametrize("buyers", [1, 400])
def test_one_hundred_wallets_gain_no_more_than_was_burnt(burnt: int, wallets: int, buyers: int) -> None:
    """The worst that can be done: to burn everything before the first honest buyer, and then to earn much, from one or from many."""
    selves = [Payment(0.0, wallet(1000 + each), burnt // wallets) for each in range(wallets)]
    dearest = int(BUYER_SCALE / PRIOR) * 100
    work = [(1.0, wallet(each % buyers), dearest) for each in range(400)]
    found = gain(selves, work, 100)
    assert 0 < found <= (FEES_SCALE * math.log1p(burnt / FEES_SCALE) + burnt / 4) / 2 * 1.05 < burnt


def test_what_a_standing_costs_is_stated() -> None:
    """The table in docs/standing.md."""
    rows = {share: FEES_SCALE * share / (1 - share) / COIN for share in (0.1, 0.5, 0.9)}
    assert rows == pytest.approx({0.1: 0.0111, 0.5: 0.1, 0.9: 0.9}, rel=0.01)
    for share, fees in rows.items():
        assert fees_shift(fees * COIN, 100) == pytest.approx(0.005 * share)
