"""Relays that are paid by the byte: counts agree, devices pay in time, and who does not pay is carried no further."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carriage_support import FREE, PRICE, Village, move, quicken
from relay_support import BUYER, DEVICE, OPERATOR, OTHER_RELAY, STRANGER, endpoint, until
from surge.core.carriage import is_due
from surge.core.pricing import Prices, transfer_amount
from surge.errors import Unavailable


@pytest.fixture
async def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Village]:
    quicken(monkeypatch)
    async with Village(tmp_path) as village:
        yield village


async def test_what_both_count_is_the_same_and_callers_are_asked_for_nothing(village: Village) -> None:
    relay = await village.relay(price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    async with await buyer.dial(DEVICE.address, identity=BUYER) as session:
        await move(session, 1 << 20)
    assert device.carried(relay.url) > 2 << 20
    counted = 0

    def all_of_it() -> bool:
        nonlocal counted
        carried = relay.take_carried()
        assert carried.keys() <= {DEVICE.address}
        counted += carried.get(DEVICE.address, 0)
        return counted == device.carried(relay.url)

    await until(all_of_it)


async def test_what_crossed_a_connection_that_ended_is_counted_to_the_end(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surge.relay.server.relay.POLL_SECONDS", 3600.0)
    relay = await village.relay(price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    session = await buyer.dial(DEVICE.address, identity=BUYER)
    await move(session, 1 << 20)
    await device.close()
    counted = await until(lambda: relay.take_carried().get(DEVICE.address))
    # a small message that was on its way to the device as it left is counted by the relay alone
    assert 0 <= counted - device.carried(relay.url) < 256


async def test_a_device_pays_for_what_it_is_carried_and_is_carried_on(village: Village) -> None:
    relay = await village.relay()
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    async with village.fares(device, DEVICE) as fares, await buyer.dial(DEVICE.address, identity=BUYER) as session:
        for _ in range(24):
            await move(session, FREE // 8)
            await until(lambda: not is_due(fares.unpaid(endpoint(relay)), village.carriage().owing(DEVICE.address).window))
        owing = village.carriage().owing(DEVICE.address)
        assert owing.paid > 4 * FREE
        assert owing.window == owing.paid
        assert session.is_open
        assert not fares.troubles
    (state,) = village.ledger.channels.values()
    assert (state.buyer, state.provider, state.device) == (OPERATOR.address, OPERATOR.address, relay.identity)
    (row,) = village.paid[0]._journal.channels()
    paid = village.carriage().owing(DEVICE.address).paid
    assert transfer_amount(Prices(0, 0, PRICE, 0, 1), paid) <= row.amount <= transfer_amount(Prices(0, 0, PRICE, 0, 1), paid) + row.count
    await village.paid[0].earnings.settle(last_chance=True)
    assert village.ledger.channels[row.id].redeemed == row.amount


async def test_a_device_that_does_not_pay_is_stopped_after_its_window_and_told_why_and_goes_on_once_it_has_paid(village: Village) -> None:
    relay = await village.relay()
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    session = await buyer.dial(DEVICE.address, identity=BUYER)
    with pytest.raises(Unavailable):
        await move(session, 64 * FREE)
    await until(lambda: DEVICE.address in village.carriage().stopped)
    why = await until(lambda: device.stopped(relay.url))
    assert "MB for this device that are not paid" in why
    assert f"{PRICE} wei" in why
    assert device.connected == []
    assert why in device.troubles[relay.url]
    with pytest.raises(Unavailable, match="is not connected to the relay"):
        await buyer.dial(DEVICE.address, identity=BUYER)
    # The others are carried.
    other = await village.device(STRANGER)
    async with await buyer.dial(STRANGER.address, identity=BUYER) as session:
        await move(session, FREE // 8)
    assert other.connected
    async with village.fares(device, DEVICE) as fares:
        await until(lambda: device.connected)
        async with await buyer.dial(DEVICE.address, identity=BUYER) as session:
            await move(session, FREE // 4)
        await until(lambda: not fares.troubles)


async def test_a_device_without_funds_joins_and_is_told_what_it_lacks(village: Village) -> None:
    relay = await village.relay()
    village.ledger.tokens = 0
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    async with village.fares(device, DEVICE) as fares, await buyer.dial(DEVICE.address, identity=BUYER) as session:
        await move(session, FREE // 4)
        await until(lambda: "holds 0 SURGE" in fares.troubles.get(relay.url, ""))
        assert session.is_open
        village.ledger.tokens = 10**20
        await until(lambda: village.carriage().owing(DEVICE.address).paid)
        await until(lambda: not fares.troubles)


async def test_a_relay_that_asks_too_much_is_not_paid_and_that_is_said(village: Village) -> None:
    relay = await village.relay()
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    async with village.fares(device, DEVICE, most=PRICE - 1) as fares, await buyer.dial(DEVICE.address, identity=BUYER) as session:
        await move(session, FREE // 4)
        await until(lambda: "asks 0.001 SURGE for a gigabyte" in fares.troubles.get(relay.url, ""))
    assert not village.ledger.channels


async def test_a_relay_without_a_price_is_paid_nothing(village: Village) -> None:
    relay = await village.relay(price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    async with village.fares(device, DEVICE) as fares, await buyer.dial(DEVICE.address, identity=BUYER) as session:
        await move(session, 4 * FREE)
        await until(lambda: fares.unpaid(endpoint(relay)) < FREE // 4)
        assert session.is_open
        assert not fares.troubles
    assert not village.ledger.channels


async def test_what_is_owed_outlives_the_relays_restart_and_what_is_unpaid_the_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicken(monkeypatch)
    async with Village(tmp_path) as first:
        relay = await first.relay()
        device, buyer = await first.device(DEVICE), await first.join(BUYER)
        first.ledger.tokens = 0
        async with first.fares(device, DEVICE) as fares:
            session = await buyer.dial(DEVICE.address, identity=BUYER)
            with pytest.raises(Unavailable):
                await move(session, 64 * FREE)
            await until(lambda: device.stopped(relay.url))
        unpaid = fares.unpaid(endpoint(relay))
        owing = first.carriage().owing(DEVICE.address)
        assert owing.over
    async with Village(tmp_path) as again:
        await again.relay()
        assert again.carriage().owing(DEVICE.address).unpaid >= owing.unpaid
        device = await again.device(DEVICE)
        assert device.connected == [], "it is stopped from the first moment"
        async with again.fares(device, DEVICE) as fares:
            assert fares.unpaid(endpoint(relay)) >= unpaid
            await until(lambda: device.connected)


async def test_the_other_relay_carries_for_a_device_that_one_has_stopped(village: Village) -> None:
    relay, free = await village.relay(), await village.relay(OTHER_RELAY, price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    session = await buyer.dial(DEVICE.address, identity=BUYER, relays=[relay.url])
    with pytest.raises(Unavailable):
        await move(session, 64 * FREE)
    await until(lambda: device.stopped(relay.url))
    async with await buyer.dial(DEVICE.address, identity=BUYER) as session:
        assert session.relay == free.url
        await move(session, FREE)
