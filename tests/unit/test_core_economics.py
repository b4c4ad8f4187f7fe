"""What a network is founded with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surge.core import emission
from surge.core.economics import FOUNDING, Economics, Emission
from surge.core.parameters import PUBLIC
from surge.errors import InvalidInput
from surge.provider.config import Rates


def test_emission_stays_below_the_cap_for_ever() -> None:
    minted = FOUNDING.emission
    assert sum(emission.budget(minted.first_budget, minted.decay, epoch) for epoch in range(6_000)) <= minted.most
    assert PUBLIC.supply + minted.most <= PUBLIC.cap
    with pytest.raises(InvalidInput, match="more than the cap leaves"):
        Economics(emission=replace(minted, first_budget=2 * minted.first_budget))
    for wrong in (Emission(work_bps=9_001), Emission(decay=10**18)):
        with pytest.raises(InvalidInput, match="less than its fees"):
            Economics(emission=wrong)


def test_providers_ask_what_the_economy_is_reckoned_with() -> None:
    assert Rates() == Rates(FOUNDING.gigafuel, FOUNDING.memory, FOUNDING.transfer, FOUNDING.compile)


def test_stake_that_leaves_outlasts_every_claim() -> None:
    assert PUBLIC.unbonding_seconds > FOUNDING.court.max_claim_age + FOUNDING.court.longest_case
