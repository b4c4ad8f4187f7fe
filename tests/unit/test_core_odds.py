"""Chances of reading and of losing: against tables, other formulas, and enumeration."""

from __future__ import annotations

import itertools
import math

import pytest

from surge.core.storage import odds
from surge.core.storage.odds import Decay, Disaster
from surge.errors import InvalidInput


def test_twenty_of_thirty_reads_at_once_as_the_binomial_tables_say() -> None:
    assert odds.availability([0.8] * 30, 20) == pytest.approx(0.974384, abs=1e-6)
    assert odds.availability([0.5] * 30, 20) == pytest.approx(0.049369, abs=1e-6)
    assert odds.availability([0.9] * 30, 20) == pytest.approx(0.999911, abs=1e-6)


def test_unequal_devices_are_counted_exactly() -> None:
    chances = [0.9, 0.1, 0.5, 0.75, 0.33]
    by_count = [0.0] * 6
    for events in itertools.product((0, 1), repeat=5):
        by_count[sum(events)] += math.prod(each if came else 1 - each for each, came in zip(chances, events, strict=True))
    assert odds.counts(chances) == pytest.approx(by_count, abs=1e-15)
    assert odds.fewer(chances, 3) == pytest.approx(sum(by_count[:3]), abs=1e-15)


def test_small_chances_are_not_lost_in_rounding() -> None:
    assert odds.fewer([1 - 1e-4] * 30, 20) == pytest.approx(odds.binomial_loss(20, 30, 1e-4), rel=1e-6)
    assert odds.binomial_loss(20, 30, 1e-4) == pytest.approx(math.comb(30, 11) * 1e-44, rel=0.01)


def test_a_chance_is_between_zero_and_one() -> None:
    with pytest.raises(InvalidInput, match="no chance"):
        odds.counts([1.5])


def test_a_copy_on_two_devices_lasts_as_the_textbook_says() -> None:
    """Two mirrored disks: mean time to loss (3 rate + repair rate) / (2 rate^2)."""
    decay = Decay(lifetime=1000.0, repair=2.0)
    rate, mend = 1 / 1000, 1 / 2
    assert 365 / decay.loss_rate(1, 2, 1) == pytest.approx((3 * rate + mend) / (2 * rate * rate), rel=1e-12)


def test_what_is_never_repaired_dies_as_an_exponential() -> None:
    never = Decay(lifetime=365.0, repair=1e12)
    assert 365 / never.loss_rate(2, 3, 2) == pytest.approx(365 * (1 / 3 + 1 / 2), rel=1e-6)
    assert Decay(lifetime=365.0, repair=1.0).loss_rate(1, 1, 1) == pytest.approx(1.0, rel=0.01)


def test_the_chain_is_above_the_binomial_model_and_both_fall_with_the_threshold() -> None:
    decay = Decay(lifetime=365.0, repair=1.0)
    chain = [decay.loss(20, 30, threshold) for threshold in range(20, 30)]
    window = [decay.window_loss(20, 30, threshold) for threshold in range(20, 30)]
    assert chain == sorted(chain, reverse=True)
    assert window == sorted(window, reverse=True)
    assert all(one > other for one, other in zip(chain[1:], window[1:], strict=True))


def test_a_disaster_that_takes_everything_is_what_loses() -> None:
    for way in (Decay.loss, Decay.window_loss):
        all_gone = Decay(1e6, 0.1, (Disaster(yearly=0.01, share=1.0),))
        assert way(all_gone, 20, 30, 27) == pytest.approx(-math.expm1(-0.01), rel=1e-6)
        harmless = Decay(1e6, 0.1, (Disaster(yearly=0.01, share=0.01),))
        assert way(harmless, 20, 30, 27) < 1e-13


def test_repairs_come_as_often_as_shards_dwindle() -> None:
    decay = Decay(lifetime=365.0, repair=0.0)
    assert decay.repairs(2, 1) == pytest.approx(2.0)
    assert decay.traffic(1, 2, 1) == pytest.approx(2.0 * (1 + 1) / 1)
    assert decay.repairs(30, 29) == pytest.approx(30.0)
    assert decay.repairs(5, 5) == 0.0


@pytest.mark.parametrize(("k", "n", "threshold"), [(0, 3, 1), (4, 3, 3), (2, 4, 1), (2, 4, 4)])
def test_what_is_no_code_is_refused(k: int, n: int, threshold: int) -> None:
    with pytest.raises(InvalidInput, match="no code"):
        Decay(365.0, 1.0).loss(k, n, threshold)


def test_times_are_refused_that_no_device_has() -> None:
    with pytest.raises(InvalidInput, match="lifetime"):
        Decay(lifetime=0.0, repair=1.0)
