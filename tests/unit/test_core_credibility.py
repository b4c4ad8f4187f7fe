"""How far results are believed: the bounds hold, the chance falls and never ends, forecasts are what chance does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core.credibility import (
    DOUBT,
    HALF_LIFE,
    HIGHEST,
    LEAST_CHANCE,
    OWN_DOUBT,
    audit_chance,
    checks_needed,
    decayed,
    forecast,
    group_credibility,
    grouped,
    wrong_bound,
)
from surge.errors import InvalidInput


@given(rate=st.floats(0, 1), checks=st.integers(0, 5000), doubt=st.floats(0.001, 0.6))
def test_no_rate_of_cheating_makes_results_worse_than_the_bound(rate: float, checks: int, doubt: float) -> None:
    passed = (1 - rate) ** checks
    wrong = rate * doubt * passed / (1 - doubt + doubt * passed)
    assert wrong <= wrong_bound(checks, doubt) * (1 + 1e-9)


@given(certainty=st.floats(0, HIGHEST), doubt=st.sampled_from([OWN_DOUBT, 0.05, DOUBT, 0.5]))
def test_as_many_checks_are_needed_as_bring_the_bound_down_and_no_more(certainty: float, doubt: float) -> None:
    needed = checks_needed(certainty, doubt)
    assert wrong_bound(needed, doubt) <= 1 - certainty
    assert needed == 0 or wrong_bound(needed - 1, doubt) > 1 - certainty


@pytest.mark.parametrize("certainty", [-0.1, 1.0, 1.5, float("nan")])
def test_no_job_asks_for_more_than_can_be_known(certainty: float) -> None:
    with pytest.raises(InvalidInput, match="certainty"):
        checks_needed(certainty)


@given(units=st.integers(0, 10**7), checks=st.integers(0, 10**4), needed=st.integers(0, 2000))
def test_a_newcomer_is_always_checked_and_nobody_never(units: int, checks: int, needed: int) -> None:
    chance = audit_chance(units, checks, needed)
    assert LEAST_CHANCE <= chance <= 1
    if checks < needed:
        assert chance == 1
    assert audit_chance(2 * units + 1, checks, needed) <= chance


def test_however_long_somebody_was_honest_it_is_caught_as_soon_as_it_turns() -> None:
    old = forecast(cheats=0.2, rate=0.1, behind=10_000_000, units=1000, needed=checks_needed(0.9999))
    assert old.wrong <= 1e-4
    assert old.extra <= 0.15


def test_arrays_give_what_numbers_give() -> None:
    units, checks = np.array([0, 900, 10**6, 900]), np.array([0, 50, 100, 5])
    assert audit_chance(units, checks, 9).tolist() == [audit_chance(int(u), int(c), 9) for u, c in zip(units, checks, strict=True)]
    assert wrong_bound(checks).tolist() == pytest.approx([wrong_bound(int(c)) for c in checks])


def test_what_was_shown_counts_for_half_after_half_a_year() -> None:
    assert decayed(100, HALF_LIFE) == pytest.approx(50)
    assert decayed(100, -5) == 100, "a clock that was set back makes nobody better"


def test_groups_are_of_operators_and_who_says_two_things_says_nothing() -> None:
    votes = [("a", b"1"), ("a", b"1"), ("b", b"1"), ("c", b"2"), ("d", b"2"), ("d", b"1")]
    assert [(each.answer, each.operators) for each in grouped(votes)] == [(b"1", ("a", "b")), (b"2", ("c",))]


@given(groups=st.lists(st.lists(st.floats(0.001, 0.9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_credibilities_are_probabilities_and_another_voice_never_harms_its_group(groups: list[list[float]]) -> None:
    found = group_credibility(groups)
    assert all(0 <= each <= 1 for each in found)
    assert sum(found) <= 1 + 1e-9
    more = group_credibility([[*groups[0], 0.3], *groups[1:]])
    assert more[0] >= found[0] - 1e-9


def _played(draw: random.Random, *, cheats: float, rate: float, behind: int, units: int, needed: int, devices: int) -> tuple[float, float]:
    """One job played out unit by unit: (wrong results, extra units), as fractions of its results."""
    wrong, extra = 0, 0.0
    usual = sum(audit_chance(behind + done, min(behind + done, needed), needed) for done in range(units)) / units
    for at in range(devices):
        cheating, unchecked, lies = at < cheats * devices, 0, 0
        for done in range(units):
            seen = behind + done
            lie = cheating and draw.random() < rate
            if draw.random() >= audit_chance(seen, min(seen, needed), needed):
                unchecked, lies = unchecked + 1, lies + lie
                continue
            extra += 1
            if lie:
                extra += unchecked + usual * (unchecked + units - done - 1)
                lies = 0
                break
        wrong += lies
    return wrong / (units * devices), extra / (units * devices)


@pytest.mark.parametrize(("behind", "units", "certainty"), [(0, 400, 0.999), (1000, 300, 0.99), (10_000, 1000, 0.9999)])
def test_a_forecast_is_what_chance_does(behind: int, units: int, certainty: float) -> None:
    needed = checks_needed(certainty)
    expected = forecast(cheats=0.2, rate=0.1, behind=behind, units=units, needed=needed)
    draw = random.Random(7)
    jobs = [_played(draw, cheats=0.2, rate=0.1, behind=behind, units=units, needed=needed, devices=40) for _ in range(25)]
    wrong, extra = (np.array(column) for column in zip(*jobs, strict=True))
    for seen, foretold in ((wrong, expected.wrong), (extra, expected.extra)):
        error = seen.std(ddof=1) / len(seen) ** 0.5
        assert abs(seen.mean() - foretold) <= 4 * error + 0.03 * foretold + 5 / (40 * units * len(seen))


def test_a_fifth_of_turncoats_leave_one_result_in_ten_thousand_for_less_than_a_sixth_of_the_work() -> None:
    expected = forecast(cheats=0.2, rate=0.1, behind=10_000, units=1000, needed=checks_needed(0.9999))
    assert expected.wrong <= 1e-4
    assert expected.extra <= 0.15


def test_a_ring_that_checks_itself_is_caught_later() -> None:
    alone = forecast(cheats=0.2, rate=0.1, behind=10_000, units=500, needed=920)
    ring = forecast(cheats=0.2, rate=0.1, behind=10_000, units=500, needed=920, blind=0.2)
    assert ring.wrong > alone.wrong
    assert ring.caught < alone.caught
