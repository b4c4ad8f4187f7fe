"""The economy: tokens are neither lost nor made, a seed is a report, cheats lose, and nothing depends on who else is in the array."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from surge.core.economics import FOUNDING
from surge.errors import InternalFault, InvalidInput
from surge.simulate import market, scenarios
from surge.simulate.cheats import CHEATS
from surge.simulate.economy import Economy, Settings, begin, step
from surge.simulate.rules import GRAIN, Rules
from surge.simulate.scenarios import NAMES, SHOCKS, simulate


def run(settings: Settings, days: int) -> Economy:
    economy = begin(settings)
    for _ in range(days):
        step(economy)
    return economy


def test_tokens_are_neither_lost_nor_made() -> None:
    economy = begin(Settings(providers=3_000, seed=1, cheats=0.3))
    for _ in range(120):
        step(economy)
        economy.books.check()
    books = economy.books
    assert books.burnt > 0
    assert books.minted > 0
    assert books.leaving == sum(books.free.values()) > 0
    assert books.behind.sum() > 0
    assert books.supply + books.minted <= FOUNDING.network.cap // GRAIN


@pytest.mark.parametrize("shock", SHOCKS, ids=lambda shock: shock.name)
def test_no_shock_loses_or_makes_tokens(shock: scenarios.Shock) -> None:
    economy = run(Settings(providers=1_000, seed=2), 30)
    before, serving = economy.books.total(), economy.active.sum()
    shock.strike(economy)
    assert economy.books.total() == before
    assert (economy.active.sum() < 0.6 * serving) == (shock.name == "exodus")
    for _ in range(40):
        step(economy)
        economy.books.check()


def test_books_that_do_not_balance_are_found() -> None:
    for spoil, said in (("market", "missing"), ("cap", "more than the cap"), ("sink", "overdrawn")):
        books = run(Settings(providers=100), 8).books
        if spoil == "market":
            books.market += 1
        elif spoil == "cap":
            books.cap = books.supply + books.minted - 1
        else:
            books.market, books.sink = books.market + books.sink + 1, -1
        with pytest.raises(InternalFault, match=said):
            books.check()


def test_an_epoch_mints_at_most_its_budget_and_less_than_its_fees() -> None:
    economy = begin(Settings(providers=2_000, seed=3))
    fees, minted, epochs = 0.0, 0.0, 0
    for _ in range(70):
        day = step(economy)
        fees += day.fees
        if day.emitted:
            assert day.emitted <= economy.settings.rules.budget(epochs) / 10**9
            assert day.emitted <= 0.8 * fees
            minted, fees, epochs = minted + day.emitted, 0.0, epochs + 1
    assert epochs == 10
    assert minted == pytest.approx(economy.books.minted / 10**9)


def test_a_budget_smaller_than_the_fees_is_shared() -> None:
    small = dataclasses.replace(FOUNDING, emission=dataclasses.replace(FOUNDING.emission, first_budget=10**20))
    economy = run(Settings(providers=500, rules=Rules(economics=small)), 7)
    assert 100 * 10**9 - 500 <= economy.books.minted <= 100 * 10**9


def test_every_kind_of_cheat_loses() -> None:
    found = simulate(Settings(providers=6_000, years=0.5, seed=4, cheats=0.3), ("steady",))
    for kind, gain, career in zip(CHEATS, found.cheated.gain, found.curves.careers, strict=True):
        assert gain < 0, kind.name
        assert career.gain < 0, kind.name
    assert found.cheated.caught[0] > 100
    passed, caught = found.cheated.passed[2], found.cheated.caught[2]
    assert passed / caught == pytest.approx(found.curves.careers[2].passed, rel=4 / caught**0.5), "turncoats pass as long as is expected"


def test_a_seed_is_a_run() -> None:
    settings = Settings(providers=500, years=0.3, seed=5)
    one, same, other = (simulate(each) for each in (settings, settings, dataclasses.replace(settings, seed=6)))
    assert one.steady == same.steady
    assert one.shocked == same.shocked
    assert one.steady != other.steady


def test_scenarios_begin_from_the_steady_run_and_leave_it_alone() -> None:
    settings = Settings(providers=500, years=0.5)
    told: list[tuple[int, int]] = []
    alone, every = simulate(settings, ("steady",)), simulate(settings, NAMES, lambda done, total: told.append((done, total)))
    assert alone.steady == every.steady
    assert not alone.shocked
    assert sorted(every.shocked) == sorted(each.name for each in SHOCKS)
    for days in every.shocked.values():
        assert days[: every.struck] == every.steady[: every.struck]
        assert days[every.struck] != every.steady[every.struck]
    assert told[0][0] == 1
    assert told[-1][0] == told[-1][1] == len(told)


def test_what_breaks_shows() -> None:
    found = simulate(Settings(providers=4_000, years=1, seed=7))
    at = min(found.struck, scenarios.AFTER)
    for name, days in found.shocked.items():
        before, after, later = days[at - 1], days[at], days[-1]
        if name == "demand":
            assert after.price > 1.5 * before.price
            assert later.active > before.active
        elif name == "token":
            assert after.token < 0.15 * before.token
            assert later.asked > 4 * before.asked, "prices in SURGE rise until costs are paid again"
            assert min(later.margin) > 0
        else:
            assert after.active < 0.6 * before.active
            assert later.active > 0.8 * before.active, "a price that pays brings them back"


@pytest.mark.parametrize(("wrong", "said"), [({"providers": 19}, "20 to"), ({"years": 0.0}, "50 years"), ({"years": 51.0}, "50 years")])
def test_what_cannot_be_simulated_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        simulate(dataclasses.replace(Settings(), **wrong))  # type: ignore[arg-type]


def test_a_market_clears_where_supply_meets_demand() -> None:
    supply, wanted = np.zeros(market.STEPS), np.full(market.STEPS, 10.0)
    supply[[3, 5, 9]] = 6, 8, 100
    cleared = market.clear(supply, wanted)
    assert cleared.price == market.step_prices()[5]
    assert (cleared.sold, cleared.wanted) == (10, 10)
    assert cleared.filled[[3, 5, 9]].tolist() == [1, 0.5, 0]
    short = market.clear(supply, wanted * 100)
    assert (short.sold, short.wanted) == (114, 1000)
    nobody = market.clear(np.zeros(market.STEPS), wanted)
    assert nobody.sold == 0


def test_dearer_is_wanted_less() -> None:
    buyers = market.Buyers.drawn(200, 1_000.0, 5e-6, np.random.default_rng(0))
    curve = buyers.curve
    assert np.all(np.diff(curve) <= 0)
    assert curve[-1] == 0, "the cloud is cheaper to everybody"
    assert float(np.interp(5e-6, market.step_prices(), curve)) == pytest.approx(1_000, rel=0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_providers() -> None:
    found = simulate(Settings(providers=1_000_000, years=1), ("steady",))
    assert len(found.steady) == 365
    assert found.steady[-1].active > 100_000
    assert all(gain < 0 for gain in found.cheated.gain)
