"""Gas of proving storage on the embedded ledger, by the shard's size; and of audits off chain, which the ledger hears nothing of."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

from benchmarks.gas import gas_between, last_block, running
from benchmarks.rows import Row, at_most
from ledger_support import COIN
from surge.core.parameters import EMBEDDED
from surge.core.receipts import DeviceConsent
from surge.core.storage.pledges import Pledge
from surge.core.storage.tree import PROOF_LEAF, Tree, verify
from surge.ledger import Ledger
from surge.wallet import KeySigner

SIZES = {"1 KiB": 1 << 10, "1.7 MB": 1_677_792, "64 MiB": 64 << 20}
"""Shards: the least, one of a 32 MiB segment of 20, and a large one."""

AUDITS = 1_000
"""Audits off chain that are made to see what they cost on it."""


def measure() -> Iterator[Row]:
    """Rows for a challenge, its answer and its settlement at each size, and for a thousand audits."""
    costs, answers, audits = asyncio.run(_proving())
    for size, (opened, answered, settled) in costs.items():
        yield Row(f"gas of challenging a holder, shard of {size}", opened, "gas")
        yield at_most(f"gas of the answer, shard of {size}", answered, "gas", opened, "the challenge", opened)
        yield Row(f"gas of settling what nobody answers, shard of {size}", settled, "gas")
    yield Row("leaf and proof of the longest of these answers", answers, "bytes", aim="a couple of kilobytes", met=answers <= 3_000)
    yield Row(f"gas per {AUDITS:,} audits that are passed off chain", audits, "gas", aim="constant: 0", met=audits == 0)


async def _proving() -> tuple[dict[str, tuple[int, int, int]], int, int]:
    """Gas of challenge, answer and settlement by size, the longest answer's bytes, and gas of audits off chain."""
    numbers = EMBEDDED.storage
    assert numbers is not None
    async with running() as chain:
        ledger, treasury = chain.ledger, chain.treasury
        operator, device, challenger = KeySigner.random(), KeySigner.random(), KeySigner.random()
        for each in (operator, challenger):
            await ledger.transfer(treasury, each.address, tokens=100 * COIN, native=COIN)
        await ledger.bonds.stake(operator, operator.address, 50 * COIN)
        consent = DeviceConsent(operator.address, device.address, 0).digest(ledger.network.registry_domain)
        await ledger.register_device(operator, device.address, "", device.sign(consent))
        await ledger._calls.approve(challenger, "challenges", COIN)
        costs, longest, audits = {}, 0, 0
        # The first of an operator and of each account writes what was empty: those are paid once, and not shown.
        for name, size in [("", 2_048), *SIZES.items()]:
            data = hashlib.shake_128(name.encode()).digest(size)
            tree, now = Tree.of(data), await ledger.court.clock()

            def pledge(number: int, tree: Tree = tree, size: int = size, now: int = now) -> tuple[Pledge, bytes]:
                deal = hashlib.sha256(b"%d %d" % (size, number)).digest()
                people = device.address, operator.address, treasury.address, treasury.address
                made = Pledge(deal, *people, tree.root, size, now - 1, now + numbers.period_seconds, numbers.least_penalty)
                return made, device.sign(made.digest(ledger.network.challenges_domain))

            index = (size - 1) // PROOF_LEAF // 2
            leaf, proof = data[index * PROOF_LEAF : (index + 1) * PROOF_LEAF], tree.proof(index)
            start = await last_block(ledger)
            answered = await ledger.challenges.open(challenger, *pledge(0), index)
            opened = await last_block(ledger)
            transaction = await ledger.challenges.answer(operator, answered, leaf, proof)
            failed = await ledger.challenges.open(challenger, *pledge(1), index)
            await _pass(ledger, numbers.deadline_seconds + 1)
            before = await last_block(ledger)
            await ledger.challenges.settle(challenger, failed)
            if name:
                settled = await gas_between(ledger, before, await last_block(ledger))
                costs[name] = await gas_between(ledger, start, opened), await ledger.gas_used(transaction), settled
                longest = max(longest, len(leaf) + len(proof))
            if size == SIZES["1.7 MB"]:
                before = await last_block(ledger)
                for number in range(AUDITS):
                    at = number % (size // PROOF_LEAF)
                    assert verify(tree.root, size, at, data[at * PROOF_LEAF : (at + 1) * PROOF_LEAF], tree.proof(at))
                audits = await gas_between(ledger, before, await last_block(ledger))
        return costs, longest, audits


async def _pass(ledger: Ledger, seconds: int) -> None:
    """Let so many seconds go by on the chain."""
    await ledger._endpoints.call("evm_increaseTime", seconds)
    await ledger._endpoints.call("evm_mine")
