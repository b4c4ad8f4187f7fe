"""Holders that cheat whoever reads: garbage, other deals' bytes, answers that are late or never come, bills for more than was read."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import surge
from crooked_holders import Crooked, Trick, crooked, honest, late, never
from network_support import Town
from surge.core.messages import encode_body
from surge.core.messages import storage as said
from surge.errors import Unavailable
from surge.provider.service import Reply
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (3, 6)
MIB = 1 << 20
DATA = random.Random(7).randbytes(3 * MIB + 4321)
SOON = 12.0
"""Seconds in which a holder that says nothing, of whom a call is given up after 20, is left for another."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=6, storage=CONFIG, holders=dict.fromkeys(range(6), Crooked)) as town:
        with surge.connect(town.file) as network:
            network.files.put(DATA, "data", code=CODE, segment_size=MIB)
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    try:
        with surge.connect(town.file) as network:
            yield network
    finally:
        honest(town)


def leaves(reply: Reply) -> said.Leaves:
    return said.decode_leaves(reply.body)


def garbage(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """Other bytes of the same number, under the right proof."""
    told = leaves(reply)
    return Reply(encode_body(said.Leaves(bytes(len(told.data)), told.proof)))


def one_bit(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    told = leaves(reply)
    return Reply(encode_body(said.Leaves(told.data[:-1] + bytes([told.data[-1] ^ 1]), told.proof)))


def wrong_proof(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    told = leaves(reply)
    return Reply(encode_body(said.Leaves(told.data, told.proof + bytes(32))))


def too_little(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    told = leaves(reply)
    return Reply(encode_body(said.Leaves(told.data[:1], told.proof)))


def too_much(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    told = leaves(reply)
    return Reply(encode_body(said.Leaves((told.data * 8)[: said.MOST_MOVED], told.proof)))


def no_message(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    return Reply(b"\xff" * 100)


async def of_another_deal(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """What another shard of this device has there."""
    asked = said.decode_read(body)
    deal = storage.shelf.index.deal(asked.deal)
    assert deal is not None
    other = next(each for each, _ in storage.shelf.index.listed(deal.buyer, b"", 10) if each != deal.id)
    return Reply(encode_body(said.Leaves(*await storage.shelf.read(other, asked.first, asked.count))))


async def fewer(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """The first of the leaves only, which are the right ones and proved."""
    asked = said.decode_read(body)
    return Reply(encode_body(said.Leaves(*await storage.shelf.read(asked.deal, asked.first, max(1, asked.count - 1)))))


async def others(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """Right leaves, from another place in the shard."""
    asked = said.decode_read(body)
    return Reply(encode_body(said.Leaves(*await storage.shelf.read(asked.deal, asked.first ^ 1, 1))))


@pytest.mark.parametrize("trick", [fewer, others, garbage, one_bit, wrong_proof, too_little, too_much, no_message, of_another_deal])
def test_of_what_a_holder_makes_up_nothing_is_read_whole_or_in_part(
    town: Town, network: surge.Network, trick: Trick, tmp_path: Path
) -> None:
    for device in town.devices[:3]:
        crooked(device).tricks["read"] = trick
    with network.files.open("data") as file:
        file.seek(MIB - 7)
        assert file.read(20) == DATA[MIB - 7 : MIB + 13]
    assert network.files.get("data", tmp_path / "back").read_bytes() == DATA
    assert network.files.read("data") == DATA


def test_who_answers_slowly_or_never_is_not_waited_for(town: Town, network: surge.Network) -> None:
    for device, trick in zip(town.devices, (never, never, late(3.0)), strict=False):
        crooked(device).tricks["read"] = trick
    began = time.monotonic()
    with network.files.open("data") as file:
        file.seek(2 * MIB - 7)
        assert file.read(20) == DATA[2 * MIB - 7 : 2 * MIB + 13]
    ranged = time.monotonic() - began
    assert network.files.read("data") == DATA
    assert ranged < SOON, "a range waits for a holder that says nothing"
    assert time.monotonic() - began < 4 * SOON


def test_with_more_silent_than_may_be_the_reader_is_told_in_words(town: Town, network: surge.Network) -> None:
    for device in town.devices[:4]:
        crooked(device).tricks["read"] = garbage
    with pytest.raises(Unavailable, match="2 of the 3 shards"):
        network.files.read("data")
