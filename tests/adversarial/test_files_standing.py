"""A holder that broke the protocol is known for it when something is put later, by another process too."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

import surge
from crooked_holders import Crooked, crooked, honest
from network_support import Town
from surge.core.messages import encode_body
from surge.core.messages import storage as said
from surge.errors import Unavailable
from surge.provider.service import Refused, Reply
from surge.storage.service import StorageConfig

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
MIB = 1 << 20


def not_now(storage: Crooked, body: bytes) -> Reply:
    raise Refused("storage", "not now")


def garbage(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    return replace(reply, body=encode_body(said.Leaves(bytes(len(said.decode_leaves(reply.body).data)), b"")))


def test_who_broke_the_protocol_is_given_nothing_later_where_there_are_others(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(MIB)
    with Town(tmp_path / "town", providers=6, storage=CONFIG, holders=dict.fromkeys(range(6), Crooked)) as town:
        crook = town.devices[5]
        with surge.connect(town.file) as network:
            network.files.put(data, "before", code=(2, 6), segment_size=MIB)
            for device in town.devices[:4]:
                crooked(device).instead["read"] = not_now  # the reader needs what the crook says
            crooked(crook).tricks["read"] = garbage
            with pytest.raises(Unavailable):
                network.files.read("before")
            honest(town)
        with surge.connect(town.file) as network:
            for number in range(4):
                network.files.put(data, f"after {number}", code=(2, 3), segment_size=MIB)
                assert crook.address not in network.files.details(f"after {number}").devices
