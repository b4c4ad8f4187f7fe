"""The channels contract's past on a real chain, one of whose endpoints lies or lags."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ledger_support import COIN, Chain, Liar, answering, elsewhere, opened
from surge.ledger import Ledger, Page


async def pages(ledger: Ledger) -> list[Page]:
    return [page async for page in ledger.histories.pages(0, await ledger.histories.head(), newest_first=True)]


async def test_what_was_redeemed_is_found_with_who_paid_and_what_it_cost(chain: Chain) -> None:
    work, operator = await opened(chain)
    await chain.ledger.redeem(operator, [work.voucher(3, COIN)])
    await chain.ledger.redeem(operator, [work.voucher(1, COIN)])
    (page,) = await pages(chain.ledger)
    (opening,) = page.opened
    assert (opening.channel, opening.buyer) == (work.channel, work.buyer.address)
    assert [(each.channel, each.provider, each.fee) for each in page.paid] == [
        (work.channel, operator.address, 3 * COIN // 100),
        (work.channel, operator.address, COIN // 100),
    ]
    assert all(abs(time.time() - each.time) < 120 for each in page.paid)
    assert page.since < page.paid[0].time


async def test_one_of_three_endpoints_neither_invents_a_past_nor_hides_one(chain: Chain, tmp_path: Path) -> None:
    work, operator = await opened(chain)
    await chain.ledger.redeem(operator, [work.voucher(3, COIN)])
    nodes = [Liar(chain.embedded.url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(answering(each.answer)) for each in nodes]
        ledger = await Ledger.connect(elsewhere(chain.network, *urls), tmp_path / "three.db")
        stack.push_async_callback(ledger.close)
        honest = await pages(ledger)
        nodes[0].lies["eth_getLogs"] = []
        assert await pages(ledger) == honest
        events: list[dict[str, Any]] = await ledger._endpoints.call(
            "eth_getLogs", {"address": chain.network.channels.address, "fromBlock": "0x0", "toBlock": "latest"}
        )
        assert not events, "the first endpoint lies"
        nodes[0].lies.clear()
        true = await ledger._endpoints.call(
            "eth_getLogs", {"address": chain.network.channels.address, "fromBlock": "0x0", "toBlock": "latest"}
        )
        again = {**true[-1], "transactionHash": "0x" + "77" * 32}
        nodes[0].lies["eth_getLogs"] = [*true, again]
        assert [each.fee for page in await pages(ledger) for each in page.paid] == [3 * COIN // 100]
