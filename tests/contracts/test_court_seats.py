"""Seats and draws: who may be drawn, and that nobody can choose it."""

from __future__ import annotations

import boa
import pytest

from contracts_support import BUYER, OPERATOR, STRANGER, key, rich
from court_support import ENGINE, JURORS, LIMIT, OTHER_SECRET, PARAMETERS, SECRET, Courthouse, claim
from surge.core import court as rules
from surge.core.court import Outcome, Phase
from surge.core.keccak import keccak256
from surge.core.types import ZERO, address

STAKE = PARAMETERS.seat_stake
KEY = b"\x09" * 32
LONGEST = PARAMETERS.longest_case


def sit(house: Courthouse, who=STRANGER, seats=1, engines=(ENGINE,), memory=1 << 30, fuel_cap=LIMIT, key=KEY) -> int:
    with boa.env.prank(who.address):
        return house.court.enlist(seats, list(engines), memory, fuel_cap, key)


def leave(house: Courthouse, who=STRANGER) -> None:
    with boa.env.prank(who.address):
        house.court.resign()


def test_a_seat_reserves_its_stake_until_the_longest_case_is_over(courthouse: Courthouse) -> None:
    courthouse.bond(STRANGER, 3 * STAKE)
    number = sit(courthouse, seats=2)
    found = courthouse.court.enlistment(number)
    assert (address(found.juror), found.seats, found.stake, found.key) == (STRANGER.address, 2, 2 * STAKE, KEY)
    assert courthouse.bonds.reserved_by(courthouse.court.address, STRANGER.address) == 2 * STAKE
    assert courthouse.court.places(ENGINE) == 2
    assert courthouse.court.enlistment_of(STRANGER.address) == number
    with boa.reverts("court: not left"):
        courthouse.court.release_seats(number)
    leave(courthouse)
    assert courthouse.court.enlistment_of(STRANGER.address) == 0
    boa.env.time_travel(seconds=LONGEST)
    with boa.reverts("court: seats may still be drawn"):
        courthouse.court.release_seats(number)
    boa.env.time_travel(seconds=1)
    assert courthouse.court.release_seats(number) == 2 * STAKE
    assert courthouse.bonds.reserved_by(courthouse.court.address, STRANGER.address) == 0
    with boa.reverts("court: nothing reserved"):
        courthouse.court.release_seats(number)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"seats": 0}, "court: seats out of bounds"),
        ({"seats": 65}, "court: seats out of bounds"),
        ({"engines": ()}, "court: no engine"),
        ({"engines": (ENGINE, KEY, ENGINE)}, "court: engine named twice"),
        ({"key": ZERO}, "court: no key"),
        ({"seats": 4}, "court: own stake below the seats'"),
    ],
)
def test_what_is_no_enlistment_is_refused(courthouse: Courthouse, wrong: dict, reason: str) -> None:
    courthouse.bond(STRANGER, 3 * STAKE)
    with boa.reverts(reason):
        sit(courthouse, **wrong)


def test_a_juror_sits_once(courthouse: Courthouse) -> None:
    courthouse.bond(STRANGER, 2 * STAKE)
    sit(courthouse)
    with boa.reverts("court: enlisted already"):
        sit(courthouse)
    leave(courthouse)
    with boa.reverts("court: not enlisted"):
        leave(courthouse)
    sit(courthouse)


def test_seats_are_taken_with_free_stake_of_ones_own(courthouse: Courthouse) -> None:
    rich(courthouse.place, BUYER, tokens=10 * STAKE)
    with boa.env.prank(BUYER.address):
        courthouse.bonds.stake(STRANGER.address, 10 * STAKE)
    with boa.reverts("court: own stake below the seats'"):
        sit(courthouse)
    courthouse.seat(5)
    courthouse.accuse(bond=STAKE)
    courthouse.open()
    with boa.reverts("court: bond not free"):
        sit(courthouse, OPERATOR)


