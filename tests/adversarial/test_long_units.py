"""Buyers that have long units done and do not pay: a device goes as far as the floor pays, whatever the units would have cost."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from compute_support import JOB, SALT, Buyer, device
from provider_support import until
from sandbox_support import command
from surge.core import canonical
from surge.core.messages import Answer, Prepare, Received, Refusal, RunUnit, encode_body
from surge.core.messages.compute import LimitsField
from surge.core.messages.fields import wei
from surge.core.pricing import unit_amount
from surge.core.types import GIGA
from surge.core.units import Limits
from surge.provider import daemon

FLOOR = 10**15
"""Wei: a gigafuel, at the default price."""

ENDLESS = command("(loop $l (br $l))")


def counting(rounds: int) -> bytes:
    """A command that takes a few fuel for each of so many rounds."""
    return command(
        f"(local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {rounds}))))"
    )


def unit(module: bytes, number: int, *, fuel: int = 1000 * GIGA, expected: int = 0) -> bytes:
    """The body of a unit."""
    image, entry = hashlib.sha256(module).digest(), canonical.encode([["prog"], [], number])
    asked = Limits(memory=1 << 20, output=0, fuel=fuel, wall_ms=60_000)
    return encode_body(RunUnit(JOB, image, b"", b"", entry, b"", b"", LimitsField.of(asked), SALT, expected))


async def stranger(first: Buyer, *modules: bytes) -> Buyer:
    """A buyer with a channel of its own, whose floor is `FLOOR`, and its modules prepared and paid for."""
    buyer = Buyer(first.bench, 52)
    buyer.sandbox = first.sandbox
    buyer.bench.ledger.channels[buyer.channel].floor = FLOOR
    await buyer.open()
    for module in modules:
        image = hashlib.sha256(module).digest()
        await buyer.prepare(image, {image: module})
    return buyer


async def said(buyer: Buyer, body: bytes) -> dict[str, int]:
    """Ask for a unit that is not covered; the figures that the refusal names."""
    refusal = await buyer.ask(body, "run", "compute")
    assert isinstance(refusal, Refusal), refusal
    assert refusal.code == "cover", refusal
    return canonical.decode(refusal.details)


async def test_a_long_unit_of_a_stranger_is_stopped_where_its_floor_ends_and_the_floor_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit is a thousand gigafuel, a SURGE: it gets the gigafuel that the floor pays, no answer, and nothing after that."""
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    async with device(tmp_path, opening=FLOOR, offline_seconds=4) as first:
        buyer = await stranger(first, ENDLESS)
        figures = await said(buyer, unit(ENDLESS, 1))
        prices = buyer.terms_agreed.prices
        spent = unit_amount(prices, figures["fuel"], 1 << 20, 0)
        assert FLOOR * 98 // 100 < spent <= FLOOR + buyer.side.amount
        assert figures["floor"] == FLOOR
        for number in range(2, 6):
            figures = await said(buyer, unit(ENDLESS, number))
            assert figures["fuel"] == 0, "nothing more is begun"
            assert figures["covered"] < FLOOR // 50
        await buyer.link.close("vanished")
        await until(lambda: buyer.channel in buyer.bench.ledger.given_up, 30)
        vouched = buyer.bench.ledger.channels[buyer.channel].redeemed
        assert vouched < FLOOR // 100, "it was vouched for what preparing took alone: the floor is what the channel pays"


async def test_units_of_a_buyer_that_leaves_each_unanswered_come_to_no_more_than_its_floor(tmp_path: Path) -> None:
    """Nor compilations."""
    small = counting(8_000_000)
    async with device(tmp_path, opening=FLOOR, window=64, window_max=64) as first:
        buyer, got = await stranger(first), 0
        image = hashlib.sha256(small).digest()
        body = encode_body(Prepare(JOB, image, len(small), b"", 0, []))
        await buyer.ask(body, "prepare", "compute")
        received = await buyer.upload(small)
        assert isinstance(received, Received)
        assert received.receipt is not None
        answer = await buyer.ask(body, "prepare", "compute")
        assert isinstance(answer, Answer)
        assert answer.receipt is not None
        got += wei(received.receipt.amount) + wei(answer.receipt.amount)
        for number in range(64):
            done = await buyer.ask(unit(small, number, expected=60_000_000), "run", "compute")
            if isinstance(done, Refusal):
                assert done.code == "cover", done
                break
            assert isinstance(done, Answer)
            assert done.receipt is not None
            got += wei(done.receipt.amount)
        else:
            raise AssertionError("all of them were done")
        assert FLOOR * 9 // 10 < got <= FLOOR


async def test_a_floor_that_was_raised_covers_more_and_what_was_stopped_is_remembered_over_a_restart(tmp_path: Path) -> None:
    long = counting(50_000_000)
    async with device(tmp_path, opening=FLOOR) as first:
        buyer = await stranger(first, ENDLESS, long)
        await said(buyer, unit(ENDLESS, 1))
    async with device(tmp_path, tmp_path / "cache", opening=FLOOR) as again:
        back = Buyer(again.bench, 52)
        back.side, back.terms_agreed = buyer.side, buyer.terms_agreed
        state = again.bench.ledger.channels[back.channel]
        state.floor = FLOOR
        await back.open()
        assert (await said(back, unit(long, 2)))["fuel"] == 0
        state.floor = 2 * FLOOR
        async with asyncio.timeout(10):
            while isinstance(answer := await back.ask(unit(long, 3), "run", "compute"), Refusal):
                assert answer.code == "cover", answer
        assert isinstance(answer, Answer), "the ledger is asked for the floor again, once in a second"


async def test_who_pays_is_trusted_with_as_much_again_and_after_a_default_with_nothing_until_it_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "LOOK_SECONDS", 0.05)
    long = counting(80_000_000)
    async with device(tmp_path, opening=FLOOR, audit_seconds=1) as first:
        buyer = await stranger(first, long)
        for number in range(3):
            answer = await buyer.ask(unit(long, number), "run", "compute")
            assert isinstance(answer, Answer), answer
            await buyer.acknowledge(answer.receipt)
        assert buyer.side.amount > FLOOR
        late = await buyer.ask(unit(long, 4), "run", "compute")
        assert isinstance(late, Answer), "its floor is earned: this is trust"
        (account,) = (desk.account for desk in first.provider.reception.desks if desk.account.row.id == buyer.channel)
        await until(lambda: account.buyer.standing.defaults)
        assert (await said(buyer, unit(long, 6)))["fuel"] == 0
        await buyer.acknowledge(late.receipt)
        assert isinstance(await buyer.ask(unit(long, 7), "run", "compute"), Answer)
