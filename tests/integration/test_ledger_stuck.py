"""Transactions whose price became too low: signed again at a higher one, mined once, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from ledger_support import COIN, Chain, answering, elsewhere
from surge.core.keccak import keccak256
from surge.ledger import Ledger, transactions
from surge.ledger import prices as pricing
from surge.ledger.answers import Mined
from surge.ledger.endpoints import Refused
from surge.ledger.journal import Journal
from surge.ledger.prices import Price
from surge.ledger.signed import price_of
from surge.wallet import KeySigner

GWEI = 10**9
SALT = b"a salt of thirty-two bytes, all.."[:32]


class Node:
    """anvil behind a pool like geth's: it keeps what the next block has no place for, and replaces only what offers a tenth less."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.passes = True
        """Whether transactions reach anvil."""
        self.keeps = True
        """Whether a price that is too low is no reason to refuse a transaction. For anvil it is."""
        self.least_tip = 0
        self.base = 0
        """The base fee that it names, if it lies."""
        self.raws: list[str] = []
        """What it took, in this order."""
        self.journal: Journal | None = None
        self.unwritten: list[str] = []
        """What it was given before the journal had it."""
        self.asked: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def prices(self, nonce: int = 0) -> list[Price]:
        return [price_of(raw) for raw in self.raws if nonce_of(raw) == nonce]

    async def answer(self, request: web.Request) -> web.Response:
        call = await request.json()
        method = call["method"]
        self.asked[method] += 1
        if method == "eth_sendRawTransaction":
            found = await self.take(call)
        else:
            found = await self.ask(call)
            if method == "eth_getBlockByNumber" and self.base:
                found["result"]["baseFeePerGas"] = hex(self.base)
        if "error" in found:
            self.refusals[found["error"]["message"]] += 1
        return web.json_response({"jsonrpc": "2.0", "id": call["id"]} | found)

    async def take(self, call: dict[str, Any]) -> dict[str, Any]:
        raw = call["params"][0]
        if self.journal is not None and hash_of(raw) not in {each.hash for each in self.journal.unfinished()}:
            self.unwritten.append(raw)
        same = [each for each in self.raws if nonce_of(each) == nonce_of(raw)]
        if raw not in self.raws:
            if same and not enough_more(price_of(same[-1]), price_of(raw)):
                return {"error": {"code": -32000, "message": "replacement transaction underpriced"}}
            self.raws.append(raw)
        elif raw != same[-1]:
            return {"error": {"code": -32000, "message": "replacement transaction underpriced"}}
        taken = {"result": hash_of(raw)}
        if not self.passes:
            return taken
        if price_of(raw).tip < self.least_tip:
            return taken if self.keeps else {"error": {"code": -32000, "message": "transaction underpriced: gas tip cap too low"}}
        found = await self.ask(call)
        return taken if self.keeps and "base fee" in str(found.get("error")) else found

    async def ask(self, call: dict[str, Any]) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.post(self.target, json=call) as response:
            return dict(await response.json())


def enough_more(old: Price, new: Price) -> bool:
    return 10 * new.fee >= 11 * old.fee and 10 * new.tip >= 11 * old.tip


def nonce_of(raw: str) -> int:
    return int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"])


def hash_of(raw: str) -> str:
    return "0x" + keccak256(bytes.fromhex(raw[2:])).hex()


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition, within a bound."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "RESEND_SECONDS", 0.1)
    monkeypatch.setattr(transactions, "REPRICE_SECONDS", 0.5)