def test_coming_and_going_reserves_nobody_elses_stake(courthouse: Courthouse) -> None:
    """Seats that were given up are still reserved: they count as much as those that are taken now."""
    rich(courthouse.place, BUYER, tokens=10 * STAKE)
    with boa.env.prank(BUYER.address):
        courthouse.bonds.stake(STRANGER.address, 10 * STAKE)
    courthouse.bond(STRANGER, 3 * STAKE)
    first = sit(courthouse, seats=2)
    leave(courthouse)
    with boa.reverts("court: own stake below the seats'"):
        sit(courthouse, seats=2)
    sit(courthouse, seats=1)
    leave(courthouse)
    with boa.reverts("court: own stake below the seats'"):
        sit(courthouse)
    boa.env.time_travel(seconds=LONGEST + 1)
    courthouse.court.release_seats(first)
    sit(courthouse, seats=2)
    assert courthouse.bonds.reserved_by(courthouse.court.address, STRANGER.address) == 3 * STAKE


def test_who_moves_its_own_stake_out_from_under_its_seats_is_unseated_by_anybody(courthouse: Courthouse) -> None:
    courthouse.bond(OPERATOR, 2 * STAKE)
    sit(courthouse, OPERATOR)
    with boa.reverts("court: own stake covers the seats"):
        courthouse.court.unseat(OPERATOR.address)
    shares, _, _ = courthouse.bonds.position(OPERATOR.address, OPERATOR.address)
    with boa.env.prank(OPERATOR.address):
        courthouse.bonds.unstake(OPERATOR.address, shares * 3 // 4)
    courthouse.court.unseat(OPERATOR.address)
    assert courthouse.court.enlistment_of(OPERATOR.address) == 0
    with boa.reverts("court: not enlisted"):
        courthouse.court.unseat(OPERATOR.address)


def test_a_jury_is_what_the_mirror_draws(courthouse: Courthouse) -> None:
    for number, who in enumerate(JURORS[:20]):
        courthouse.enlist(who, 1 + number % 3, fuel_cap=LIMIT - (number % 7 == 0))
    courthouse.accuse()
    courthouse.bond(BUYER, STAKE)
    sit(courthouse, BUYER)
    sit(courthouse, OPERATOR)
    boa.env.time_travel(seconds=1)
    for secret in (SECRET, OTHER_SECRET, KEY):
        case = courthouse.open(secret=secret)
        link = courthouse.link(courthouse.state(case).ordinal)
        opened_at = courthouse.state(case).opened_at
        seats = courthouse.seats()
        drawn = [each.address for each in courthouse.drawn(case, secret)]
        seed = rules.seed(secret, link, case)
        assert seed == courthouse.state(case).seed
        assert drawn == rules.draw(
            seed,
            5,
            seats,
            courthouse.enlistments(),
            opened_at=opened_at,
            memory=1 << 20,
            fuel_limit=LIMIT,
            excluded=(BUYER.address, OPERATOR.address),
        )
        assert len(set(drawn)) == 5


def test_seats_taken_or_given_up_after_the_opening_change_no_draw(courthouse: Courthouse) -> None:
    courthouse.seat(12)
    courthouse.accuse()
    case = courthouse.open()
    juries = []
    for meddle in (False, True):
        with boa.env.anchor():
            if meddle:
                for who in JURORS[20:40]:
                    courthouse.enlist(who, 3)
                for who in JURORS[:12]:
                    leave(courthouse, who)
            juries.append([each.address for each in courthouse.drawn(case)])
    assert juries[0] == juries[1]


def test_who_enlists_in_the_moment_of_the_opening_is_too_late(courthouse: Courthouse) -> None:
    courthouse.seat(6)
    courthouse.accuse()
    for who in JURORS[20:26]:
        courthouse.enlist(who, 5)
    case = courthouse.open()
    assert courthouse.state(case).opened_at == courthouse.court.enlistment(7).enlisted_at
    assert not {each.address for each in courthouse.drawn(case)} & {each.address for each in JURORS[20:26]}


def test_who_resigned_before_the_opening_is_not_drawn(courthouse: Courthouse) -> None:
    courthouse.seat(12)
    courthouse.accuse()
    for who in JURORS[:6]:
        leave(courthouse, who)
    boa.env.time_travel(seconds=1)
    assert {each.address for each in courthouse.drawn(courthouse.open())} <= {each.address for each in JURORS[6:12]}


def test_the_accuseds_link_alone_and_the_openers_secret_alone_decide_nothing(courthouse: Courthouse) -> None:
    courthouse.seat(30)
    courthouse.accuse()
    juries = set()
    for number in range(8):
        secret = keccak256(b"%d" % number)
        with boa.env.anchor():
            case = courthouse.open(secret=secret)
            juries.add(tuple(each.address for each in courthouse.drawn(case, secret)))
    assert len(juries) == 8
    for _ in range(3):
        case = courthouse.open()
        juries.add(tuple(each.address for each in courthouse.drawn(case)))
    assert len(juries) == 11


def test_the_accused_cannot_choose_among_its_links_nor_begin_another_chain(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse()
    case = courthouse.open()
    for wrong in (2, 3):
        with boa.reverts("court: not the link"):
            courthouse.court.answer(case, courthouse.link(wrong))
    other = keccak256(b"another chain")
    with boa.env.prank(OPERATOR.address):
        courthouse.bonds.set_anchor(keccak256(other))
    with boa.reverts("court: not the link"):
        courthouse.court.answer(case, other)
    courthouse.court.answer(case, courthouse.link(1))


def test_the_opener_cannot_choose_another_secret(courthouse: Courthouse) -> None:
    courthouse.seat()
    courthouse.accuse()
    case = courthouse.open()
    courthouse.court.answer(case, courthouse.link(1))
    with boa.reverts("court: not the secret"):
        courthouse.court.draw(case, OTHER_SECRET)


def test_who_asks_for_what_its_friends_alone_can_run_loses_its_bond(courthouse: Courthouse) -> None:
    courthouse.seat(30)
    for who in JURORS[40:47]:
        courthouse.enlist(who, 1, memory=1 << 40)
    courthouse.accuse()
    boa.env.time_travel(seconds=1)
    burnt = courthouse.token.totalSupply()
    for number in range(4):
        secret = keccak256(b"%d" % number)
        case = courthouse.open(secret=secret, memory=1 << 40)
        courthouse.court.answer(case, courthouse.link(courthouse.state(case).ordinal))
        assert not courthouse.court.draw(case, secret)
        assert courthouse.state(case).outcome == Outcome.UNFIT
    assert burnt - courthouse.token.totalSupply() == 4 * PARAMETERS.opener_bond
    assert courthouse.owed(OPERATOR) == 0


def test_too_few_jurors_dismiss_a_case_and_everything_returns(courthouse: Courthouse) -> None:
    courthouse.enlist(JURORS[0], 20)
    courthouse.accuse()
    boa.env.time_travel(seconds=1)
    before = courthouse.place.balance(BUYER)
    case = courthouse.open()
    courthouse.court.answer(case, courthouse.link(1))
    assert not courthouse.court.draw(case, SECRET)
    found = courthouse.state(case)
    assert (found.phase, found.outcome) == (Phase.OVER, Outcome.DISMISSED)
    with boa.env.prank(BUYER.address):
        courthouse.court.collect()
    assert courthouse.place.balance(BUYER) == before
    assert courthouse.bonds.reserved_by(courthouse.court.address, OPERATOR.address) == 0
    assert courthouse.bonds.reserved_by(courthouse.court.address, JURORS[0].address) == 20 * STAKE


def test_coming_and_going_does_not_fill_the_list_with_dead_seats(courthouse: Courthouse) -> None:
    courthouse.seat(6)
    courthouse.bond(STRANGER, 8 * STAKE)
    for _ in range(6):
        number = sit(courthouse, seats=8)
        leave(courthouse)
        boa.env.time_travel(seconds=LONGEST + 1)
        courthouse.court.release_seats(number)
    assert courthouse.court.places(ENGINE) <= 6 + 2 * 8


def test_a_place_is_not_given_to_another_while_a_case_could_see_who_had_it(courthouse: Courthouse) -> None:
    courthouse.seat(6)
    for who in JURORS[:6]:
        leave(courthouse, who)
    boa.env.time_travel(seconds=LONGEST)
    before = courthouse.seats()
    courthouse.enlist(key(4_002), 6)
    assert courthouse.seats()[:6] == before


def test_seats_count_for_the_engines_they_name(courthouse: Courthouse) -> None:
    courthouse.bond(STRANGER, 3 * STAKE)
    sit(courthouse, seats=3, engines=(ENGINE, KEY))
    assert courthouse.court.places(ENGINE) == courthouse.court.places(KEY) == 3
    assert courthouse.court.seat(KEY, 2) == 1


def test_claims_are_hashed_alike(courthouse: Courthouse) -> None:
    assert claim()[-1] == rules.secret_commitment(SECRET) == keccak256(SECRET)
