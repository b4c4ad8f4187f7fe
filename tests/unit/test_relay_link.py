"""How a link moves from one connection to the next without losing or reordering anything."""

from __future__ import annotations

import asyncio
from typing import Any

from relay_support import BUYER, RELAY
from surge.core.network import RelayAddress
from surge.errors import Unavailable
from surge.relay.client.link import Link


class FakeWire:
    """Notes what is done to it; `flush` and `finish` end when the test lets them."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events
        self.flushed, self.finished = asyncio.Event(), asyncio.Event()
        self.lost = False

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        self.events.append(f"{self.name} publishes {data.decode()}")

    async def flush(self, timeout: float) -> None:
        self.events.append(f"{self.name} flushes")
        await self.flushed.wait()
        if self.lost:
            raise Unavailable("gone")
        self.events.append(f"{self.name} is flushed")

    async def finish(self, timeout: float) -> None:
        self.events.append(f"{self.name} finishes")
        await self.finished.wait()
        self.events.append(f"{self.name} is finished")

    def deliver_to(self, deliver: Any) -> None:
        self.events.append(f"{self.name} delivers")


def make_link(old: FakeWire) -> Any:
    link = Link(
        RelayAddress("nats://nowhere", RELAY.address),
        BUYER,
        tls=None,
        on_hello=lambda *hello: None,
        on_change=lambda changed: None,
    )
    link._wire = old  # type: ignore[assignment]
    return link


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_order_is_kept_both_ways_when_a_connection_is_replaced() -> None:
    events: list[str] = []
    old, fresh = FakeWire("old", events), FakeWire("fresh", events)
    link = make_link(old)
    await link.publish("s", b"1")
    moving = asyncio.create_task(link._replace(old, fresh))
    await settle()
    sending = asyncio.create_task(link.publish("s", b"2"))
    await settle()
    assert events == ["old publishes 1", "old flushes"]  # 2 waits until the relay has 1
    old.flushed.set()
    await sending
    await settle()
    assert events[2:] == ["old is flushed", "fresh publishes 2", "old finishes"] or events[2:] == [
        "old is flushed",
        "old finishes",
        "fresh publishes 2",
    ]
    old.finished.set()
    await moving
    assert events[5:] == ["old is finished", "fresh delivers"]  # what came on the old one goes first


async def test_a_connection_lost_while_it_is_replaced_ends_what_may_have_lost_something() -> None:
    events: list[str] = []
    old, fresh = FakeWire("old", events), FakeWire("fresh", events)
    link = make_link(old)
    call = asyncio.get_running_loop().create_future()
    link.calls["0x", "token"] = call
    old.lost = True
    old.flushed.set()
    old.finished.set()
    await link._replace(old, fresh)
    assert isinstance(call.exception(), Unavailable)
    await link.publish("s", b"2")
    assert events[-1] == "fresh publishes 2"