@pytest.fixture
async def nodes(chain: Chain) -> AsyncIterator[tuple[list[Node], list[str]]]:
    made = [Node(chain.embedded.url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        yield made, [await stack.enter_async_context(answering(each.answer)) for each in made]


@pytest.fixture
async def by_node(chain: Chain, nodes: tuple[list[Node], list[str]], tmp_path: Path) -> AsyncIterator[tuple[Node, Ledger]]:
    """A node, and the ledger by it alone."""
    ledger = await Ledger.connect(elsewhere(chain.network, nodes[1][0]), tmp_path / "stuck.db")
    node = nodes[0][0]
    node.journal = ledger._journal
    yield node, ledger
    await ledger.close()
    assert not node.unwritten


def pay(ledger: Ledger, sender: KeySigner, to: KeySigner, value: int, data: bytes = b"") -> asyncio.Task[Mined]:
    return asyncio.create_task(
        ledger._sender.send(sender, to.address, "0x" + data.hex(), value=value, purpose=f"paying {value}", patience=20.0)
    )


async def killed(task: asyncio.Task[Mined]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def raise_base_fee(chain: Chain, base: int) -> None:
    await chain.ledger._endpoints.call("anvil_setNextBlockBaseFeePerGas", hex(base))
    await chain.ledger._endpoints.call("evm_mine")


async def used(chain: Chain, account: KeySigner) -> int:
    return int(await chain.ledger._endpoints.call("eth_getTransactionCount", account.address, "latest"), 16)


async def can_be_mined(chain: Chain, raw: str) -> bool:
    try:
        await chain.ledger._endpoints.call("eth_sendRawTransaction", raw)
    except Refused as error:
        return "nonce too low" not in str(error)
    return True


@pytest.mark.parametrize("keeps", [True, False], ids=["a node that keeps it", "a node that refuses it"])
async def test_a_transaction_that_the_base_fee_outran_is_repriced_and_mined_once(
    chain: Chain, by_node: tuple[Node, Ledger], keeps: bool
) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    node.passes, node.keeps = False, keeps
    paying = pay(ledger, sender, to, 7)
    await until(lambda: node.raws)
    await raise_base_fee(chain, 50 * GWEI)
    following = pay(ledger, sender, to, 5)
    await until(lambda: len(node.raws) > 1)
    node.passes = True
    first, second = await paying, await following
    assert await chain.ledger.gas_balance(to.address) == 12
    assert await used(chain, sender) == 2
    copies = [raw for raw in node.raws if nonce_of(raw) == 0]
    assert hash_of(copies[0]) != first.transaction == hash_of(copies[-1])
    assert second.transaction in {hash_of(raw) for raw in node.raws if nonce_of(raw) == 1}
    assert [await can_be_mined(chain, raw) for raw in copies] == [False] * len(copies)


async def test_what_a_killed_process_left_stuck_is_repriced_by_the_accounts_next_transaction(
    chain: Chain, by_node: tuple[Node, Ledger], nodes: tuple[list[Node], list[str]], tmp_path: Path
) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    node.passes = False
    for value in (1, 2, 4):
        waiting = len(node.raws)
        paying = pay(ledger, sender, to, value)
        await until(lambda waiting=waiting: len(node.raws) > waiting)  # type: ignore[misc]
        await killed(paying)
    left = len(node.raws)
    await raise_base_fee(chain, 50 * GWEI)
    node.passes = True
    again = await Ledger.connect(elsewhere(chain.network, nodes[1][0]), tmp_path / "stuck.db")
    try:
        await pay(again, sender, to, 8)
        assert await chain.ledger.gas_balance(to.address) == 15
        assert await used(chain, sender) == 4
        assert list(dict.fromkeys(nonce_of(raw) for raw in node.raws[left:] if nonce_of(raw) < 3)) == [0, 1, 2]
    finally:
        await again.close()


async def test_what_a_killed_process_never_sent_is_sent_by_the_accounts_next_transaction(
    chain: Chain, by_node: tuple[Node, Ledger], nodes: tuple[list[Node], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    with monkeypatch.context() as patch:
        patch.setattr(ledger._sender, "_broadcast", asyncio.Event().wait)
        paying = pay(ledger, sender, to, 1)
        await until(ledger._journal.unfinished)
        await killed(paying)
    assert not node.raws
    again = await Ledger.connect(elsewhere(chain.network, nodes[1][0]), tmp_path / "stuck.db")
    try:
        await pay(again, sender, to, 2)
        assert await chain.ledger.gas_balance(to.address) == 3
    finally:
        await again.close()


@pytest.mark.parametrize("damaged", ["0x01", "no hex", "", b"\x02", None], ids=repr)
async def test_a_transaction_that_is_damaged_on_disk_is_in_nobodys_way(
    chain: Chain, by_node: tuple[Node, Ledger], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damaged: Any
) -> None:
    _, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    with monkeypatch.context() as patch:
        patch.setattr(ledger._sender, "_broadcast", asyncio.Event().wait)
        paying = pay(ledger, sender, to, 1)
        await until(ledger._journal.unfinished)
        await killed(paying)
    (sent,) = ledger._journal.unfinished()
    other = sent.raw[:40] + ("0" if sent.raw[40] != "0" else "1") + sent.raw[41:]  # it can be read, and says something else
    raw = other if damaged is None else damaged
    ledger._journal._db.execute("UPDATE transactions SET raw=?", (raw,))
    await asyncio.sleep(transactions.REPRICE_SECONDS)
    for each in ledger._journal.unfinished():
        await ledger._sender.settle(each)
    await pay(ledger, sender, to, 2)
    assert await chain.ledger.gas_balance(to.address) == 2
    assert "paying 1 (nonce 0) is damaged in the journal" in caplog.text


async def test_a_copy_that_is_damaged_on_disk_does_not_keep_the_other_from_being_repriced(
    chain: Chain, by_node: tuple[Node, Ledger]
) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    node.passes = False
    paying = pay(ledger, sender, to, 1)
    await until(lambda: node.raws)
    ledger._journal.reprice(ledger._journal.unfinished(), "0x" + "aa" * 32, "0x01")
    await raise_base_fee(chain, 50 * GWEI)
    node.passes = True
    await paying
    assert await chain.ledger.gas_balance(to.address) == 1
    assert await used(chain, sender) == 1


async def test_the_copy_that_was_replaced_counts_if_it_is_mined_after_all(
    chain: Chain, by_node: tuple[Node, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    node.passes = False
    paying = pay(ledger, sender, to, 7, SALT)
    await until(lambda: node.raws)
    node.base = 50 * GWEI
    await until(lambda: len(node.raws) > 1)
    assert [each.nonce for each in ledger._journal.unfinished()] == [0, 0]
    assert await can_be_mined(chain, node.raws[0])
    assert (await paying).transaction == hash_of(node.raws[0])
    for each in ledger._journal.unfinished():
        await ledger._sender.settle(each)
    assert [each.hash for each in ledger._journal.unfinished()] == [hash_of(raw) for raw in node.raws]  # the chain may lose that block
    monkeypatch.setattr(transactions, "FINAL_SECONDS", 0.0)
    for each in ledger._journal.unfinished():
        await ledger._sender.settle(each)
    assert ledger._journal.unfinished() == ledger._journal.refused() == []
    assert [each.hash for each in ledger._journal.at(sender.address, 0)] == [hash_of(node.raws[0])]
    assert ledger.wrote(SALT)
    assert not await can_be_mined(chain, node.raws[1])
    assert await chain.ledger.gas_balance(to.address) == 7


async def test_a_tip_that_no_producer_takes_is_raised(chain: Chain, by_node: tuple[Node, Ledger]) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    node.least_tip, node.keeps = 4 * GWEI, False
    paying = pay(ledger, sender, to, 7)
    while not paying.done():
        await chain.ledger._endpoints.call("evm_mine")
        await asyncio.sleep(0.05)
    receipt = await paying
    assert [each.tip for each in node.prices()] == [GWEI, 2 * GWEI, 4 * GWEI]
    assert receipt.transaction == hash_of(node.raws[-1])
    assert await chain.ledger.gas_balance(to.address) == 7


async def test_a_higher_price_that_the_wallet_cannot_pay_is_no_error_and_the_lower_one_stays(
    chain: Chain, by_node: tuple[Node, Ledger]
) -> None:
    node, ledger = by_node
    sender, to = await chain.buyer(native=10**14), KeySigner.random()
    node.passes = False
    paying = pay(ledger, sender, to, 7)
    await until(lambda: node.raws)
    await raise_base_fee(chain, 50 * GWEI)
    node.passes = True
    await until(lambda: any("nsufficient funds" in text for text in node.refusals))
    assert not paying.done()
    node.base = GWEI
    assert len(ledger._journal.unfinished()) > 1
    await chain.ledger.transfer(chain.treasury, sender.address, native=COIN)
    await paying
    assert await chain.ledger.gas_balance(to.address) == 7
    assert await used(chain, sender) == 1


async def test_an_endpoint_that_names_an_absurd_base_fee_drives_no_price(
    chain: Chain, nodes: tuple[list[Node], list[str]], tmp_path: Path
) -> None:
    sender, to = await chain.buyer(), KeySigner.random()
    (liar, honest, other), urls = nodes
    for each in nodes[0]:
        each.passes = False
    ledger = await Ledger.connect(elsewhere(chain.network, *urls), tmp_path / "three.db")
    paying = pay(ledger, sender, to, 7)
    try:
        await until(lambda: honest.raws)
        liar.base = 10**30
        asked = honest.asked["eth_getTransactionCount"]
        await until(lambda: honest.asked["eth_getTransactionCount"] >= asked + 3)
        assert len(ledger._journal.unfinished()) == 1
        honest.base = other.base = 50 * GWEI
        await until(lambda: len(honest.raws) > 1)
        assert honest.prices()[1].fee < 200 * GWEI
    finally:
        await killed(paying)
        await ledger.close()


async def test_base_fees_that_rise_without_end_drive_the_price_to_its_bound_and_no_further(
    chain: Chain, by_node: tuple[Node, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 100 * GWEI
    monkeypatch.setattr(transactions, "REPRICE_SECONDS", 0.02)
    monkeypatch.setattr(pricing, "MAX_FEE", bound)
    node, ledger = by_node
    sender, to = await chain.buyer(), KeySigner.random()
    node.passes = False
    paying = pay(ledger, sender, to, 7)
    await until(lambda: node.raws)

    def at_its_bound() -> bool:
        node.base = node.prices()[-1].fee
        return node.base > bound * 8 // 9

    await until(at_its_bound)
    asked = node.asked["eth_getTransactionCount"]
    await until(lambda: node.asked["eth_getTransactionCount"] >= asked + 3)
    assert 3 < len(node.raws) < 10
    assert all(each.tip < each.fee <= bound for each in node.prices())
    assert [hash_of(raw) for raw in node.raws] == [each.hash for each in ledger._journal.unfinished()]
    node.base, node.passes = 0, True
    await paying
    assert await chain.ledger.gas_balance(to.address) == 7
