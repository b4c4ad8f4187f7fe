"""The court on anvil: a case from its opening to what everybody is owed, and what its events tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from court_ledger_support import ENGINE, FALSE, LIMIT, PRICE, SALT, SECRET, TRUE, dispute, wait
from ledger_support import COIN, Chain
from surge.buyer import staking
from surge.core.court import EMBEDDED, Outcome, Phase
from surge.core.keccak import keccak256
from surge.core.parameters import EMBEDDED as NETWORK
from surge.core.receipts import Signed
from surge.errors import InvalidInput, LedgerError, Unavailable
from surge.ledger.answers import Log
from surge.ledger.cases import read_opened
from surge.wallet import KeySigner

FEE = EMBEDDED.fee(LIMIT)


async def test_a_case_from_its_opening_to_its_verdict(chain: Chain) -> None:
    court = chain.ledger.court
    assert await court.parameters() == EMBEDDED
    assert (await court.cases(), await court.case_count()) == ([], 0)
    made = await dispute(chain, 6)
    assert await court.places(ENGINE) == len(await court.seats(ENGINE)) == 6
    before = await chain.ledger.token_balance(made.buyer.address)
    number = await made.open()
    worth = EMBEDDED.max_worth(LIMIT, 5)
    assert before - await chain.ledger.token_balance(made.buyer.address) == EMBEDDED.deposit(LIMIT, 5, worth)
    receipt = made.signed.receipt
    told = await court.about(number)
    assert (told.opener, told.accused, told.subject) == (made.buyer.address, made.operator.address, receipt.subject)
    assert (told.result, told.fuel, told.claimed_result, told.claimed_fuel) == (FALSE.result, FALSE.fuel, TRUE.result, TRUE.fuel)
    assert (told.engine, told.fuel_limit, told.jurors, told.worth, told.ordinal) == (ENGINE, LIMIT, 5, worth, 1)
    assert await court.cases() == [told] == await court.cases(opener=made.buyer.address) == await court.cases(accused=made.operator.address)
    assert await court.cases(accused=made.buyer.address) == []
    assert await court.case_of(receipt.digest(chain.network.channels_domain)) == number
    case = await court.case(number)
    assert (case.phase, case.worth, case.reserved, case.pot) == (Phase.ANSWER, worth, worth + 5 * FEE, 5 * FEE)
    await court.answer(made.operator, number, made.link(case.ordinal))
    jury = await court.draw(made.buyer, number, SECRET)
    assert len(set(jury)) == 5
    assert jury == await court.jurors(number)
    for who in jury:
        assert await court.duties(who) == [number]
        await court.commit(made.jurors[who], number, SALT, TRUE)
    for who in jury:
        await court.reveal(made.jurors[who], number, SALT, TRUE)
        assert (await court.ballot(number, who)).answer == TRUE.digest
    assert await court.revealed(number) == dict.fromkeys(jury, TRUE)
    assert await court.revealed(number + 1) == {}
    case = await court.advance(KeySigner.from_mnemonic(chain.embedded.genesis.mnemonic), number)
    assert (case.phase, case.outcome) == (Phase.OVER, Outcome.CONVICTED)
    assert await court.owed(made.buyer.address) == EMBEDDED.deposit(LIMIT, 5, worth) + worth // 4
    assert await court.collect(made.buyer) == EMBEDDED.deposit(LIMIT, 5, worth) + worth // 4
    assert await chain.ledger.token_balance(made.buyer.address) == before + worth // 4
    assert await court.collect(made.buyer) == 0
    for who in jury:
        assert await court.collect(made.jurors[who]) == FEE + worth // 4 // 5
    assert (await chain.ledger.bonds.pool(made.operator.address)).bond == 20 * COIN - worth - 5 * FEE


async def test_seats_are_taken_told_and_given_up(chain: Chain) -> None:
    ledger, court = chain.ledger, chain.ledger.court
    juror = await chain.buyer()
    await ledger.bonds.stake(juror, juror.address, 2 * EMBEDDED.seat_stake)
    number = await court.enlist(juror, seats=2, engines=[ENGINE], memory=7, fuel_cap=9, key=SALT)
    assert await court.enlistment_of(juror.address) == number
    found = await court.enlistment(number)
    assert (found.juror, found.seats, found.stake, found.memory, found.fuel_cap, found.key) == (
        juror.address,
        2,
        2 * EMBEDDED.seat_stake,
        7,
        9,
        SALT,
    )
    with pytest.raises(LedgerError, match="court: own stake covers the seats"):
        await court.unseat(chain.treasury, juror.address)
    await court.resign(juror)
    assert await court.enlistment_of(juror.address) is None
    with pytest.raises(LedgerError, match="court: seats may still be drawn"):
        await court.release_seats(juror, number)
    await wait(chain, EMBEDDED.longest_case + 2)
    await court.release_seats(juror, number)
    assert await ledger.bonds.free_bond(juror.address) == 2 * EMBEDDED.seat_stake
    with pytest.raises(InvalidInput, match="no enlistment 9"):
        await court.enlistment(9)


async def test_a_larger_jury_and_its_end_without_one(chain: Chain) -> None:
    court = chain.ledger.court
    made = await dispute(chain, 5)
    number = await made.open()
    await court.answer(made.operator, number, made.link(1))
    with pytest.raises(LedgerError, match="court: not the secret"):
        await court.draw(made.buyer, number, SALT)
    assert len(await court.draw(made.buyer, number, SECRET)) == 5
    case = await court.case(number)
    await wait(chain, case.deadline - case.opened_at + 1)
    assert (await court.advance(made.buyer, number)).phase == Phase.EXTEND
    case = await court.extend(made.buyer, number, keccak256(SECRET))
    assert (case.phase, case.round, case.jurors, case.pot) == (Phase.ANSWER, 2, 15, 20 * FEE)
    await court.answer(made.operator, number, made.link(2))
    assert await court.draw(made.buyer, number, keccak256(SECRET)) == []
    assert (await court.case(number)).outcome == Outcome.DISMISSED
    with pytest.raises(LedgerError, match="court: nothing to move"):
        await court.advance(made.buyer, number)
    with pytest.raises(InvalidInput, match="no case 7"):
        await court.case(7)
    with pytest.raises(InvalidInput, match="no case 7"):
        await court.about(7)


async def test_an_equivocation_is_reported(chain: Chain) -> None:
    court = chain.ledger.court
    made = await dispute(chain, 0)
    reporter = await chain.buyer(tokens=0)
    with pytest.raises(LedgerError, match="court: one receipt"):
        await court.equivocation(reporter, made.signed, made.signed)
    other = replace(made.signed.receipt, result=TRUE.result)
    with pytest.raises(LedgerError, match="court: not the device's receipt"):
        await court.equivocation(reporter, made.signed, Signed(other, reporter.sign(other.digest(chain.network.channels_domain))))
    await court.equivocation(reporter, made.signed, Signed(other, made.device.sign(other.digest(chain.network.channels_domain))))
    assert await chain.ledger.token_balance(reporter.address) == COIN
    assert (await chain.ledger.bonds.pool(made.operator.address)).bond == 10 * COIN
    assert await court.debt(made.operator.address) == 0


async def test_an_epochs_work_is_claimed_when_it_is_over(chain: Chain) -> None:
    emissions = chain.ledger.emissions
    made = await dispute(chain, 0)
    epoch = await emissions.epoch()
    assert await emissions.epoch_seconds() == NETWORK.epoch_seconds
    assert await emissions.budget(epoch) > 0
    assert NETWORK.emissions is not None
    reward = await emissions.reward(made.operator.address, epoch)
    assert reward == PRICE * NETWORK.fee_bps // 10_000 * NETWORK.emissions.work_bps // 10_000
    with pytest.raises(InvalidInput, match="is not over"):
        await emissions.claim(made.buyer, made.operator.address, epoch)
    await wait(chain, NETWORK.epoch_seconds)
    before = await chain.ledger.token_balance(made.operator.address)
    assert await emissions.claim(made.buyer, made.operator.address, epoch) == reward
    assert await chain.ledger.token_balance(made.operator.address) == before + reward
    with pytest.raises(InvalidInput, match="nothing to claim"):
        await emissions.claim(made.buyer, made.operator.address, epoch)


async def test_claiming_mints_for_every_epoch_that_is_over(chain: Chain) -> None:
    made = await dispute(chain, 0)
    operator, epoch = made.operator.address, await chain.ledger.emissions.epoch()
    reward = await chain.ledger.emissions.reward(operator, epoch)
    assert not await chain.ledger.emissions.unclaimed(operator)
    await wait(chain, NETWORK.epoch_seconds)
    assert await chain.ledger.emissions.unclaimed(operator) == {epoch: reward}
    (row,) = [each for each in await staking.claim(chain.ledger, made.operator, None) if each["operator"] == operator]
    assert row["minted"] == reward > 0
    assert not await chain.ledger.emissions.unclaimed(operator)


def test_an_odd_event_is_not_believed() -> None:
    with pytest.raises(Unavailable, match="an event of the court"):
        read_opened(Log(made_up, (b"\0" * 32,) * 4, b"", "0x" + "00" * 32))
    with pytest.raises(Unavailable, match="an event of the court"):
        read_opened(Log(made_up, (b"\0" * 32,), bytes(16 * 32), "0x" + "00" * 32))


made_up = KeySigner((5).to_bytes(32, "big")).address
