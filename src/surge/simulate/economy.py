"""The economy, day by day: what every agent does, and what the network's rules make of it.

A day: the token's price moves; offers and demand meet; work is paid, fees are taken, bonds are filled; results are checked and cheats are
caught. A week: each provider looks at its price, joins or leaves (a seventh of them each day); stakers look around; an epoch of emission
ends. The equations are in `docs/economics.md`, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surge.simulate import cheating, market
from surge.simulate.books import Books
from surge.simulate.cheats import CHEATS
from surge.simulate.devices import DEVICES, Array, Population, population
from surge.simulate.market import Buyers
from surge.simulate.rules import GRAIN, SURGE_GRAINS, Rules
from surge.simulate.stakers import Stakers

FIRST_TOKEN = 0.005
"""US dollars of one SURGE at the founding: an hour of a core, 3.6 SURGE, comes to 0.018 dollars then, below the cloud's spot."""

MARGIN = 1.02
"""Nobody asks less than so many times its cost."""

GROWTH = 1.2
"""What is wanted at a price grows by this factor in a year."""

LOOK = 7
"""Days between two looks of a provider at its price, and at whether it is worth it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is simulated."""

    providers: int = 100_000
    """Devices that there are. Half of them provide at the beginning."""
    years: float = 3.0
    """Years of 365 days."""
    seed: int = 0
    """Of everything random."""
    cheats: float = 0.06
    """The fraction of devices that cheat, in equal parts of every kind."""
    rules: Rules = field(default_factory=Rules)
    """The network's rules."""

    @property
    def days(self) -> int:
        """Days, at least one."""
        return max(1, round(self.years * 365))


@dataclass(slots=True)
class Economy:
    """The state of every agent. `begin` makes one, `step` takes it through a day."""

    settings: Settings
    people: Population
    buyers: Buyers
    stakers: Stakers
    books: Books
    random: Any
    """The `numpy.random.Generator` of everything random."""
    kind: Array
    """0 for honest, otherwise the index into `CHEATS` plus one."""
    active: Array
    """Who provides."""
    ask: Array
    """Each one's price: grains for a gigafuel."""
    units: Array
    """Right results that each has behind it, decayed."""
    checks: Array
    """Of these, those that were checked, decayed."""
    chance: Array
    """The chance with which each one's next result is checked."""
    earned: Array
    """What each earns a day beyond its costs, smoothed: US dollars."""
    wants: Array
    """What each wants a day for the trouble: US dollars."""
    shares: Array
    """The part of its pay that each gives to those who stake behind it, in basis points."""
    fees: Array
    """Grains of fees that each one's work paid in during this epoch."""
    given: Array
    """Grains that each gave to its stakers during this epoch."""
    yields: Array
    """What staking a grain behind each earned in the epoch before."""
    back: Array
    """The day from which each may join: who was caught stays away."""
    wrong: Array
    """Wrong results of each that were accepted since it was caught last."""
    offers: Array
    """Who offers work: not those that only pay themselves."""
    filled: Array
    """The part of each one's capacity that was sold today."""
    token: float = FIRST_TOKEN
    """US dollars of one SURGE."""
    holding: float = 0.0
    """Days for which the token is held on the average: what makes its price, by the equation of exchange."""
    spent: float = 0.0
    """US dollars that buyers spend a day, smoothed."""
    demand: float = 1.0
    """How much is wanted, against the beginning."""
    checked: float = 0.0
    """Checks for each unit, yesterday: they are bought as well."""
    price: float = 0.0
    """What a result costs at the margin, in US dollars for a gigafuel: today's."""
    cheated: cheating.Tally = field(default_factory=cheating.Tally)
    """What each kind of cheat came to so far."""
    day: int = 0
    """Days that passed."""

    @property
    def epoch(self) -> int:
        """The epoch of emission that today belongs to."""
        return self.day // self.settings.rules.epoch_days


