"""Challenges on anvil: one answered in calldata, one that nobody answers, one released; and what their events tell."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import pytest

from court_ledger_support import wait
from ledger_support import COIN, UNJUDGED, Chain, network_of
from surge.core.parameters import EMBEDDED
from surge.core.receipts import DeviceConsent
from surge.core.storage.pledges import Pledge, Release
from surge.core.storage.tree import Tree
from surge.errors import InvalidInput, LedgerError, NotEnough, Unavailable
from surge.ledger import Ledger, deploy, verify_contracts
from surge.ledger.answers import Log
from surge.ledger.challenges import read_challenged
from surge.ledger.court import DEPTH
from surge.ledger.interfaces import checksum, function_of
from surge.wallet import KeySigner

NUMBERS = EMBEDDED.storage
assert NUMBERS is not None

SHARD = hashlib.shake_128(b"a shard").digest(1_700_000)
TREE = Tree.of(SHARD)


@dataclass
class Held:
    """A shard that a bonded operator's device holds, and everybody whom a challenge needs."""

    chain: Chain
    operator: KeySigner
    device: KeySigner
    owner: KeySigner
    keeper: KeySigner

    async def pledge(self, deal: int = 1, **changes: Any) -> tuple[Pledge, bytes]:
        """The device's pledge, holding now by the ledger's clock, with its signature."""
        now = await self.chain.ledger.court.clock()
        people = (each.address for each in (self.device, self.operator, self.owner, self.keeper))
        made = Pledge(bytes((deal,)) * 32, *people, TREE.root, len(SHARD), now - 5, now + NUMBERS.period_seconds, NUMBERS.most_penalty)
        made = replace(made, **changes)
        return made, self.device.sign(made.digest(self.chain.network.challenges_domain))


@pytest.fixture
async def held(chain: Chain) -> Held:
    operator, device = await chain.buyer(), KeySigner.random()
    await chain.ledger.bonds.stake(operator, operator.address, 20 * COIN)
    consent = DeviceConsent(operator.address, device.address, 0).digest(chain.network.registry_domain)
    await chain.ledger.register_device(operator, device.address, "", device.sign(consent))
    return Held(chain, operator, device, await chain.buyer(tokens=0), KeySigner.random())


def answer(index: int) -> tuple[bytes, bytes]:
    return SHARD[index * 1024 : index * 1024 + 1024], TREE.proof(index)


async def test_a_challenge_is_answered_in_a_couple_of_kilobytes_of_calldata(held: Held) -> None:
    challenges = held.chain.ledger.challenges
    assert await challenges.parameters() == NUMBERS
    pledge, signature = await held.pledge()
    challenger = await held.chain.buyer(tokens=COIN)
    assert await challenges.against(held.operator.address) == []
    opened = await challenges.open(challenger, pledge, signature, 1_234)
    assert (opened.number, opened.pledge, opened.challenger, opened.index) == (1, pledge, challenger.address, 1_234)
    assert (opened.fee, opened.reserved) == (NUMBERS.fee, NUMBERS.most_penalty)
    assert await held.chain.ledger.token_balance(challenger.address) == COIN - NUMBERS.fee
    # whoever runs the holder sees it, and what is asked for
    (seen,) = await challenges.against(held.operator.address)
    assert seen == opened == await challenges.about(1)
    assert await challenges.against(challenger.address) == []
    leaf, proof = answer(seen.index)
    with pytest.raises(LedgerError, match="challenges: not the leaf"):
        await challenges.answer(held.operator, seen, *answer(seen.index + 1))
    transaction = await challenges.answer(held.operator, seen, leaf, proof)
    assert await calldata(held.chain, transaction) < 2_600
    assert await challenges.against(held.operator.address) == []
    assert not await challenges.is_open(opened)
    assert await challenges.collect(held.operator) == NUMBERS.fee
    assert await challenges.collect(challenger) == 0
    assert await held.chain.ledger.bonds.free_bond(held.operator.address) == 20 * COIN
    assert not await challenges.failed(pledge)


async def calldata(chain: Chain, transaction: str) -> int:
    """Bytes of a transaction's input."""
    found = await chain.ledger._endpoints.call("eth_getTransactionByHash", transaction, read=lambda row: row["input"])
    return (len(found) - 2) // 2


