"""Hash chains: each case has one link, fixed before the case, whatever the operator does afterwards."""

from __future__ import annotations

import boa
import pytest

from bonds_support import BOB, JUDGE, Bonds
from contracts_support import OPERATOR, OWNER, STRANGER, UNBONDING
from surge.core.bonds import MAX_SKIP, link

SECRET, LENGTH = b"\x05" * 32, 2_000


def links(number: int, secret: bytes = SECRET) -> bytes:
    return link(secret, LENGTH, number)


def use(bonds: Bonds, ordinal: int, shown: bytes) -> bool:
    return bool(bonds.by(JUDGE, "use_link", OPERATOR.address, ordinal, shown))


def take(bonds: Bonds, count: int = 1) -> int:
    """Take so many ordinals; returns the last."""
    last = 0
    for _ in range(count):
        last = bonds.by(JUDGE, "next_ordinal", OPERATOR.address)
    return last


@pytest.fixture
def chained(bonds: Bonds) -> Bonds:
    bonds.by(OPERATOR, "set_anchor", links(0))
    return bonds


def test_each_ordinal_has_its_link_and_no_other(chained: Bonds) -> None:
    assert (take(chained), take(chained)) == (1, 2)
    assert not use(chained, 1, links(2))
    assert not use(chained, 1, links(0))
    assert not use(chained, 2, links(1))
    assert use(chained, 1, links(1))
    assert (chained.pool().anchor, chained.pool().links_used) == (links(1), 1)
    assert use(chained, 2, links(2))
    assert use(chained, 1, links(1)), "it stays what it is"
    assert not use(chained, 2, links(3))


def test_cases_may_be_answered_in_any_order_and_some_never(chained: Bonds) -> None:
    assert take(chained, 5) == 5
    assert use(chained, 4, links(4))
    assert use(chained, 2, links(2))
    assert not use(chained, 2, links(3))
    assert chained.pool().links_used == 4
    assert use(chained, 5, links(5))


def test_a_link_is_nothing_before_its_ordinal_was_taken_or_to_another_judge(chained: Bonds) -> None:
    with boa.reverts("bonds: not your ordinal"):
        use(chained, 1, links(1))
    take(chained)
    with boa.reverts("bonds: not your ordinal"):
        chained.by(STRANGER, "use_link", OPERATOR.address, 1, links(1))
    chained.by(OWNER, "propose_slasher", STRANGER.address)
    boa.env.time_travel(seconds=2 * UNBONDING)
    chained.by(STRANGER, "accept_slasher")
    assert use(chained, 1, links(1)), "a judge that was replaced ends its cases"


def test_without_an_anchor_there_is_no_link(bonds: Bonds) -> None:
    take(bonds)
    assert not use(bonds, 1, links(1))
    with boa.reverts("bonds: no anchor"):
        bonds.by(OPERATOR, "set_anchor", bytes(32))


def test_a_new_chain_counts_for_new_cases_only(chained: Bonds) -> None:
    """Whoever could register another chain once a case was open would choose its link."""
    take(chained, 2)
    other = b"\x06" * 32
    chained.by(OPERATOR, "set_anchor", links(0, other))
    assert (chained.pool().anchor, chained.pool().links_used) == (links(0, other), 2)
    assert not use(chained, 1, links(1, other))
    assert use(chained, 1, links(1))
    assert take(chained) == 3
    assert not use(chained, 3, links(3))
    assert use(chained, 3, links(1, other))
    assert use(chained, 2, links(2))
    assert chained.contract.ordinals(OPERATOR.address) == 3
    assert chained.pool(BOB).links_used == 0


def test_an_anchor_registered_after_an_ordinal_was_taken_without_one_does_not_serve_it(bonds: Bonds) -> None:
    take(bonds)
    bonds.by(OPERATOR, "set_anchor", links(0))
    assert not use(bonds, 1, links(0))
    assert not use(bonds, 1, links(1))
    assert take(bonds) == 2
    assert use(bonds, 2, links(1))


def test_the_way_to_a_link_is_bounded(chained: Bonds) -> None:
    assert take(chained, MAX_SKIP + 1) == MAX_SKIP + 1
    assert not use(chained, MAX_SKIP + 1, links(MAX_SKIP + 1))
    assert use(chained, MAX_SKIP, links(MAX_SKIP))
    assert use(chained, MAX_SKIP + 1, links(MAX_SKIP + 1))