def begin(settings: Settings) -> Economy:
    """The first day of an economy."""
    random = np.random.Generator(np.random.PCG64(settings.seed))
    rules, count = settings.rules, settings.providers
    people = population(count, random)
    kind: Array = np.zeros(count, dtype=np.int8)
    cheats = random.random(count) < settings.cheats
    kind[cheats] = random.integers(1, len(CHEATS) + 1, int(cheats.sum()))
    active = random.random(count) < 0.5
    supply = rules.economics.network.supply // GRAIN
    market_has, stakers_have = supply * 4 // 10, supply // 10
    books = Books(
        supply=supply,
        cap=rules.economics.network.cap // GRAIN,
        market=market_has,
        treasury=supply - market_has - stakers_have,
        idle=stakers_have,
        own=np.zeros(count, dtype=np.int64),
        behind=np.zeros(count, dtype=np.int64),
    )
    reference = rules.economics.gigafuel / 10**18 * FIRST_TOKEN
    daily = 0.4 * float(people.capacity[active].sum())
    wants = np.array([0.02, 0.03, 0.05, 0.5])[people.device] * np.exp(0.8 * random.standard_normal(count))
    shares = np.where(random.random(count) < 0.3, random.integers(500, 2001, count), 0)
    spent = daily * reference
    return Economy(
        settings=settings,
        people=people,
        buyers=Buyers.drawn(max(50, min(2_000, count // 50)), daily, reference, random),
        stakers=Stakers.drawn(max(10, count // 10), count, stakers_have, random),
        books=books,
        random=random,
        kind=kind,
        active=active,
        ask=np.full(count, rules.economics.gigafuel / GRAIN) * np.exp(0.05 * random.standard_normal(count)),
        units=np.zeros(count),
        checks=np.zeros(count),
        chance=np.ones(count),
        earned=wants * 2,
        wants=wants,
        shares=shares,
        fees=np.zeros(count, dtype=np.int64),
        given=np.zeros(count, dtype=np.int64),
        yields=shares / 1e6,
        back=np.zeros(count, dtype=np.int64),
        wrong=np.zeros(count),
        offers=~cheating.WASHES[kind],
        filled=np.zeros(count),
        holding=FIRST_TOKEN * market_has / SURGE_GRAINS / spent,
        spent=spent,
        price=reference,
    )


@dataclass(frozen=True, slots=True)
class Day:
    """What there is to see of a day."""

    day: int
    """Days that passed."""
    price: float
    """US dollars for a gigafuel, at the margin."""
    asked: float
    """The same in SURGE: what is paid on the average."""
    token: float
    """US dollars of one SURGE."""
    active: int
    """Providers."""
    capacity: float
    """Gigafuel that they offer."""
    wanted: float
    """Gigafuel that is wanted at the price."""
    sold: float
    """Gigafuel that is sold."""
    extra: float
    """Checks for each unit."""
    wrong: float
    """Wrong results among those accepted."""
    paid: float
    """SURGE that buyers paid."""
    margin: tuple[float, ...]
    """Of each class of devices: what is left of its pay after its costs, as a fraction."""
    serving: tuple[int, ...]
    """Of each class: providers."""
    fees: float
    """SURGE of fees, those of wash traders included."""
    emitted: float
    """SURGE minted."""
    burnt: float
    """SURGE burnt until now."""
    supply: float
    """SURGE that there are: founded and minted, less the burnt."""
    bonded: float
    """SURGE staked, by operators and by others."""
    staked: float
    """SURGE staked by others."""
    shared: float
    """SURGE that these got today."""
    gains: tuple[float, ...]
    """Of each kind of cheat: US dollars that cheating came to until now."""


def step(economy: Economy) -> Day:
    """Take the economy through a day."""
    e, rules, books, people = economy, economy.settings.rules, economy.books, economy.people
    if e.day % 7 == 0:
        e.buyers.stir(e.random)
    books.release(e.day)
    _token(e)
    e.demand *= GROWTH ** (1 / 365)
    grain = e.token / SURGE_GRAINS
    offering = np.flatnonzero(e.active & e.offers)
    where = market.steps_of(np.log(e.ask[offering] * (1 + e.chance[offering]) * grain))
    capacity = people.capacity[offering]
    supply = np.bincount(where, weights=capacity, minlength=market.STEPS)
    cleared = market.clear(supply, e.buyers.curve * (e.demand * (1 + e.checked)))
    e.price = cleared.price
    filled = cleared.filled[where]
    e.filled[:] = 0.0
    e.filled[offering] = filled
    units = np.floor(capacity * filled / rules.unit).astype(np.int64)
    who, units = offering[units > 0], units[units > 0]
    tried = cheating.work(e, who, units)
    amounts = rules.unit_amounts(e.ask[who])
    paid = cheating.billed(units * amounts, tried)
    fees = rules.fees(paid)
    net = paid - fees
    shared = _pay(e, who, net)
    total, done = int(paid.sum()), int(units.sum())
    books.market -= total
    books.sink += int(fees.sum())
    e.fees[who] += fees
    checked = _check(e, who, units)
    worked = units.astype(np.float64)
    worked[tried.at] -= tried.idle
    cost = people.cost[who] * worked * rules.unit
    e.earned *= 1 - 1 / 14
    e.earned[who] += ((net - shared) * grain - cost) / 14
    cheating.settle(e, tried, amounts)
    washed = cheating.wash(e)
    emitted, passed_on = _epoch_ends(e) if (e.day + 1) % rules.epoch_days == 0 else (0, 0)
    _look(e, grain)
    e.checked = checked / done if done else 0.0
    e.spent += (total * grain - e.spent) / 30
    e.day += 1
    device = people.device[who]
    got = np.bincount(device, weights=net, minlength=len(DEVICES)) * grain
    spent = np.bincount(device, weights=cost, minlength=len(DEVICES))
    margin = np.divide(got - spent, got, out=np.zeros(len(DEVICES)), where=got > 0)
    return Day(
        day=e.day,
        price=cleared.price,
        asked=total / SURGE_GRAINS / (done * rules.unit) if done else 0.0,
        token=e.token,
        active=int(np.count_nonzero(e.active)),
        capacity=float(supply.sum()),
        wanted=cleared.wanted,
        sold=float(done * rules.unit),
        extra=e.checked,
        wrong=float(tried.passed.sum() / done) if done else 0.0,
        paid=total / SURGE_GRAINS,
        margin=tuple(margin.tolist()),
        serving=tuple(np.add.reduceat(e.active, people.first, dtype=np.int64).tolist()),
        fees=(int(fees.sum()) + washed) / SURGE_GRAINS,
        emitted=emitted / SURGE_GRAINS,
        burnt=books.burnt / SURGE_GRAINS,
        supply=(books.supply + books.minted - books.burnt) / SURGE_GRAINS,
        bonded=(int(books.own.sum()) + int(books.behind.sum())) / SURGE_GRAINS,
        staked=int(books.behind.sum()) / SURGE_GRAINS,
        shared=(int(shared.sum()) + passed_on) / SURGE_GRAINS,
        gains=tuple(e.cheated.gain.tolist()),
    )


def _token(e: Economy) -> None:
    """The token's price wanders around what is spent, times how long it is held, over what the market holds."""
    worth = e.spent * e.holding / (e.books.market / SURGE_GRAINS)
    noise = 0.03 * float(e.random.standard_normal()) - 0.00045
    e.token *= float((max(worth, 1e-12) / e.token) ** (1 / 30) * np.exp(noise))


def _pay(e: Economy, who: Array, net: Array) -> Array:
    """Pay for work: the stakers' part, what the operator's own bond lacks, then the operator, who sells it. Gives the stakers' part."""
    books = e.books
    shared = np.zeros_like(net)
    sharing = np.flatnonzero(books.behind[who] > 0)
    shared[sharing] = net[sharing] * e.shares[who[sharing]] // 10_000
    lacking = np.flatnonzero(books.own[who] < e.settings.rules.min_bond)
    operators = who[lacking]
    retained = np.minimum((net - shared)[lacking], e.settings.rules.min_bond - books.own[operators])
    books.own[operators] += retained
    books.market += int(net.sum()) - int(retained.sum())
    e.given[who[sharing]] += shared[sharing]
    return shared


def _check(e: Economy, who: Array, units: Array) -> float:
    """Some of a day's results are checked. Gives how many, as expected; evidence grows by them, and decays."""
    rules = e.settings.rules
    e.units *= rules.kept()
    e.checks *= rules.kept()
    behind, checks = e.units[who], e.checks[who]
    chance = rules.chances(behind + units / 2, checks)
    new = chance * units
    young = np.flatnonzero((behind < 2 * units) | (checks < rules.needed))
    new[young] = cheating.checks_within(rules, behind[young], checks[young], units[young])
    e.units[who] = behind + units
    e.checks[who] = checks + new
    chance[young] = rules.chances(behind[young] + units[young], checks[young] + new[young])
    e.chance[who] = chance
    return float(new.sum())


def _epoch_ends(e: Economy) -> tuple[int, int]:
    """Work is rewarded out of the epoch's budget, and fees are spent. Gives the grains minted, and the stakers' part of them."""
    rules, books = e.settings.rules, e.books
    rewards = rules.rewards(e.epoch, e.fees)
    minted = int(rewards.sum())
    books.minted += minted
    shared = _pay(e, np.arange(len(rewards)), rewards)
    e.earned += (rewards - shared) * (e.token / SURGE_GRAINS / 14)
    cheating.reward_washing(e, rewards)
    e.yields = np.where(e.shares > 0, e.given / (books.behind + SURGE_GRAINS), 0.0) + np.where(books.behind == 0, e.shares / 1e6, 0.0)
    books.market += books.sink
    books.sink = 0
    e.fees[:] = 0
    e.given[:] = 0
    return minted, int(shared.sum())


def _look(e: Economy, grain: float) -> None:
    """A seventh of the providers looks at its price, and at whether it is worth it; stakers look around."""
    rules, books, people = e.settings.rules, e.books, e.people
    mine = slice(e.day % LOOK, None, LOOK)
    net = 1 - rules.fee
    e.chance[mine] = rules.chances(e.units[mine], e.checks[mine])
    cost, active, chance, filled = people.cost[mine], e.active[mine], e.chance[mine], e.filled[mine]
    draw = e.random.random(len(cost))
    least = cost * MARGIN / net / grain
    best = e.price / (1 + chance) / grain
    moved = np.sqrt(e.ask[mine] * best) * np.where(filled > 0.95, 1.01, 0.9 + 0.1 * filled)
    e.ask[mine] = np.where(active, np.maximum(moved, least), e.ask[mine])
    leaves = active & (draw < np.where(e.earned[mine] < e.wants[mine], 0.10, 0.005))
    hoped = (e.price * net - cost) * people.capacity[mine] * 0.5
    joins = ~active & (hoped > 1.5 * e.wants[mine]) & (draw < 0.03) & (e.back[mine] <= e.day)
    own = books.own[mine]
    books.leave(int(own[leaves].sum()), e.day + rules.unbonding_days)
    own[leaves] = 0
    e.earned[mine][joins] = e.wants[mine][joins] * 2
    e.ask[mine][joins] = np.maximum(least, best)[joins]
    active ^= leaves | joins
    e.stakers.move(e.day, books, e.active, e.yields, rules.unbonding_days, e.random)
