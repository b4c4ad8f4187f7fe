"""Relays that count or bill what nobody was carried, devices that state too little or never pay, and receipts that come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carriage_support import FREE, PRICE, Village, move, quicken
from relay_support import BUYER, DEVICE, OTHER_RELAY, RELAY, STRANGER, Key, endpoint, until
from surge.buyer.fares import Fares
from surge.core import carriage as rules
from surge.core.messages import Settle, encode_body
from surge.core.pricing import Prices, transfer_amount
from surge.core.types import Address
from surge.errors import PeerFault, Unavailable
from surge.provider.carriage import Carriage
from surge.provider.service import Context, Refused, Reply
from surge.relay.client.wire import Wire
from surge.relay.login import node_subject
from surge.relay.server import RelayServer


@pytest.fixture
async def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Village]:
    quicken(monkeypatch)
    async with Village(tmp_path) as village:
        yield village


def cost(size: int) -> int:
    """Wei for so many bytes."""
    return transfer_amount(Prices(0, 0, PRICE, 0, 1), size)


class Overcounting:
    """A relay that counts everything ten times."""

    def __init__(self, server: RelayServer) -> None:
        self._server = server

    def take_carried(self) -> dict[Address, int]:
        return {device: 10 * size for device, size in self._server.take_carried().items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


async def keep_moving(buyer: Any, stop: asyncio.Event, relay: str) -> None:
    """Have bytes echoed through a relay, little by little, for as long as it carries."""
    while not stop.is_set():
        try:
            async with await buyer.dial(DEVICE.address, identity=BUYER, relays=[relay]) as session:
                while not stop.is_set():
                    await move(session, FREE // 16)
                    await asyncio.sleep(0.02)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_relay_that_counts_too_much_is_paid_what_its_device_believes_and_left(village: Village) -> None:
    liar = await village.relay(wrap=Overcounting)
    honest = await village.relay(OTHER_RELAY, price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    stop = asyncio.Event()
    async with village.fares(device, DEVICE) as fares, asyncio.TaskGroup() as group:
        group.create_task(keep_moving(buyer, stop, liar.url))
        await until(lambda: endpoint(liar) not in device.endpoints, 20)
        stop.set()
        assert "cannot be believed" in fares.troubles[liar.url]
        assert "cannot be believed" in device.troubles[liar.url]
        assert village.renewed == 1, "its offer names that relay no more"
    assert device.connected == [honest.url]
    (row,) = village.paid[0]._journal.channels()
    assert row.amount <= cost(rules.most(device.carried(liar.url))) + row.count
    assert row.amount < cost(2 * village.carriage().owing(DEVICE.address).unpaid)
    async with await buyer.dial(DEVICE.address, identity=BUYER) as session:
        assert session.relay == honest.url


async def test_a_relay_that_counts_too_much_and_is_the_only_one_is_not_paid_more_for_that(village: Village) -> None:
    liar = await village.relay(wrap=Overcounting)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    stop = asyncio.Event()
    async with village.fares(device, DEVICE), asyncio.TaskGroup() as group:
        group.create_task(keep_moving(buyer, stop, liar.url))
        await until(lambda: any(row.count >= rules.DOUBTS + 1 for row in village.paid[0]._journal.channels()), 20)
        stop.set()
    (row,) = village.paid[0]._journal.channels()
    assert row.amount <= cost(rules.most(device.carried(liar.url))) + row.count
    assert device.endpoints == [endpoint(liar)]


async def test_a_receipt_that_bills_more_than_was_stated_is_refused_and_its_relay_left(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Carriage.settle

    async def dear(self: Carriage, device: Address, about: bytes, claim: int, context: Context) -> Reply:
        reply = await honest(self, device, about, claim, context)
        assert reply.claim is not None
        billed = 2 * claim
        return replace(reply, claim=replace(reply.claim, quantity=billed, amount=cost(billed)))

    monkeypatch.setattr(Carriage, "settle", dear)
    liar = await village.relay()
    await village.relay(OTHER_RELAY, price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    async with village.fares(device, DEVICE) as fares:
        async with await buyer.dial(DEVICE.address, identity=BUYER, relays=[liar.url]) as session:
            await move(session, FREE // 4)
            await until(lambda: endpoint(liar) not in device.endpoints)
        assert "where this device counted" in fares.troubles[liar.url]
    (row,) = village.paid[0]._journal.channels()
    assert (row.amount, row.count, row.refused) == (0, 1, 1), "it was told that the receipt is refused"
    assert village.carriage().owing(DEVICE.address).paid == 0


async def test_a_receipt_for_a_period_that_was_paid_is_not_paid_again(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, first = Carriage.settle, []

    async def again(self: Carriage, device: Address, about: bytes, claim: int, context: Context) -> Reply:
        reply = await honest(self, device, about, claim, context)
        first.append(reply)
        return first[0]

    monkeypatch.setattr(Carriage, "settle", again)
    liar = await village.relay()
    await village.relay(OTHER_RELAY, price=0)
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    stop = asyncio.Event()
    async with village.fares(device, DEVICE) as fares, asyncio.TaskGroup() as group:
        group.create_task(keep_moving(buyer, stop, liar.url))
        await until(lambda: endpoint(liar) not in device.endpoints, 20)
        stop.set()
        assert "states something else than was done" in fares.troubles[liar.url]
    (row,) = village.paid[0]._journal.channels()
    assert row.count == 1
    assert row.amount == first[0].claim.amount


async def test_a_device_that_states_too_little_wins_no_more_than_a_window(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = await village.relay()
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    truth = device.carried
    monkeypatch.setattr(device, "carried", lambda url: truth(url) * 3 // 4)
    monkeypatch.setattr(rules, "MOST_WINDOW", 2 * FREE)
    stop = asyncio.Event()
    async with village.fares(device, DEVICE), asyncio.TaskGroup() as group:
        group.create_task(keep_moving(buyer, stop, relay.url))
        await until(lambda: device.stopped(relay.url), 20)
        stop.set()
    owing = village.carriage().owing(DEVICE.address)
    assert owing.paid
    assert truth(relay.url) - owing.paid < owing.window + 2 * FREE, "a window, and what passes until it is seen"


async def test_a_device_whose_wallet_never_signs_a_voucher_is_stopped_after_its_window(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("surge.buyer.payer.Payer.run", never)
    monkeypatch.setattr("surge.buyer.fares.ANSWER_SECONDS", 0.2)
    relay = await village.relay()
    device, buyer = await village.device(DEVICE), await village.join(BUYER)
    stop = asyncio.Event()
    async with village.fares(device, DEVICE), asyncio.TaskGroup() as group:
        group.create_task(keep_moving(buyer, stop, relay.url))
        await until(lambda: device.stopped(relay.url), 20)
        stop.set()
    assert village.carriage().owing(DEVICE.address).paid == 0


async def test_frames_that_strangers_throw_at_a_device_are_not_what_it_pays_for(village: Village) -> None:
    relay = await village.relay()
    device, stranger = await village.device(DEVICE), await Wire.connect(relay.url, RELAY.address, STRANGER, None, 5.0)
    for number in range(16):
        await stranger.publish(node_subject(DEVICE.address, STRANGER.address, "s", f"{number:016x}"), bytes(FREE // 4))
        await stranger.publish(node_subject(DEVICE.address, STRANGER.address, "q", f"{number:016x}"), bytes(FREE // 4))
    await stranger.flush(5.0)
    link = device._links[0]
    await until(lambda: link.traffic.received > 8 * FREE)
    assert device.carried(relay.url) < FREE // 16
    await stranger.close()


async def test_a_stopped_device_reaches_nobody_but_the_relay(village: Village) -> None:
    relay = await village.relay()
    await relay.stop_carrying(DEVICE.address, "it owes")
    other = await Wire.connect(relay.url, RELAY.address, STRANGER, None, 5.0)
    stopped = await Wire.connect(relay.url, RELAY.address, DEVICE, None, 5.0)
    got: list[str] = []
    other.deliver_to(lambda subject, data, nobody: got.append(subject))
    mine: list[str] = []
    stopped.deliver_to(lambda subject, data, nobody: mine.append(subject))
    await stopped.publish(node_subject(STRANGER.address, DEVICE.address, "s", "aa"), b"x")
    await other.publish(node_subject(DEVICE.address, STRANGER.address, "s", "bb"), b"x")
    await stopped.publish(node_subject(RELAY.address, DEVICE.address, "s", "cc"), b"x")
    for wire in (stopped, other, stopped, other):
        await wire.flush(5.0)
    await until(lambda: mine)
    assert got == []
    assert [subject.split(".")[2] for subject in mine] == [RELAY.address], "the relay knows no such session, and says so"
    await asyncio.gather(stopped.close(), other.close())


def _context(channel: bytes) -> Context:
    return Context(channel, BUYER.address, None, lambda job: Prices(0, 0, PRICE, 0, 1), None, None, None, None, BUYER.address)  # type: ignore[arg-type]


def _body(device: Key, channel: bytes, claim: int = 5, signer: Key | None = None) -> bytes:
    about = rules.subject(RELAY.address, device.address, channel, 0)
    return encode_body(Settle(device.address, 0, claim, (signer or device).sign(rules.statement_digest(about, claim))))


async def test_nobody_states_for_another_device(village: Village) -> None:
    await village.relay()
    carriage = village.carriage()
    with pytest.raises(PeerFault, match="signed by"):
        carriage.accept("settle", _body(DEVICE, b"c" * 32, signer=STRANGER), _context(b"c" * 32))
    with pytest.raises(PeerFault, match="signed by"):
        carriage.accept("settle", _body(DEVICE, b"c" * 32), _context(b"d" * 32))
    carriage.accept("settle", _body(DEVICE, b"c" * 32), _context(b"c" * 32))
    with pytest.raises(Refused, match="pays for"):
        carriage.accept("settle", _body(STRANGER, b"c" * 32), _context(b"c" * 32))


async def test_a_statement_that_comes_again_is_billed_the_same_and_once(village: Village) -> None:
    await village.relay()
    carriage = village.carriage()
    carriage._set(DEVICE.address, rules.Owing(carried=1000))
    bodies = [(_body(DEVICE, b"c" * 32, 1000)), (_body(DEVICE, b"c" * 32, 7))]
    first, again = [await carriage.accept("settle", body, _context(b"c" * 32)).run() for body in bodies]
    assert first == again
    assert first.claim is not None
    assert first.claim.quantity == 1000
    assert carriage.owing(DEVICE.address).owed == 1000


async def test_many_newcomers_from_one_host_must_pay_first(village: Village) -> None:
    await village.relay()
    carriage = village.carriage()
    for number in range(rules.HOST_WINDOWS):
        carriage._set(Key(5000 + number).address, rules.Owing(carried=FREE))
        carriage._devices[Key(5000 + number).address].host = "127.0.0.1"
    carriage._set(DEVICE.address, rules.Owing(carried=1))
    carriage._devices[DEVICE.address].host = "127.0.0.1"
    carriage._set(STRANGER.address, rules.Owing(carried=1, paid=1))
    carriage._devices[STRANGER.address].host = "127.0.0.1"
    await carriage.look()
    assert "many devices at 127.0.0.1" in carriage.stopped[DEVICE.address]
    assert STRANGER.address not in carriage.stopped


async def test_the_only_relay_is_not_left(village: Village) -> None:
    relay = await village.relay(price=0)
    device = await village.device(DEVICE)
    fares = Fares.__new__(Fares)
    fares._relays, fares._left = device, lambda: None
    fares._leave(endpoint(relay), "it lies")
    assert device.connected == [relay.url]
