"""Holders that cheat whoever puts: they pledge for something else, have what was never sent, bill too much or twice, or stall."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import surge
from crooked_holders import Crooked, Trick, crooked, honest, never
from network_support import Town
from surge.core.messages import encode_body
from surge.core.messages import storage as said
from surge.core.pricing import transfer_amount
from surge.core.receipts import ReceiptKind
from surge.core.storage.pledges import Pledge
from surge.core.types import Address
from surge.errors import Unavailable
from surge.provider.config import Rates
from surge.provider.service import Claim, Refused, Reply
from surge.storage.holder import ANSWER_SECONDS
from surge.storage.putting import AT_ONCE, LEAST_PATIENCE
from surge.storage.service import StorageConfig, pledge_domain

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (2, 5)
"""More operators than stand well once two have cheated: those are tried as well."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=6, storage=CONFIG, holders=dict.fromkeys(range(6), Crooked)) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    try:
        with surge.connect(town.file) as network:
            yield network
    finally:
        honest(town)


def earned(town: Town) -> list[int]:
    """Wei that each device's storage was paid so far."""
    return [crooked(device).tolls.earned for device in town.devices]


def made(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def other_signature(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """A signature of its own over something else."""
    return replace(reply, body=encode_body(said.Pledged(storage._device.sign(bytes(32)))))


def no_signature(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    return replace(reply, body=encode_body(said.Pledged(bytes(65))))


def dearer(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """Ten times the price of the way."""
    assert reply.claim is not None
    return replace(reply, claim=replace(reply.claim, amount=reply.claim.amount * 10))


def of_more(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    assert reply.claim is not None
    return replace(reply, claim=replace(reply.claim, quantity=reply.claim.quantity * 2, amount=reply.claim.amount * 2))


def never_behind(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    """It has one leaf more than it was sent."""
    return replace(reply, body=encode_body(said.Here(said.decode_here(reply.body).leaves + 1)))


def never_more(storage: Crooked, reply: Reply, body: bytes) -> Reply:
    return replace(reply, body=encode_body(said.Here(0)))


@pytest.mark.parametrize(
    ("method", "trick"),
    [
        ("keep", other_signature),
        ("keep", no_signature),
        ("keep", dearer),
        ("keep", of_more),
        ("write", never_behind),
        ("write", never_more),
    ],
)
def test_a_holder_that_cheats_whoever_puts_is_replaced(town: Town, network: surge.Network, method: str, trick: Trick) -> None:
    for device in town.devices[:2]:
        crooked(device).tricks[method] = trick
    data = made(MIB + 77, 3)
    network.files.put(data, trick.__name__, code=CODE, segment_size=MIB)
    for device in town.devices[:2]:
        crooked(device).tricks["read"] = never  # nothing of it is there
    assert network.files.read(trick.__name__) == data


def test_a_holder_that_has_all_of_what_was_never_sent_is_replaced(town: Town, network: surge.Network) -> None:
    liar, opened = crooked(town.devices[0]), {}

    def all_of_it(storage: Crooked, body: bytes) -> Reply:
        asked = said.decode_open(body)
        opened[asked.deal] = asked
        return Reply(encode_body(said.Here(-(-asked.size // said.LEAF))))

    def pledged(storage: Crooked, body: bytes) -> Reply:
        asked = opened[said.decode_keep(body).deal]
        owner, keeper, penalty = Address(asked.owner), Address(asked.keeper), int.from_bytes(asked.penalty, "big")
        device, operator = town.devices[0].key.address, town.devices[0].operator.address
        pledge = Pledge(asked.deal, device, operator, owner, keeper, asked.root, asked.size, asked.starts, asked.until, penalty)
        signature = town.devices[0].key.sign(pledge.digest(pledge_domain(town.network)))
        amount = transfer_amount(Rates().prices(1), asked.size)
        return Reply(encode_body(said.Pledged(signature)), Claim(ReceiptKind.TRANSFER, asked.root, asked.root, asked.size, amount))

    liar.instead |= {"open": all_of_it, "keep": pledged}
    for number in range(2):
        data = made(MIB, 20 + number)
        network.files.put(data, f"never sent {number}", code=(2, 5), segment_size=MIB)
        assert network.files.read(f"never sent {number}") == data
    assert (liar.asked("open"), liar.asked("keep")) in ((1, 1), (0, 0)), "who lied is asked again"


def test_who_has_more_leaves_than_there_are_is_replaced(town: Town, network: surge.Network) -> None:
    for device in town.devices[:2]:
        crooked(device).instead["open"] = lambda storage, body: Reply(encode_body(said.Here(4096)))
    network.files.put(made(MIB, 30), "too many", code=CODE, segment_size=MIB)
    assert network.files.read("too many") == made(MIB, 30)
    assert not any(crooked(device).asked("keep") for device in town.devices[:2])


def test_a_put_does_not_wait_for_those_who_say_nothing(town: Town, network: surge.Network) -> None:
    for device in town.devices[:2]:
        crooked(device).tricks["open"] = never
    data = made(MIB, 31)
    network.files.put(data, "waits", code=(2, 6), segment_size=MIB)
    assert network.files.read("waits") == data


def test_who_let_others_wait_is_given_no_more_where_there_are_others(town: Town, network: surge.Network) -> None:
    data, silent = made(8 * MIB, 36), town.devices[4]
    crooked(silent).tricks["open"] = never
    assert network.files.put(data, "not again", code=(2, 3), segment_size=MIB).missing <= AT_ONCE
    assert crooked(silent).asked("open") <= AT_ONCE
    honest(town)
    assert network.files.read("not again") == data


def test_who_let_others_wait_is_waited_for_only_once(town: Town, network: surge.Network) -> None:
    crooked(town.devices[4]).tricks["open"] = never
    began = time.monotonic()
    assert network.files.put(made(8 * MIB, 37), "once", code=(2, 6), segment_size=MIB).missing == 8
    waits = 8 / AT_ONCE
    assert LEAST_PATIENCE < time.monotonic() - began < LEAST_PATIENCE * waits


def test_nothing_that_is_written_or_removed_waits_long_for_who_says_nothing(town: Town, network: surge.Network) -> None:
    network.files.put(made(MIB, 38), "goes", code=(2, 6), segment_size=MIB)
    silent = crooked(town.devices[4])
    silent.tricks = dict.fromkeys(("open", "drop", "put_record", "get_record"), never)
    began = time.monotonic()
    network.files.put(b"few", "few", code=(2, 3))
    network.files.mv("few", "fewer")
    assert network.files.rm("goes") == 5
    network.files.rm("fewer")
    assert time.monotonic() - began < ANSWER_SECONDS
    assert silent.asked("put_record")


def test_what_has_no_room_is_refused_before_any_of_it_is_brought(town: Town, network: surge.Network, tmp_path: Path) -> None:
    with (tmp_path / "too large").open("wb") as file:
        file.truncate(1 << 30)
    before = [crooked(device).asked("open") for device in town.devices]
    with pytest.raises(Unavailable, match=r"takes 2\.69 GB in all, .* room for 1\.\d+ GB of it on the 6 devices"):
        network.files.put(tmp_path / "too large", code=CODE)
    assert [crooked(device).asked("open") for device in town.devices] == before


def test_with_too_few_who_take_it_a_put_ends_in_words_and_goes_on_later(town: Town, network: surge.Network, tmp_path: Path) -> None:
    for device in town.devices[:4]:
        crooked(device).tricks["keep"] = no_signature
    (tmp_path / "file").write_bytes(made(MIB, 32))
    with pytest.raises(Unavailable, match="devices that a segment needs took their part"):
        network.files.put(tmp_path / "file", code=CODE, segment_size=MIB)
    honest(town)
    with surge.connect(town.file) as again:
        again.files.put(tmp_path / "file", code=CODE, segment_size=MIB)
        assert again.files.read("file") == made(MIB, 32)


def test_a_put_that_failed_for_a_while_goes_on_with_the_same_devices(town: Town, tmp_path: Path) -> None:
    def full(storage: Crooked, body: bytes) -> Reply:
        raise Refused("room", "there is no room now")

    (tmp_path / "later").write_bytes(made(MIB, 35))
    for device in town.devices:
        crooked(device).instead["open"] = full
    for _ in range(2):
        with surge.connect(town.file) as network, pytest.raises(Unavailable):
            network.files.put(tmp_path / "later", code=(2, 3), segment_size=MIB)
    honest(town)
    with surge.connect(town.file) as network:
        network.files.put(tmp_path / "later", code=(2, 3), segment_size=MIB)
        assert network.files.read("later") == made(MIB, 35)
        assert len(network.files.details("later").devices) == 3


def test_bills_for_more_than_was_read_are_not_paid(town: Town) -> None:
    data = made(2 * MIB, 33)
    with surge.connect(town.file) as network:
        network.files.put(data, "billed", code=(2, 6), segment_size=MIB)
    for device in town.devices[:3]:
        crooked(device).tricks["bill"] = of_more
    before = earned(town)
    with surge.connect(town.file) as network:
        assert network.files.read("billed") == data
    honest(town)
    assert earned(town)[:3] == before[:3], "a bill for more than was read was paid"


def test_a_bill_that_is_sent_twice_is_paid_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(2 * MIB, 34)
    with surge.connect(town.file) as network:
        network.files.put(data, "twice", code=(2, 3), segment_size=MIB)
    monkeypatch.setattr("surge.storage.holder.BILL_BYTES", 1)  # each read is billed before the next
    first: dict[Address, Claim] = {}

    def the_first_again(storage: Crooked, reply: Reply, body: bytes) -> Reply:
        assert reply.claim is not None
        return replace(reply, claim=first.setdefault(storage._device.address, reply.claim))

    before = earned(town)
    for device in town.devices:
        crooked(device).tricks["bill"] = the_first_again
    with surge.connect(town.file) as network:
        for _ in range(3):
            with contextlib.suppress(Unavailable):  # once they have all sent one twice, none is asked any more
                assert network.files.read("twice") == data
    again = [crooked(device).asked("bill") for device in town.devices]
    honest(town)
    assert max(again) == 2, "nobody sent one twice, or who did was asked again"
    paid = [now - then for now, then in zip(earned(town), before, strict=True)]
    assert paid == [first[device.key.address].amount if device.key.address in first else 0 for device in town.devices]
