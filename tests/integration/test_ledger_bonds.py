"""Bonds by the ledger's calls, on a real chain: pay that is retained, stake, tickets, rewards, and what the contract says no to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger_support import COIN, UNJUDGED, Chain, chain_in, found, opened
from surge.buyer.staking import claim, stakes_of, unstake
from surge.core.bonds import link
from surge.core.parameters import EMBEDDED
from surge.errors import InvalidInput, LedgerError, NotEnough
from surge.ledger import Deployed, Ledger, Ticket
from surge.ledger.chain import REDEMPTION_GAS
from surge.ledger.interfaces import checksum
from surge.wallet import KeySigner


@pytest.fixture(scope="module")
def chain_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployed]:
    """A chain on which nobody judges yet."""
    folder = tmp_path_factory.mktemp("unjudged") / "ledger"
    return folder, asyncio.run(found(folder, UNJUDGED))


@pytest.fixture(scope="module")
def bonded_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployed]:
    """A chain whose operators need a bond of an ether."""
    folder = tmp_path_factory.mktemp("bonded") / "ledger"
    return folder, asyncio.run(found(folder, EMBEDDED))


@pytest.fixture
async def bonded(bonded_template: tuple[Path, Deployed], tmp_path: Path) -> AsyncIterator[Chain]:
    async with chain_in(tmp_path / "ledger", *bonded_template) as running:
        yield running


async def wait(chain: Chain, seconds: int) -> None:
    """Let so many seconds go by on the chain."""
    await chain.ledger._endpoints.call("evm_increaseTime", seconds)
    await chain.ledger._endpoints.call("evm_mine")


async def test_a_network_is_founded_with_its_numbers(bonded: Chain) -> None:
    bonds = bonded.ledger.bonds
    assert (await bonds.min_bond(), await bonds.unbonding_seconds()) == (COIN, EMBEDDED.unbonding_seconds)


async def test_the_first_pay_becomes_the_operators_bond_whoever_redeems_and_then_pay_is_paid(bonded: Chain) -> None:
    ledger = bonded.ledger
    work, operator = await opened(bonded)
    stranger = await bonded.buyer(tokens=0)
    (first,) = await ledger.redeem(stranger, [work.voucher(1, COIN // 2)])
    assert await ledger.token_balance(operator.address) == 0
    assert await ledger.bonds.own_stake(operator.address) == first.paid
    (second,) = await ledger.redeem(stranger, [work.voucher(1, COIN)])
    assert await ledger.bonds.own_stake(operator.address) == COIN
    assert await ledger.token_balance(operator.address) == first.paid + second.paid - COIN
    state = await ledger.channel(work.channel)
    assert state.redeemed_at > 0


@pytest.mark.parametrize("retained", [False, True])
async def test_a_redemption_by_way_of_a_bond_costs_no_more_than_it_was_said_to(bonded: Chain, retained: bool) -> None:
    """The dearest ones: the first of a channel, an operator and an epoch, shared with a staker; or retained as well."""
    work, operator = await opened(bonded)
    staker = await bonded.buyer()
    await bonded.ledger.bonds.stake(staker, operator.address, COIN)
    if not retained:
        await bonded.ledger.transfer(work.buyer, operator.address, tokens=COIN)
        await bonded.ledger.bonds.stake(operator, operator.address, COIN)
    await bonded.ledger.bonds.set_commission(operator, 5_000)
    (done,) = await bonded.ledger.redeem(staker, [work.voucher(1, 2 * COIN)])
    assert (await bonded.ledger.bonds.claimable(operator.address, staker.address)) > 0
    assert await bonded.ledger.gas_used(done.transaction) <= REDEMPTION_GAS * (3 if retained else 2) // 2


async def test_stake_goes_in_earns_and_comes_out(chain: Chain) -> None:
    ledger, bonds = chain.ledger, chain.ledger.bonds
    operator, staker = await chain.buyer(), await chain.buyer()
    await bonds.stake(operator, operator.address, 10 * COIN)
    await bonds.stake(staker, operator.address, 30 * COIN)
    await bonds.set_commission(operator, 2_000)
    pool = await bonds.pool(operator.address)
    assert (pool.assets, pool.bond, pool.commission_bps) == (40 * COIN, 40 * COIN, 2_000)
    await ledger._calls.approve(chain.treasury, "bonds", COIN)
    await ledger._calls.write(chain.treasury, "bonds", "pay", checksum(operator.address), COIN, purpose="paying")
    assert await bonds.claimable(operator.address, staker.address) == 6 * COIN // 10
    ticket = await bonds.unstake(staker, operator.address, 5 * COIN)
    assert (ticket.operator, ticket.worth) == (operator.address, 5 * COIN)
    assert await bonds.tickets(staker.address) == [ticket]
    assert (await bonds.stake_of(operator.address, staker.address)).worth == 25 * COIN
    rest = await bonds.unstake(staker, operator.address)
    assert rest.worth == 25 * COIN
    rows = await stakes_of(ledger, staker.address)
    assert [(row["operator"], row["staked"], row["rewards"], row["leaving"]) for row in rows] == [
        (operator.address, 0, 6 * COIN // 10, 30 * COIN)
    ]
    (row,) = await claim(ledger, staker, None)
    assert (row["rewards"], row["withdrawn"], row["leaving"], row["reserved"]) == (6 * COIN // 10, 0, 30 * COIN, False)
    assert row["ready_at"] == ticket.ready_at
    await wait(chain, EMBEDDED.unbonding_seconds + 2)
    before = await ledger.token_balance(staker.address)
    (row,) = await claim(ledger, staker, operator.address)
    assert (row["rewards"], row["withdrawn"], row["leaving"], row["ready_at"]) == (0, 30 * COIN, 0, 0)
    assert await ledger.token_balance(staker.address) == before + 30 * COIN
    assert await stakes_of(ledger, staker.address) == await claim(ledger, staker, None) == []
    assert await bonds.tickets(staker.address) == []


async def test_what_is_reserved_is_told_and_comes_with_its_release(chain: Chain) -> None:
    ledger, bonds = chain.ledger, chain.ledger.bonds
    operator, judge = await chain.buyer(), await chain.buyer()
    where = checksum(operator.address)
    await ledger._calls.write(chain.treasury, "bonds", "set_slasher", checksum(judge.address), purpose="naming a slasher")
    await bonds.stake(operator, operator.address, 10 * COIN)
    await ledger._calls.write(judge, "bonds", "reserve", where, 4 * COIN, purpose="reserving")
    assert await bonds.free_bond(operator.address) == 6 * COIN
    await unstake(ledger, operator, None, None)
    await wait(chain, EMBEDDED.unbonding_seconds + 2)
    (row,) = await claim(ledger, operator, None)
    assert (row["withdrawn"], row["leaving"], row["reserved"], row["ready_at"]) == (6 * COIN, 4 * COIN, True, 0)
    (row,) = await claim(ledger, operator, None)
    assert (row["withdrawn"], row["reserved"]) == (0, True)
    await ledger._calls.write(judge, "bonds", "slash", where, COIN, [], [], purpose="slashing")
    await ledger._calls.write(judge, "bonds", "release", where, 3 * COIN, purpose="releasing")
    (row,) = await claim(ledger, operator, None)
    assert (row["withdrawn"], row["leaving"]) == (3 * COIN, 0)


async def test_amounts_after_a_slash_are_what_was_asked_for(chain: Chain) -> None:
    ledger, bonds = chain.ledger, chain.ledger.bonds
    operator = await chain.buyer()
    await ledger._calls.write(chain.treasury, "bonds", "set_slasher", checksum(operator.address), purpose="naming a slasher")
    await bonds.stake(operator, operator.address, 10 * COIN)
    for call, args in (("reserve", (3 * COIN,)), ("slash", (3 * COIN, [], []))):
        await ledger._calls.write(operator, "bonds", call, checksum(operator.address), *args, purpose=call)
    ticket = await bonds.unstake(operator, operator.address, COIN)
    assert 0 <= ticket.worth - COIN <= 1
    assert abs((await bonds.stake_of(operator.address, operator.address)).worth - 6 * COIN) <= 1


async def test_what_cannot_be_done_is_said_in_words(chain: Chain) -> None:
    bonds = chain.ledger.bonds
    operator, staker = await chain.buyer(tokens=COIN), await chain.buyer(tokens=COIN)
    with pytest.raises(NotEnough, match="are needed: send it some"):
        await bonds.stake(staker, operator.address, 2 * COIN)
    with pytest.raises(InvalidInput, match="nothing to stake"):
        await bonds.stake(staker, operator.address, 0)
    with pytest.raises(NotEnough, match="has nothing behind"):
        await bonds.unstake(staker, operator.address)
    await bonds.stake(staker, operator.address, COIN)
    with pytest.raises(NotEnough, match=r"has 1\.000000 SURGE behind .*, not 2\.000000"):
        await bonds.unstake(staker, operator.address, 2 * COIN)
    with pytest.raises(InvalidInput, match="nothing to unstake"):
        await bonds.unstake(staker, operator.address, 0)
    ticket = await bonds.unstake(staker, operator.address)
    with pytest.raises(LedgerError, match="bonds: not ready"):
        await bonds.withdraw(staker, ticket.number)
    with pytest.raises(LedgerError, match="bonds: not your ticket"):
        await bonds.withdraw(operator, ticket.number)
    with pytest.raises(InvalidInput, match="has no court"):
        await chain.ledger._calls.read("court", "token")


async def test_a_commission_and_a_chain_are_registered(chain: Chain) -> None:
    bonds, operator = chain.ledger.bonds, await chain.buyer()
    await bonds.set_commission(operator, 1_000)
    await bonds.set_commission(operator, 3_000)
    bps, at = await bonds.announced_commission(operator.address)
    assert bps == 3_000
    assert at > EMBEDDED.unbonding_seconds
    anchor = link(b"\x05" * 32, 100, 0)
    await bonds.set_anchor(operator, anchor)
    pool = await bonds.pool(operator.address)
    assert (pool.commission_bps, pool.anchor, pool.links_used) == (1_000, anchor, 0)


async def test_tickets_that_an_endpoint_makes_up_are_nobodys(chain: Chain) -> None:
    bonds = chain.ledger.bonds
    operator, staker, other = await chain.buyer(), await chain.buyer(), KeySigner.random()
    await bonds.stake(staker, operator.address, COIN)
    ticket = await bonds.unstake(staker, operator.address)
    assert await bonds.tickets(other.address) == []
    assert await bonds.tickets(staker.address) == [Ticket(ticket.number, operator.address, COIN, ticket.ready_at)]
    assert [each.operator for each in await bonds.stakes(staker.address)] == [operator.address]
    elsewhere = Ledger(replace(chain.network, bonds=chain.network.registry), chain.embedded.folder / "other.db")
    try:
        assert await elsewhere.bonds.stakes(staker.address) == []
    finally:
        await elsewhere.close()
