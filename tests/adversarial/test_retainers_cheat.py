"""Retainers whose one side cheats: held cores given to others, seconds nobody counted, bills that come again, buyers that do not pay."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from provider_support import Client, until
from retainer_support import PRICE, Holder
from surge.buyer.retaining import Retaining
from surge.core import retainers as rules
from surge.core.messages import Answer, Bill, Hold, Refusal, encode_body
from surge.core.messages.fields import wei, wei_bytes
from surge.errors import PeerFault, Unavailable
from surge.provider.compute import Compute
from surge.provider.service import Claim, Refused
from surge.provider.turns import Turns


async def caught(held: Retaining) -> str:
    """Let a retainer end; why it did."""
    await asyncio.wait_for(held.run(), 20)
    return held.ended


async def test_a_device_that_bills_more_seconds_than_were_counted_is_not_paid(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = holder.retainers.bill

    def dear(asked: Bill, context: Any) -> Claim:
        claim = honest(asked, context)
        return Claim(claim.kind, claim.subject, claim.result, claim.quantity + 1, claim.amount + 1000)

    monkeypatch.setattr(holder.retainers, "bill", dear)
    async with holder.bench.running() as provider, holder.peer() as peer:
        held = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
        await held.begin()
        await holder.pass_by(held, 60)
        held.stop()
        assert "bills 61 seconds where 60 were counted" in await caught(held)
        assert isinstance(peer.gone, PeerFault)
        (row,) = provider._journal.channels()
        assert row.amount == 0


@pytest.mark.parametrize("change", ["price", "cores", "old period"])
async def test_a_bill_at_another_price_or_for_another_period_is_not_paid(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    honest, first = holder.retainers.bill, []

    def other(asked: Bill, context: Any) -> Claim:
        claim = honest(asked, context)
        first.append(claim)
        if change == "price":
            return Claim(claim.kind, claim.subject, claim.result, claim.quantity, claim.amount + 1)
        if change == "cores":
            return Claim(claim.kind, claim.subject, rules.result(claim.subject, 2, PRICE), claim.quantity, claim.amount)
        return first[0]

    monkeypatch.setattr(holder.retainers, "bill", other)
    async with holder.bench.running() as provider, holder.peer() as peer:
        held = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
        await held.begin()
        await holder.pass_by(held, 60)
        if change == "old period":
            await held._bill()
            await holder.pass_by(held, 60)
        held.stop()
        said = await caught(held)
        assert "asks for" in said or "states something else" in said
        await provider._journal.batches.settled()
        (row,) = provider._journal.channels()
        assert row.amount == (60_000 if change == "old period" else 0)


async def test_a_buyer_that_pings_and_never_pays_holds_no_more_than_two_periods(holder: Holder) -> None:
    async with holder.bench.running(), holder.peer() as peer:
        held = Retaining(peer, 2, PRICE, 36000.0, holder.clock)
        await held.begin()
        began = holder.clock.now
        with pytest.raises(Exception, match="were not paid"):
            await holder.pass_by(held, 3600)
        assert holder.clock.now - began <= rules.MOST_UNPAID + rules.PING_SECONDS
        assert not holder.turns.is_shut("somebody else")


async def test_a_buyer_that_states_nothing_or_refuses_the_receipt_holds_nothing_more(holder: Holder) -> None:
    async with holder.bench.running():
        client = Client(holder.bench)
        await client.open()
        hold = encode_body(Hold(1, wei_bytes(PRICE)))
        assert isinstance(await client.ask(hold, "hold", "retainer"), Answer)
        for _ in range(12):
            holder.clock.now += 5
            assert isinstance(await client.ask(hold, "hold", "retainer"), Answer)
        answer = await client.ask(encode_body(Bill(0, 60)), "bill", "retainer")
        assert isinstance(answer, Answer)
        assert answer.receipt is not None
        assert wei(answer.receipt.amount) == 60_000
        again = await client.ask(encode_body(Bill(0, 5)), "bill", "retainer")
        assert isinstance(again, Answer)
        assert again.receipt == answer.receipt, "asked again, a period is billed the same"
        await client.acknowledge(answer.receipt, accepted=False)
        await until(lambda: not holder.retainers.holdings)
        refusal = await client.ask(hold, "hold", "retainer")
        assert isinstance(refusal, Refusal)
        assert "refused" in refusal.text


async def test_nobody_holds_for_less_than_is_asked_or_more_than_there_is_or_changes_it_under_way(holder: Holder) -> None:
    async with holder.bench.running():
        client = Client(holder.bench)
        await client.open()

        async def said(body: bytes, method: str = "hold") -> str:
            answer = await client.ask(body, method, "retainer")
            assert isinstance(answer, Refusal), answer
            return f"{answer.code}: {answer.text}"

        assert "price: a core held over an hour costs" in await said(encode_body(Hold(1, wei_bytes(PRICE - 1))))
        assert "busy: 2 cores of 2" in await said(encode_body(Hold(3, wei_bytes(PRICE))))
        assert "nothing is held" in await said(encode_body(Bill(0, 60)), "bill")
        assert "no method" in await said(b"", "keep")
        assert isinstance(await client.ask(encode_body(Hold(1, wei_bytes(PRICE))), "hold", "retainer"), Answer)
        assert "release them first" in await said(encode_body(Hold(2, wei_bytes(PRICE))))
        assert isinstance(await client.ask(b"", "release", "retainer"), Answer)
        assert isinstance(await client.ask(encode_body(Hold(2, wei_bytes(PRICE))), "hold", "retainer"), Answer)


async def test_a_device_that_gave_its_held_cores_to_others_is_found_out_by_the_first_unit_and_paid_no_more(holder: Holder) -> None:
    async with holder.bench.running() as provider, holder.peer() as peer:
        held = Retaining(peer, 1, PRICE, 3600.0, holder.clock)
        await held.begin()
        await holder.pass_by(held, 60)
        peer.busy_at = time.monotonic()  # as `Peer` notes where a unit is refused as busy
        assert "refused a unit as busy while its cores were held" in await caught(held)
        (row,) = provider._journal.channels()
        assert row.amount == 0


async def test_a_unit_that_is_refused_as_busy_is_noted(holder: Holder) -> None:
    from surge.buyer.calls import Question

    async with holder.bench.running(), holder.peer() as peer:
        for code, bills, noted in (("window", True, False), ("busy", False, False), ("busy", True, True)):
            question = Question("run", b"", bills=bills)
            peer._calls[99] = question
            peer._in_flight += bills
            peer._refused(Refusal(99, code, "no", b""))
            assert (peer.busy_at > 0) is noted
            with pytest.raises(Exception, match="no"):
                await question.future


async def test_held_cores_are_refused_to_others_and_kept_for_their_buyer(tmp_path: Path) -> None:
    compute = Compute.__new__(Compute)
    compute.turns = Turns(1)
    compute.turns.hold("channel", "holder", 1)
    with pytest.raises(Refused, match="held for another buyer") as caught:
        compute.check_free("other")  # type: ignore[arg-type]
    assert caught.value.code == "busy"
    compute.check_free("holder")  # type: ignore[arg-type]


async def test_a_receipt_for_a_retainer_nobody_asked_for_is_not_paid(holder: Holder) -> None:
    from surge.buyer.payer import Answer as Paid
    from surge.core.receipts import Receipt, ReceiptKind

    async with holder.bench.running(), holder.peer() as peer:
        party = peer.payer.party
        about = rules.subject(party.channel, 0)
        receipt = Receipt(
            ReceiptKind.RETAINER, party.device, party.buyer, party.channel, 7, about, hashlib.sha256(about).digest(), 60, 60_000, 1
        )
        with pytest.raises(PeerFault, match="not asked"):
            peer.pay(Paid(receipt, b"s" * 65, b"d" * 32, True, None, bytes(32), ()))


async def test_one_device_that_does_not_hold_has_none_held(holder: Holder) -> None:
    async with holder.bench.running(), holder.peer(60) as peer, holder.peer(70) as other:
        first, second = Retaining(peer, 2, PRICE, 3600.0, holder.clock), Retaining(other, 2, PRICE, 3600.0, holder.clock)
        await first.begin()
        with pytest.raises(Unavailable, match="does not hold its cores"):
            await second.begin()
