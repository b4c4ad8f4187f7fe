"""The bribe bound: whatever the numbers of a court, buying a verdict takes more than it moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core.bribes import BOUGHT, cheapest_bribe, verdict_moves, whole_jury
from surge.core.court import EMBEDDED, MAX_BOND_FEES, OPENING, SIZES, CourtParameters, Outcome
from surge.core.settling import fined, split

PUBLIC = CourtParameters()
SHIPPED = st.sampled_from([PUBLIC, EMBEDDED])
MADE_UP = st.builds(
    lambda base, giga, tenths: replace(PUBLIC, base_fee=base, gigafuel_fee=giga, opener_bond=MAX_BOND_FEES * base * tenths // 10),
    st.integers(1, 10**18),
    st.integers(0, 10**18),
    st.integers(0, 10),
)


@settings(max_examples=400)
@given(
    court=st.one_of(SHIPPED, MADE_UP),
    fuel_limit=st.integers(0, 2**62),
    jurors=st.sampled_from(OPENING),
    outcome=st.sampled_from(BOUGHT),
    part=st.floats(0, 1),
)
def test_buying_a_verdict_takes_more_than_it_moves(
    court: CourtParameters, fuel_limit: int, jurors: int, outcome: Outcome, part: float
) -> None:
    most = court.max_worth(fuel_limit, jurors)
    for worth in (1, most, min(most, int(most * part) + 1)):
        assert cheapest_bribe(court, fuel_limit, jurors, outcome) > verdict_moves(court, fuel_limit, jurors, worth, outcome)


@pytest.mark.parametrize(
    ("jurors", "outcome", "fees"),
    [
        (5, Outcome.ACQUITTED, 28.25),  # three that answer falsely, and two that say nothing
        (15, Outcome.ACQUITTED, 29.0),  # eight that say nothing, and 23 of 45 for a fee each
        (5, Outcome.CONVICTED, 28.25),
        (5, Outcome.NO_INPUTS, 25.5),  # three, eight and 23 that say nothing, for what they lose by it
        (15, Outcome.NO_INPUTS, 23.25),
    ],
)
def test_the_cheapest_ways_cost_so_many_fees(jurors: int, outcome: Outcome, fees: float) -> None:
    assert cheapest_bribe(PUBLIC, 0, jurors, outcome) == int(fees * PUBLIC.fee(0))


def test_a_dissenter_in_each_jury_and_a_bare_majority_of_the_largest_cost_their_fines_and_a_fee_each() -> None:
    fee = PUBLIC.fee(0)
    assert PUBLIC.fine(0, 5) + PUBLIC.fine(0, 15) + 23 * fee == 83 * fee >= cheapest_bribe(PUBLIC, 0, 5, Outcome.ACQUITTED)


@pytest.mark.parametrize("jurors", OPENING)
def test_what_a_juror_of_a_whole_jury_goes_without_is_what_the_verdict_would_pay_it(jurors: int) -> None:
    """All but one answer falsely; the next jury is honest. The one has its fee, its part of the worth, and the prize."""
    fee = PUBLIC.fee(0)
    later = SIZES[SIZES.index(jurors) + 1]
    rounds = [["true"] + ["false"] * (jurors - 1), ["true"] * later]
    fines, _ = fined(rounds, "true", fee)  # type: ignore[arg-type]
    paid = 1 + later
    found = split(Outcome.CONVICTED, worth=fee, fee=fee, bond=fee, pot=paid * fee, held=10**30, paid=paid, fines=fines)
    assert whole_jury(PUBLIC, 0, jurors, jurors) == jurors * found.prize
    assert found.prize > 11 * fee


def test_nobody_buys_what_costs_the_buyer() -> None:
    for ask in (cheapest_bribe, lambda *a: verdict_moves(*a[:3], 1, a[3])):
        with pytest.raises(ValueError, match="nobody buys NO_SECRET"):
            ask(PUBLIC, 0, 5, Outcome.NO_SECRET)