async def test_a_challenge_that_nobody_answers_is_slashed(held: Held) -> None:
    challenges, bonds = held.chain.ledger.challenges, held.chain.ledger.bonds
    pledge, signature = await held.pledge()
    challenger = await held.chain.buyer(tokens=COIN)
    opened = await challenges.open(challenger, pledge, signature, 0)
    with pytest.raises(LedgerError, match="challenges: deadline not passed"):
        await challenges.settle(challenger, opened)
    await wait(held.chain, NUMBERS.deadline_seconds + 1)
    assert await challenges.against(held.operator.address) == [opened]
    with pytest.raises(LedgerError, match="challenges: too late"):
        await challenges.answer(held.operator, opened, *answer(0))
    assert await challenges.settle(challenger, opened) == NUMBERS.most_penalty
    assert await challenges.failed(pledge)
    assert await challenges.against(held.operator.address) == []
    assert await challenges.collect(held.owner) == NUMBERS.most_penalty // 2
    assert await challenges.collect(challenger) == NUMBERS.fee
    assert await held.chain.ledger.token_balance(challenger.address) == COIN
    assert (await bonds.pool(held.operator.address)).bond == 20 * COIN - NUMBERS.most_penalty
    (slash,) = await bonds.slashes([held.operator.address])
    assert slash.amount == NUMBERS.most_penalty
    assert await challenges.debt(held.operator.address) == 0
    with pytest.raises(LedgerError, match="challenges: the pledge failed before"):
        await challenges.open(challenger, pledge, signature, 0)


async def test_a_release_frees_from_every_challenge_of_the_deal(held: Held) -> None:
    challenges = held.chain.ledger.challenges
    pledge, signature = await held.pledge()
    challenger = await held.chain.buyer(tokens=COIN)
    one, two = [await challenges.open(challenger, pledge, signature, index) for index in (1, 2)]
    assert [each.number for each in await challenges.against(held.operator.address)] == [1, 2]
    assert not await challenges.released(pledge)
    word = held.keeper.sign(Release(pledge.deal).digest(held.chain.network.challenges_domain))
    await challenges.release(held.operator, one, word)
    assert await challenges.released(pledge)
    assert await challenges.settle(challenger, two) == 0
    assert await challenges.collect(held.operator) == 2 * NUMBERS.fee
    with pytest.raises(LedgerError, match="challenges: the deal was released"):
        await challenges.open(challenger, pledge, signature, 3)


async def test_who_is_challenged_often_looks_at_new_blocks_only_and_misses_nothing(held: Held) -> None:
    challenges = held.chain.ledger.challenges
    challenger = await held.chain.buyer(tokens=COIN)
    pledges = [await held.pledge(deal) for deal in (1, 2)]
    first = await challenges.open(challenger, *pledges[0], 0)
    assert await challenges.against(held.operator.address) == [first]
    await held.chain.ledger._endpoints.call("anvil_mine", hex(2 * DEPTH))
    second = await challenges.open(challenger, *(await held.pledge(2)), 0)
    assert await challenges.against(held.operator.address) == [first, second]
    assert challenges._seen[held.operator.address][0] > DEPTH
    await challenges.answer(held.operator, first, *answer(0))
    assert await challenges.against(held.operator.address) == [second]


async def test_who_cannot_pay_the_fee_is_told_before_anything_is_sent(held: Held) -> None:
    poor = await held.chain.buyer(tokens=NUMBERS.fee - 1)
    with pytest.raises(NotEnough, match="are needed"):
        await held.chain.ledger.challenges.open(poor, *(await held.pledge()), 0)
    assert await held.chain.ledger.challenges.about(1) is None


async def test_a_network_without_challenges_says_so(chain: Chain, tmp_path: Any) -> None:
    """And one whose bonds may be slashed by somebody whom its file does not name is not recognised."""
    network = chain.network
    plain = replace(network, challenges=None)
    ledger = await Ledger.connect(plain, tmp_path / "tx.db")
    try:
        with pytest.raises(InvalidInput, match="has no challenges"):
            await ledger.challenges.parameters()
    finally:
        await ledger.close()
    with pytest.raises(InvalidInput, match=r"the slasher of bonds .* is nobody whom"):
        await verify_contracts(plain)
    unjudged = await deploy(network.rpc, network.chain_id, chain.treasury, tmp_path / "d.db", embedded=True, parameters=UNJUDGED)
    for place, reason in ((1, "is not the challenges that"), (3, "is nobody whom")):
        bare = replace(network_of(chain.embedded, unjudged), challenges=network.challenges if place == 1 else None)
        if place > 1:
            await chain.ledger._sender.send(chain.treasury, bare.bonds.address, named(place), purpose="naming a slasher")
        with pytest.raises(InvalidInput, match=f"the slasher of bonds .* {reason}"):
            await verify_contracts(bare)


def named(place: int) -> str:
    """The call that gives somebody a place among the slashers."""
    return function_of("bonds", "set_slasher", 2).call([checksum(KeySigner.random().address), place])


def test_an_odd_event_of_a_challenge_is_not_believed() -> None:
    ours = KeySigner((5).to_bytes(32, "big")).address
    for topics, data in (((b"\0" * 32,) * 4, b""), ((b"\0" * 32,) * 3, bytes(15 * 32)), ((b"\1" * 32,) * 4, bytes(15 * 32))):
        with pytest.raises(Unavailable, match="an event of the challenges"):
            read_challenged(Log(ours, topics, data, "0x" + "00" * 32))
