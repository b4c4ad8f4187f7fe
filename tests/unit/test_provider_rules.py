"""The provider's pure rules: turns, hours, new prices, what is worth redeeming, what to say when no work comes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from provider_support import OPERATOR, State, key
from surge.core.pricing import Prices
from surge.core.types import ZERO, Address
from surge.errors import InvalidInput
from surge.provider import calibration
from surge.provider.availability import Machine, parse_hours, unavailable, within
from surge.provider.config import ProviderConfig, Rates
from surge.provider.earnings import Prospect, worth_giving_up, worth_redeeming
from surge.provider.offering import check
from surge.provider.requote import Requotes, fair_prices
from surge.provider.schema import ChannelRow
from surge.provider.service import Refused
from surge.provider.spool import forget_closed
from surge.provider.status import explain, stands
from surge.provider.turns import Turns
from surge.provider.waste import EARNED, GRANTED, PERIOD, REMEMBERED, Waste

# Turns


async def test_nobody_waits_while_there_are_places() -> None:
    turns = Turns(2)
    for _ in range(4):
        await turns.enter("a")
    assert turns.waiting == 0


async def test_places_go_round_the_buyers_not_to_the_one_with_most_orders() -> None:
    turns = Turns(1)
    order: list[str] = []

    async def one(name: str) -> None:
        await turns.enter(name)
        order.append(name)
        await asyncio.sleep(0)
        turns.leave(name)

    held = [asyncio.create_task(one("first")), asyncio.create_task(one("first"))]
    tasks = [asyncio.create_task(one(name)) for name in "aaaaaaabc"]
    await asyncio.gather(*held, *tasks)
    assert order[2:6].count("a") <= 2
    assert {"b", "c"} <= set(order[2:6])
    assert len(order) == 11


async def test_a_place_given_to_an_order_that_was_called_off_goes_on() -> None:
    turns = Turns(1)
    await turns.enter("a")
    await turns.enter("a")
    late, later = asyncio.create_task(turns.enter("b")), asyncio.create_task(turns.enter("c"))
    await asyncio.sleep(0)
    assert turns.waiting == 2
    turns.leave("a")
    late.cancel()  # in the moment it was given the place
    await asyncio.gather(late, return_exceptions=True)
    await asyncio.wait_for(later, 1)
    turns.leave("a")
    turns.leave("c")
    await turns.enter("d")
    await turns.enter("d")
    assert turns.waiting == 0


def test_short_orders_line_up_deeper() -> None:
    turns = Turns(3)
    turns.took(5.0)
    assert turns.places == 6
    for _ in range(100):
        turns.took(0.001)
    assert turns.places == 15


# Availability


@pytest.mark.parametrize("text", ["22-6", "24:00-06:00", "22:00-06:60", "always", "22:00 - 06:00", "22:00-06:00 "])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_hours(text)


def test_hours_may_pass_midnight() -> None:
    night, day = parse_hours("22:00-06:00"), parse_hours("08:30-17:00")
    assert night is not None
    assert day is not None
    assert [within(minute * 60, night) for minute in (21, 22, 0, 5, 6)] == [False, True, True, True, False]
    assert [within(minute, day) for minute in (509, 510, 1019, 1020)] == [False, True, True, False]
    assert within(5, (7, 7))
    assert parse_hours("") is None


def test_what_is_not_asked_for_does_not_matter() -> None:
    assert unavailable(Machine(minute=0, on_battery=True, others=1.0), ProviderConfig()) == ""
    assert "juror duty" in unavailable(Machine(minute=0, on_battery=False, others=0.0), ProviderConfig(lends=False))


# New prices

PRICES = Prices(gigafuel=10**15, memory=10**12, transfer=1, compile=1, speed=10**9)


def test_a_slow_job_is_quoted_in_proportion_once() -> None:
    requotes = Requotes(150)
    quote = requotes.consider("job", seconds=4.0, fuel=10**9, prices=PRICES, speed=10**9)
    assert quote == Prices(gigafuel=4 * 10**15, memory=10**12, transfer=1, compile=1, speed=10**9 // 4)
    assert requotes.consider("job", seconds=40.0, fuel=10**9, prices=PRICES, speed=10**9) is None


def test_a_first_unit_as_fast_as_stated_does_not_hide_the_slow_ones_behind_it() -> None:
    requotes = Requotes(150)
    assert requotes.consider("job", seconds=1.0, fuel=10**9, prices=PRICES, speed=10**9) is None
    assert requotes.consider("job", seconds=4.0, fuel=10**9, prices=PRICES, speed=10**9) is not None
    assert requotes.consider("job", seconds=40.0, fuel=10**9, prices=PRICES, speed=10**9) is None, "once"


@pytest.mark.parametrize(("seconds", "fuel", "percent"), [(1.49, 10**9, 150), (0.2, 10**6, 150), (100.0, 1, 0)])
def test_a_job_that_is_as_fast_as_stated_or_too_short_to_tell_is_not(seconds: float, fuel: int, percent: int) -> None:
    assert Requotes(percent).consider("job", seconds, fuel, PRICES, 10**9) is None


def test_prices_stay_within_bounds_for_extreme_jobs() -> None:
    quote = fair_prices(PRICES, seconds=86400.0, fuel=0, speed=10**9)
    assert quote.speed >= 1
    assert quote.gigafuel > PRICES.gigafuel


# Work in vain


def test_a_buyer_is_granted_some_seconds_in_vain_and_billed_work_makes_up_for_more() -> None:
    now = [0.0]
    waste = Waste(lambda: now[0])
    one, other = key(1).address, key(2).address
    waste.add(one, GRANTED)
    waste.check(one)
    waste.add(one, 1.0)
    with pytest.raises(Refused, match="in vain"):
        waste.check(one)
    waste.check(other)
    waste.billed(one, 2.0 * EARNED)
    waste.check(one)
    waste.add(one, 10.0)
    with pytest.raises(Refused, match="in vain"):
        waste.check(one)
    now[0] += PERIOD
    waste.check(one)


def test_billed_work_is_not_saved_up() -> None:
    waste = Waste(lambda: 0.0)
    buyer = key(1).address
    waste.billed(buyer, 10**6)
    waste.add(buyer, GRANTED + 1)
    with pytest.raises(Refused):
        waste.check(buyer)


def test_only_so_many_buyers_are_remembered() -> None:
    waste = Waste(lambda: 0.0)
    for number in range(REMEMBERED + 10):
        waste.add(Address(f"0x{number:040x}"), 1.0)
    assert len(waste._spent) == REMEMBERED


# Outputs on disk


def test_outputs_of_closed_channels_go_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("1-0", "1-7", "12-3", "other", "x-1"):
        (tmp_path / name).write_bytes(b"")
    forget_closed(tmp_path, {12})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12-3", "other", "x-1"]


# Earnings


def prospect(*, amount: int = 100, overdue: bool = False, stopped: str = "", signature: bytes = b"s", **state: Any) -> Prospect:
    device = key(1).address
    row = ChannelRow(1, ZERO, device, device, 1000, 10, 3600, b"", 0, 0, amount, 1, ZERO, signature, 0, 1, 1, 0, stopped, closed=False)
    return Prospect(row, State(device, OPERATOR, device, device, **{"deposit": 1000, "floor": 10, **state}), overdue)


@pytest.mark.parametrize(
    ("found", "worth"),
    [
        (prospect(), False),  # 100 is less than 20 times 9
        (prospect(amount=180), True),
        (prospect(amount=950), True),
        (prospect(closing_at=1), True),
        (prospect(stopped="a fault"), True),
        (prospect(overdue=True), True),
        (prospect(deposit=105), True),  # as good as emptied
        (prospect(closing_at=1, redeemed=95), False),  # 5 is less than its gas
        (prospect(closing_at=1, closed=True), False),
        (prospect(closing_at=1, signature=b""), False),
    ],
)
def test_a_voucher_is_redeemed_when_it_is_worth_its_gas_or_time_runs_out(found: Prospect, worth: bool) -> None:
    assert worth_redeeming(found, cost=9, factor=20, last_chance=False) is worth


def test_at_the_end_everything_that_pays_its_gas_is_redeemed() -> None:
    assert worth_redeeming(prospect(amount=10), cost=9, factor=20, last_chance=True)
    assert not worth_redeeming(prospect(amount=9), cost=9, factor=20, last_chance=True)


@pytest.mark.parametrize(
    ("found", "worth"),
    [
        (prospect(overdue=True, floor=200), True),
        (prospect(overdue=False, floor=200), False),
        (prospect(overdue=True, floor=105), False),
        (prospect(overdue=True, floor=200, closed=True), False),
    ],
)
def test_a_channel_is_given_up_for_its_floor_only_when_its_buyer_vanished(found: Prospect, worth: bool) -> None:
    assert worth_giving_up(found, cost=9) is worth


# What is said

FINE: dict[str, Any] = {
    "paused": "",
    "storage": "",
    "under_way": 0,
    "last_call": 0,
    "since": 0,
    "calls": 0,
    "relays": ["nats://a"],
    "relay_troubles": {},
    "sessions": 0,
    "earnings_wait_for": "",
    "offer": {"sequence": 1, "relays": 2, "expires": 9},
    "offer_trouble": "",
    "market": None,
    "refused": {},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "its offer is on 2 relays; no buyer has called in 16 minutes"),
        ({"paused": "it is on battery"}, "it does not lend: it is on battery"),
        ({"storage": "the disk is full"}, "it takes no work: the disk is full"),
        ({"relays": []}, "no relay is connected, so nobody can reach it"),
        (
            {"relay_troubles": {"nats://b": "it does not answer"}},
            "its offer is on 2 relays; no buyer has called in 16 minutes; the relay nats://b cannot be used: it does not answer",
        ),
        (
            {"sessions": 2, "refused": {"busy": {"count": 2, "last": "the ledger is away"}}},
            "its offer is on 2 relays; no buyer has called in 16 minutes; 2 sessions ended before the first call; "
            "2 times it refused as 'busy': the ledger is away",
        ),
        ({"offer": None, "offer_trouble": "every relay refused"}, "no offer is published: every relay refused"),
        ({"under_way": 1}, ""),
        ({"last_call": 990}, ""),
        (
            {"last_call": 100, "calls": 3, "refused": {"window": {"count": 2, "last": "it is full"}}},
            "its offer is on 2 relays; the last call came 15 minutes ago, of 3 in all; 2 times it refused as 'window': it is full",
        ),
        (
            {"last_call": 100, "calls": 3, "refused": {"local": {"count": 2, "last": "it took too long\n  0: 0x1a - work.wasm"}}},
            "its offer is on 2 relays; the last call came 15 minutes ago, of 3 in all; 2 units ended here without pay, the last so: "
            "it took too long",
        ),
    ],
)
def test_a_device_without_work_says_why(change: dict[str, Any], said: str) -> None:
    assert explain({**FINE, **change}, 1000) == said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "it never ran"),
        ({"at": 990, "waiting": ""}, "it works"),
        ({"at": 990, "waiting": "it does not lend: it is on battery"}, "it does not lend: it is on battery"),
        ({"at": 990, "waiting": "", "earnings_wait_for": "gas"}, "it works; its earnings wait for gas"),
        ({"at": 280, "waiting": "it is on battery"}, "it does not run: it was last seen 12 minutes ago"),
        ({"at": 280, "earnings_kept": "1 voucher is kept"}, "it does not run: it was last seen 12 minutes ago; 1 voucher is kept"),
        ({"at": 990, "waiting": "it stops", "earnings_kept": "1 voucher is kept"}, "it stops; 1 voucher is kept"),
    ],
)
def test_a_device_says_how_it_stands(status: dict[str, Any] | None, said: str) -> None:
    assert stands(None if status is None else {**FINE, **status}, 1000) == said


# Configuration, and measuring


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hours": "25:00-26:00"}, "22:00-06:00"),
        ({"milliwatts": -1}, "milliwatts"),
        ({"memory": 1}, "memory"),
        ({"region": "x" * 300}, "256 characters"),
        ({"rates": Rates(gigafuel=10**40)}, "gigafuel"),
    ],
)
def test_what_no_device_could_offer_is_said_before_anything_is_spent(change: dict[str, Any], said: str) -> None:
    check(ProviderConfig())
    with pytest.raises(InvalidInput, match=said):
        check(replace(ProviderConfig(), **change))


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"window": 2, "window_max": 1}, {"window_max": 5000}, {"cores": 0}, {"requote_percent": 100}]
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ProviderConfig(**wrong)


def test_the_default_prices_say_what_an_hour_costs() -> None:
    prices = Rates().prices(10**9)
    assert 3600 * prices.gigafuel == 36 * 10**17


@pytest.mark.parametrize("turns", [1, 63, 64, 8191, 8192, 1_000_000, calibration.MAX_TURNS])
def test_the_measuring_module_is_a_module_and_counts_its_turns(turns: int) -> None:
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    module = wasmtime.Module(engine, calibration.module(turns))
    if turns > 8192:
        return
    store = wasmtime.Store(engine)
    store.set_fuel(10**9)
    instance = wasmtime.Instance(store, module, [])
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    start(store)
    used = 10**9 - store.get_fuel()
    assert 15 * turns <= used <= 18 * turns + 10
