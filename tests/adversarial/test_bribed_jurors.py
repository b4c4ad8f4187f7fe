"""Jurors who are bribed, before the real court on a real ledger: how many are bought, how it ends, and what it cost whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from court_ledger_support import FALSE, LIMIT, SALT, SECRET, TRUE, Dispute, dispute
from ledger_support import COIN, Chain, chain_in, found
from surge.core import bribes
from surge.core.court import EMBEDDED, UNAVAILABLE, Answer, Outcome, Phase
from surge.core.keccak import keccak256
from surge.ledger.cases import Case
from surge.wallet import KeySigner

FEE = EMBEDDED.fee(LIMIT)
LIE = Answer(FALSE.result, FALSE.fuel, b"\x44" * 32)
"""What the bribed say: the accused's result, and a witness that they agreed on."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    template = tmp_path / "template"
    async with chain_in(tmp_path / "ledger", template, await found(template)) as running:
        yield running


async def hear(made: Dispute, case: int, secret: bytes, answers: Sequence[Answer]) -> tuple[list[str], Case]:
    """A jury is drawn and says this; who sat, and the case then."""
    court = made.chain.ledger.court
    ordinal = (await court.case(case)).ordinal
    await court.answer(made.operator, case, made.link(ordinal))
    jury = await court.draw(made.buyer, case, secret)
    said: Mapping[KeySigner, Answer] = dict(zip([made.jurors[who] for who in jury], answers, strict=True))
    await asyncio.gather(*(court.commit(who, case, SALT, answer) for who, answer in said.items()))
    await asyncio.gather(*(court.reveal(who, case, SALT, answer) for who, answer in said.items()))
    return list(jury), await court.advance(made.buyer, case)


async def extended(made: Dispute, case: int, secret: bytes, answers: Sequence[Answer]) -> tuple[list[str], Case]:
    """The opener advances a larger jury's fees, and that jury says this."""
    assert (await made.chain.ledger.court.extend(made.buyer, case, secret)).phase == Phase.ANSWER
    return await hear(made, case, secret, answers)


async def bond(made: Dispute, who: str) -> int:
    return (await made.chain.ledger.bonds.pool(who)).bond  # type: ignore[arg-type]


async def owed(made: Dispute, who: str) -> int:
    return await made.chain.ledger.court.owed(who)  # type: ignore[arg-type]


@pytest.mark.parametrize("bought", [1, 3])
async def test_one_and_three_bribed_jurors_of_five_lose_and_the_accused_is_convicted(chain: Chain, bought: int) -> None:
    made = await dispute(chain, 24)
    before, worth = await bond(made, made.operator.address), EMBEDDED.max_worth(LIMIT, 5)
    case = await made.open()
    first, found = await hear(made, case, SECRET, [LIE] * bought + [TRUE] * (5 - bought))
    assert found.phase == Phase.EXTEND
    _, found = await extended(made, case, keccak256(SECRET), [TRUE] * 15)
    assert found.outcome == Outcome.CONVICTED
    assert before - await bond(made, made.operator.address) == worth + (5 - bought) * FEE, "fines pay for the second jury"
    for who in first[:bought]:
        assert (await bond(made, who), await owed(made, who)) == (EMBEDDED.seat_stake - 15 * FEE, 0)
    prize = (bought - 1) * 15 * FEE // 4 // (5 - bought)
    for who in first[bought:]:
        assert await owed(made, who) == FEE + worth // 4 // (20 - bought) + prize
    assert await owed(made, made.buyer.address) == EMBEDDED.bond(worth) + 20 * FEE + worth // 4


async def test_five_bribed_jurors_of_five_acquit_and_each_gave_up_more_than_the_verdict_moves(chain: Chain) -> None:
    """They agree, so there is no larger jury. One of them that had told the truth instead would have had the others' fines to itself."""
    made = await dispute(chain, 24)
    worth = EMBEDDED.max_worth(LIMIT, 5)
    case = await made.open()
    jury, found = await hear(made, case, SECRET, [LIE] * 5)
    assert found.outcome == Outcome.ACQUITTED
    for_lying = await owed(made, jury[0])
    moved = worth + 5 * FEE + await owed(made, made.operator.address)
    assert moved == bribes.verdict_moves(EMBEDDED, LIMIT, 5, worth, Outcome.ACQUITTED)
    bystanders, made = made.jurors, await dispute(chain, 1)
    made.jurors.update(bystanders)
    case = await made.open()
    jury, _ = await hear(made, case, SECRET, [TRUE] + [LIE] * 4)
    _, found = await extended(made, case, keccak256(SECRET), [TRUE] * 15)
    assert found.outcome == Outcome.CONVICTED
    given_up = await owed(made, jury[0]) - for_lying
    assert 5 * given_up > 5 * moved > moved
    assert given_up > 11 * FEE
    assert bribes.cheapest_bribe(EMBEDDED, LIMIT, 5, Outcome.ACQUITTED) > moved


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_bribed_majority_of_fifteen_loses_to_the_largest_jury(chain: Chain) -> None:
    made = await dispute(chain, 66)
    before, worth = await bond(made, made.operator.address), EMBEDDED.max_worth(LIMIT, 15)
    case = await made.open(15)
    first, found = await hear(made, case, SECRET, [LIE] * 8 + [UNAVAILABLE] + [TRUE] * 6)
    assert (found.phase, found.lead_kind) == (Phase.EXTEND, Outcome.ACQUITTED)
    largest, found = await extended(made, case, keccak256(SECRET), [TRUE] * 45)
    assert found.outcome == Outcome.CONVICTED
    assert before - await bond(made, made.operator.address) == worth + 6 * FEE
    assert {await bond(made, who) for who in first[:8]} == {EMBEDDED.seat_stake - 45 * FEE}
    assert {await bond(made, who) for who in [*first[8:], *largest]} == {EMBEDDED.seat_stake}
    assert await owed(made, first[8]) == 0
    prize = (8 * 45 - 45) * FEE // 4 // 6
    assert {await owed(made, who) for who in first[9:]} == {FEE + worth // 4 // 51 + prize}
    assert {await owed(made, who) for who in largest} == {FEE + worth // 4 // 51}
    assert worth + 15 * FEE + COIN // 40 < 8 * 45 * FEE
