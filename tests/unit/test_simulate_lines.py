"""A line for every cheat that must lose: each is there, says where it wins, and follows the network's parameters."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surge.core import court
from surge.core.court import Outcome
from surge.core.economics import FOUNDING, Emission
from surge.core.parameters import PUBLIC, SURGE
from surge.provider.config import ProviderConfig
from surge.simulate import cheat_table
from surge.simulate.cheats import Cheat, Setting, career
from surge.simulate.given import JOB, Given
from surge.simulate.lines import Line, lines, shown
from surge.simulate.rules import SURGE_GRAINS, Rules

TESTS = Path(__file__).parents[1]

CHEATS = (
    *("wrong output", "inflated fuel", "a copy of another's answer", "a ring that agrees on wrong answers"),
    *("answering only when likely unaudited", "withheld results", "Sybil providers that leave after the first slash"),
    *("replayed and reordered receipts", "equivocation", "a backdated receipt", "a buyer who never signs a voucher"),
    *("a buyer who disputes good work", "an opener who withholds inputs", "a juror who copies", "a juror who sleeps"),
    *("a juror who is bribed", "randomness that is re-rolled", "a bond withdrawn while a case is coming"),
    *("a bond self-slashed while a case is coming", "an undelegation in front of a slash", "wash trading for emissions"),
)
"""Every cheat that must lose."""

KNOWN_TO_WIN: set[str] = set()
"""What the documents say is bounded, and not made impossible."""

DETECTED = CHEATS[:5]
"""Those that only a check finds."""


def line_of(cheat: str, given: Given | None = None) -> Line:
    return next(each for each in lines(given) if each.cheat == cheat)


def changed(**network: int) -> Given:
    return Given(economics=replace(FOUNDING, network=replace(PUBLIC, **network)))


def with_court(**numbers: int) -> Given:
    return Given(economics=replace(FOUNDING, court=replace(FOUNDING.court, **numbers)))


def test_every_cheat_has_a_line() -> None:
    assert [each.cheat for each in lines()] == list(CHEATS)


@pytest.mark.parametrize("each", lines(), ids=lambda each: each.cheat)
def test_a_line_loses_or_says_where_it_wins(each: Line) -> None:
    assert each.tries
    assert each.rule
    assert each.gain >= 0
    assert each.loses >= 0
    if each.cheat in KNOWN_TO_WIN:
        assert each.verdict == "wins"
        assert each.unless
    else:
        assert each.verdict in {"loses", "cannot be done"}
        assert each.net < 0 or (each.verdict == "cannot be done" and each.gain == each.loses == 0)


def test_every_line_names_tests_that_exist_and_that_the_page_of_attacks_names() -> None:
    known = set(re.findall(r"def test_(\w+)", "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))))
    said = set(re.findall(r"`(\w+)`", (TESTS.parent / "docs" / "attacks.md").read_text()))
    for each in lines():
        assert each.tests
        assert set(each.tests) <= known & said, each.cheat


@pytest.mark.parametrize("unit", [1, 10, 100, 1_000])
def test_what_only_a_check_finds_loses_with_units_of_any_size(unit: int) -> None:
    for cheat in DETECTED:
        assert line_of(cheat, Given(unit=unit)).verdict == "loses", cheat


def test_without_the_draw_by_price_or_without_courts_wrong_answers_win_and_the_line_says_so() -> None:
    blind = Given(unit=1_000, by_price=False)
    assert all(line_of(cheat, blind).verdict == "wins" for cheat in DETECTED)
    assert shown(line_of(DETECTED[4], blind).net) in line_of(DETECTED[4]).unless
    free = Given(courts=False)
    assert all(line_of(cheat, free).verdict == "wins" for cheat in DETECTED)
    assert shown(line_of("wrong output", free).net) in line_of("wrong output").unless


@pytest.mark.parametrize("cheat", DETECTED)
def test_less_to_lose_and_fewer_checks_make_a_wrong_answer_pay_better(cheat: str) -> None:
    net = line_of(cheat).net
    assert line_of(cheat, changed(min_bond=PUBLIC.min_bond // 2)).net > net
    assert line_of(cheat, Given(least_chance=0.01)).loses > line_of(cheat).loses or cheat == DETECTED[4]
    assert line_of(cheat, Given(certainty=0.9999)).gain < line_of(cheat).gain


def test_a_ring_gains_with_its_size_and_half_a_bond_halves_what_equivocating_costs() -> None:
    ring, sign = "a ring that agrees on wrong answers", "equivocation"
    assert line_of(ring, Given(ring=0.5)).net > line_of(ring).net > line_of(ring, Given(ring=0.0)).net
    assert line_of(ring, Given(ring=0.0)).net == line_of("wrong output").net
    assert line_of(sign).loses == 45 * SURGE
    assert line_of(sign, changed(min_bond=50 * SURGE)).loses == 45 * SURGE // 2


def test_the_courts_lines_follow_its_fees_and_bonds() -> None:
    assert line_of("a buyer who disputes good work").loses == 16 * SURGE // 10
    assert line_of("an opener who withholds inputs").loses == 115 * SURGE // 100
    assert line_of("a juror who sleeps").loses == Given().fee + Given().ended(Outcome.CONVICTED).juror
    assert line_of("a juror who copies").loses == 15 * Given().fee + Given().ended(Outcome.CONVICTED).juror
    assert Given().fee == 12 * SURGE // 100
    assert line_of("randomness that is re-rolled").loses == Given().worth == 36 * SURGE // 100
    slashed = line_of("a bond self-slashed while a case is coming")
    assert (slashed.gain, slashed.loses) == (9 * SURGE // 100, 96 * SURGE // 100)
    dear = with_court(opener_bond=2 * SURGE)
    for cheat in ("a buyer who disputes good work", "an opener who withholds inputs"):
        assert line_of(cheat, dear).loses == line_of(cheat).loses + SURGE
    paid = with_court(base_fee=2 * FOUNDING.court.base_fee)
    for cheat in ("a juror who copies", "a juror who sleeps", "wrong output", "a bond self-slashed while a case is coming"):
        assert line_of(cheat, paid).net < line_of(cheat).net, cheat
    unpaid = with_court(base_fee=0, gigafuel_fee=0)
    assert line_of("a juror who copies", unpaid).verdict == "wins"


@pytest.mark.parametrize("unit", [1, 10, 1_000])
def test_a_bribe_costs_more_than_all_that_a_verdict_moves(unit: int) -> None:
    given = Given(unit=unit)
    bribe = line_of("a juror who is bribed", given)
    assert bribe.gain == given.case + given.ended(Outcome.ACQUITTED).accused
    assert bribe.loses == int(28.25 * given.fee)
    assert bribe.verdict == "loses"
    assert shown(83 * given.fee) in bribe.unless
    assert shown(int(25.5 * given.fee)) in bribe.unless


@pytest.mark.parametrize("cheat", ["a bond withdrawn while a case is coming", "an undelegation in front of a slash"])
def test_a_bond_gets_away_only_where_unbonding_is_shorter_than_claim_and_case(cheat: str) -> None:
    longest = FOUNDING.court.max_claim_age + FOUNDING.court.longest_case
    assert line_of(cheat, changed(unbonding_seconds=longest + 1)).verdict == "cannot be done"
    gone = line_of(cheat, changed(unbonding_seconds=longest))
    assert (gone.verdict, gone.gain) == ("wins", Given().case)


@pytest.mark.parametrize("unit", [1, 3, 9, 10, 11, 60, 1_000, 100_000])
@pytest.mark.parametrize("floor", [10**14, 10**16, 3 * 10**17])
def test_who_never_vouches_gains_nothing_at_any_size_of_its_units(unit: int, floor: int) -> None:
    line = line_of("a buyer who never signs a voucher", Given(unit=unit, floor=floor))
    assert line.verdict in {"loses", "gains nothing"}
    assert line.gain <= line.loses == floor
    assert (line.gain > 0) == (Given(unit=unit).price <= floor)


def test_the_floor_is_what_offers_ask_for() -> None:
    assert Given().floor == ProviderConfig.__dataclass_fields__["opening"].default


def test_washing_loses_what_emission_does_not_give_back() -> None:
    wash = line_of("wash trading for emissions")
    assert wash.gain * 10 == wash.loses * 8 or abs(wash.gain * 10 - wash.loses * 8) <= 10
    more = line_of("wash trading for emissions", Given(economics=replace(FOUNDING, emission=Emission(work_bps=9_000))))
    assert wash.net < more.net < 0


def test_what_the_court_takes_is_what_it_takes_on_the_average() -> None:
    """Against careers that are lived through: cases for each wrong unit until the bond is gone."""
    given, dice, count = Given(), random.Random(2), 20_000
    for found, bond in ((0.02, 30), (0.2, 3)):
        at = replace(given, economics=replace(FOUNDING, network=replace(PUBLIC, min_bond=bond * given.case)))
        total = 0
        for _ in range(count):
            passed = 0
            while dice.random() >= found and passed < JOB:
                passed += 1
            total += min(bond, passed + 1)
        assert at.taken(found) / at.case == pytest.approx(total / count, rel=0.03)


def test_a_turncoats_line_is_near_the_career_that_is_followed_unit_by_unit() -> None:
    """Where price is left out of the draw, as there: both come to what its units save, less the bond."""
    at = Given(by_price=False)
    kind = Cheat("turncoat", rate=1.0, waits=100_000, stays=True)
    setting = Setting(amount=at.price * SURGE_GRAINS / SURGE, cost=0.99, token=0.005)
    followed = career(kind, Rules(), setting).gain * at.price
    assert line_of(DETECTED[4], at).net == pytest.approx(followed, rel=0.02)


def test_the_report_has_every_line_and_its_figures() -> None:
    rules = Rules()
    assert cheat_table.given(rules) == Given()
    root = ElementTree.fromstring(f"<body>{''.join(cheat_table.section(rules))}</body>")
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")][1:]
    found = json.loads(json.dumps(cheat_table.data(rules)))
    for each, row, plain in zip(lines(), rows, found, strict=True):
        assert row[0] == plain["cheat"] == each.cheat
        assert row[2:6] == [shown(each.gain), shown(each.loses), shown(each.net), each.verdict]
        assert int(plain["net"]) == int(plain["gain"]) - int(plain["loses"]) == each.net
        assert all(name in row[8] for name in plain["tests"])
    winning = [each.attrib["class"] for each in root.iter("span")].count("wins")
    assert winning == len(KNOWN_TO_WIN)
    assert f"{winning} may be positive" in "".join(root.itertext())


def test_the_page_of_economics_has_the_lines_figures() -> None:
    section = (TESTS.parent / "docs" / "economics.md").read_text().partition("### Every cheat that must lose")[2].partition("\n### ")[0]
    rows = [row.strip("| ").split(" | ")[1:] for row in section.splitlines() if row.startswith("| ")][1:]
    figures = [figure for row in rows for cell in row for figure in cell.split("; ")]
    amounts = [amount / SURGE for each in lines() for amount in (each.gain, each.loses)]
    assert len(figures) > 20
    for figure in figures:
        digits = len(figure.partition(".")[2])
        assert float(figure) in {round(amount, digits) for amount in amounts}, figure


@pytest.mark.parametrize("bond", [10, 100])
def test_a_network_founded_otherwise_has_other_lines(bond: int) -> None:
    row = next(each for each in cheat_table.data(Rules().with_(bond=bond)) if each["cheat"] == "equivocation")
    assert row["loses"] == str(court.equivocation(bond * SURGE, 0, bond * SURGE)[0] * 9 // 10)


def test_lines_need_no_numpy() -> None:
    code = "import sys; sys.modules['numpy'] = None; from surge.simulate.lines import lines; print(len(lines()))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == f"{len(CHEATS)}\n"
