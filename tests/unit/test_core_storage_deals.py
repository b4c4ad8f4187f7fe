"""What a holder agrees to, and what it pledges on for: every bound, and the time that may be left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core.storage import deals
from surge.core.storage.accounts import HOUR_SECONDS, Held
from surge.core.storage.deals import MOST_PLEDGED, SKEW, Deal, NotAgreed, Policy
from surge.core.types import Address

NOW = 1_800_000_000
A = Address("0x" + "0a" * 20)
H = b"\x01" * 32
DEAL = Deal(H, H, A, A, A, H, 1000, H, 50, 7, NOW, NOW + 600, NOW + 6000, paid=NOW)
KEPT = replace(DEAL, kept=True)
POLICY = Policy(price=50, penalty=7)


def refused(code: str, deal: Deal = DEAL, policy: Policy = POLICY, now: int = NOW) -> None:
    with pytest.raises(NotAgreed) as caught:
        deals.agree(deal, policy, now)
    assert caught.value.code == code


def renewed(
    since: int, until: int, pledged: int, deal: Deal = KEPT, policy: Policy = POLICY, now: int | None = None, up: int = 0
) -> tuple[Deal, Held]:
    return deals.renewed(deal, since, until, pledged, policy=policy, now=until if now is None else now, up=up)


def test_a_deal_at_the_price_and_within_the_risk_is_agreed_to() -> None:
    deals.agree(DEAL, POLICY, NOW)
    refused("price", policy=Policy(51, 7))
    refused("price", policy=Policy(50, 6))
    refused("draining", policy=replace(POLICY, leaving=True))


def test_clocks_may_differ_by_so_much() -> None:
    deals.agree(DEAL, POLICY, NOW + SKEW)
    deals.agree(DEAL, POLICY, NOW - SKEW)
    refused("invalid", now=NOW + SKEW + 1)
    refused("invalid", now=NOW - SKEW - 1)


def test_a_pledge_and_a_term_have_an_end_in_order() -> None:
    longest = replace(DEAL, until=NOW + MOST_PLEDGED, ends=NOW + MOST_PLEDGED)
    deals.agree(longest, POLICY, NOW)
    refused("invalid", replace(DEAL, until=NOW))
    refused("invalid", replace(DEAL, until=NOW + MOST_PLEDGED + SKEW + 1, ends=NOW + 10**8))
    refused("invalid", replace(DEAL, ends=NOW + 599))
    refused("invalid", replace(DEAL, ends=NOW + deals.MOST_TERM + 1))


def test_a_renewal_pays_what_was_not_paid_and_pledges_from_there() -> None:
    now = NOW + 600
    after, held = renewed(NOW - 50, now, now + 600)
    assert (held.since, held.until) == (NOW, now)
    assert (after.since, after.until, after.paid, after.ends) == (now, now + 600, NOW, NOW + 6000)
    settled = deals.paid(deals.shown(after, now - 1), held.until)
    assert (settled.paid, settled.proved) == (now, 0)
    assert deals.paid(deals.shown(after, now + 5), held.until).proved == now + 5, "it was shown after what is paid"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"deal": DEAL}, "missing"),
        ({"since": NOW + 601}, "invalid"),
        ({"now": NOW + 600 + SKEW + 1}, "invalid"),
        ({"now": NOW + 600 - SKEW - 1}, "invalid"),
        ({"pledged": NOW + 600}, "invalid"),
        ({"pledged": NOW + 600 + MOST_PLEDGED + SKEW + 1}, "invalid"),
        ({"pledged": NOW + 6001, "policy": replace(POLICY, leaving=True)}, "draining"),
        ({"pledged": NOW + 6001, "policy": Policy(51, 7)}, "price"),
        ({"since": NOW + 301}, "price"),
        ({"since": NOW + 1, "deal": deals.shown(KEPT, NOW + 1)}, "price"),
    ],
)
def test_a_renewal_that_lies_is_refused(change: dict[str, Any], code: str) -> None:
    asked: dict[str, Any] = {"since": NOW, "until": NOW + 600, "pledged": NOW + 1200}
    renewed(**asked)
    with pytest.raises(NotAgreed) as caught:
        renewed(**asked | change)
    assert caught.value.code == code


def test_time_may_be_left_out_that_the_holder_was_not_there_or_not_asked() -> None:
    now = NOW + 600
    assert renewed(NOW + 300, now, now + 600)[1].seconds == 300
    assert renewed(NOW + 500, now, now + 600, up=NOW + 400)[1].seconds == 100
    shown = deals.shown(KEPT, NOW + 301)
    assert renewed(NOW + 300, now, now + 600, deal=shown)[1].seconds == 300, "the proof is within what is paid"


def test_a_longer_term_is_agreed_to_at_todays_price() -> None:
    after, _ = renewed(NOW, NOW + 600, NOW + 9000)
    assert after.ends == NOW + 9000


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(0, 700)), max_size=20))
def test_no_second_is_paid_twice_whatever_a_keeper_states(steps: list[tuple[int, int]]) -> None:
    deal, now, seconds = KEPT, NOW, 0
    for later, back in steps:
        now += later
        try:
            deal, held = renewed(now - back, now, now + 600, deal=replace(deal, ends=now + 10**6))
        except NotAgreed:
            continue
        deal, seconds = deals.paid(deal, held.until), seconds + held.seconds
        assert seconds <= deal.paid - NOW <= now - NOW


def test_grace_is_as_long_as_the_pledge_was_within_bounds() -> None:
    assert DEAL.stays() == DEAL.until + HOUR_SECONDS
    assert DEAL.stays(86400) == DEAL.until + 86400, "a challenge may wait for its answer for so long"
    assert replace(DEAL, until=NOW + 2 * HOUR_SECONDS).stays() == NOW + 4 * HOUR_SECONDS
    assert replace(DEAL, until=NOW + 100 * MOST_PLEDGED).stays() == NOW + 101 * MOST_PLEDGED
