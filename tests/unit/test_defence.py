"""Standing up for an operator: links that are asked for are shown, from chains that are kept here."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

import pytest

from made_up_court import MadeUpCourt
from provider_support import until
from provider_world import key
from surge.core.court import Phase
from surge.core.hash_chain import HashChain, Registered, chain_of, leads_to
from surge.core.signing import Signer
from surge.core.types import Address
from surge.provider.defence import FEW, LINKS, Defence

OPERATOR, DEVICE = key(30), key(31)


def seed(number: int) -> bytes:
    return hashlib.sha256(b"seed %d" % number).digest()


@dataclass
class MadeUpAnchors:
    """The bonds, as far as hash chains go."""

    heads: list[Registered] = field(default_factory=list)
    given_out: int = 0

    async def anchors(self, operator: Address) -> list[Registered]:
        return list(self.heads)

    async def ordinals(self, operator: Address) -> int:
        return self.given_out

    async def set_anchor(self, signer: Signer, head: bytes) -> str:
        assert signer is OPERATOR
        self.heads.append(Registered(head, self.given_out))
        return "0x"


@dataclass
class Bench:
    court: MadeUpCourt = field(default_factory=MadeUpCourt)
    bonds: MadeUpAnchors = field(default_factory=MadeUpAnchors)

    def defence(self) -> Defence:
        return Defence(self.court, self.bonds, OPERATOR.address, DEVICE, seed)

    def accuse(self) -> int:
        number = self.court.open_case(
            opener=key(32).address, receipt=bytes(32), engine=bytes(32), memory=1, fuel_limit=1, accused=OPERATOR.address
        )
        self.bonds.given_out += 1
        self.court.cases[number].ordinal = self.bonds.given_out
        return number


async def test_a_link_is_shown_in_each_case_and_each_once() -> None:
    bench = Bench()
    defence = bench.defence()
    assert await defence.register(OPERATOR)
    assert not await defence.register(OPERATOR)
    for number in (1, 2, 3):
        case = bench.accuse()
        await defence.look()
        assert leads_to(bench.court.cases[case].link, number, HashChain(seed(0), LINKS).head)
        assert bench.court.cases[case].phase == Phase.DRAW
    answers = bench.court.calls.count("answer")
    await defence.look()
    assert bench.court.calls.count("answer") == answers


async def test_cases_after_a_new_chain_ask_for_its_links_and_older_ones_for_those_of_theirs() -> None:
    bench = Bench()
    defence = bench.defence()
    await defence.register(OPERATOR)
    bench.bonds.given_out = LINKS - FEW - 1
    assert not await defence.register(OPERATOR)
    old = bench.accuse()
    assert await defence.register(OPERATOR)
    new = bench.accuse()
    await defence.look()
    assert leads_to(bench.court.cases[old].link, LINKS - FEW, HashChain(seed(0), LINKS).head)
    assert leads_to(bench.court.cases[new].link, 1, HashChain(seed(1), LINKS).head)


async def test_a_chain_that_is_kept_elsewhere_is_told_of_once_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.bonds.heads = [Registered(bytes(32), 0)]
    defence = bench.defence()
    number = bench.accuse()
    for _ in range(3):
        await defence.look()
    assert bench.court.cases[number].phase == Phase.ANSWER
    assert caplog.text.count("not kept here") == 1
    assert await defence.register(OPERATOR)
    assert bench.bonds.heads[-1] == Registered(HashChain(seed(1), LINKS).head, 1)


async def test_a_ledger_that_is_away_is_asked_again_and_the_chain_is_registered() -> None:
    bench = Bench()
    bench.court.away = True
    running = asyncio.create_task(bench.defence().run(OPERATOR))
    try:
        await until(lambda: len(bench.court.calls) > 1)
        bench.court.away = False
        number = bench.accuse()
        await until(lambda: bench.court.cases[number].phase == Phase.DRAW)
        assert len(bench.bonds.heads) == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_an_ordinal_belongs_to_the_last_chain_before_it() -> None:
    chains = [Registered(b"a" * 32, 0), Registered(b"b" * 32, 3), Registered(b"c" * 32, 3)]
    assert chain_of(3, chains) == chains[0]
    assert chain_of(4, chains) == chains[2]
    assert chain_of(1, chains[1:]) is None
