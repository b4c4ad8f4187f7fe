"""Keeping what is stored: who proves is paid, who does not is not, and what is lost is rebuilt elsewhere, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import surge
from keeping_support import CODE, MIB, deals, device_of, shard_file, town_of
from network_support import Town
from surge.core.storage.deals import SKEW
from surge.storage.journal import DROPPED, LOST, OPENING
from surge.wallet import Keystore


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town_of(tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


def earned(town: Town) -> list[int]:
    return [device.storage.tolls.earned for device in town.devices if device.storage]


def test_a_round_pays_who_proves_and_has_them_pledge_on(network: surge.Network, town: Town) -> None:
    network.files.put(random.Random(1).randbytes(3 * MIB), "kept", code=CODE, segment_size=MIB)
    before = deals(network, "kept")
    audits = network.files.audit("kept")
    after = {each.id: each for each in deals(network, "kept")}
    assert sum(each.passed for each in audits) == len(before) == 15, audits
    assert sum(each.paid for each in audits) > 0
    for each in before:
        assert after[each.id].paid > each.paid
        assert after[each.id].until > each.until
        assert after[each.id].signature != each.signature
    (kept,) = [each for each in network.files.status() if each.name == "kept"]
    assert (kept.sound, kept.here, kept.danger, kept.spent) == (5, 5, "none", sum(each.paid for each in audits))


def test_a_machine_that_looked_at_nothing_says_so(network: surge.Network, town: Town, tmp_path: Path) -> None:
    network.files.put(random.Random(7).randbytes(MIB), "recovered", code=CODE, segment_size=MIB)
    wallet = Keystore(town.folder / "buyer" / "wallet").load("buyer")
    with surge.connect(town.file, home=tmp_path / "elsewhere", wallet=wallet) as other:
        for seen in (["unseen", 0, 0], ["none", 5, 5]):
            (kept,) = [each for each in other.files.status() if each.name == "recovered"]
            assert [kept.danger, kept.sound, kept.here] == seen
            other.files.audit("recovered")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 1024):
        data[at] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100)


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [flipped, truncated, deleted])
def test_a_shard_that_is_spoiled_is_not_paid_and_is_rebuilt_elsewhere(
    network: surge.Network, town: Town, spoil: Callable[[Path], None]
) -> None:
    name, data = spoil.__name__, random.Random(2).randbytes(MIB)
    network.files.put(data, name, code=CODE, segment_size=MIB)
    network.files.audit(name)
    victim = deals(network, name)[1]
    spoil(shard_file(town, victim))
    audits = {each.device: each for each in network.files.audit(name)}
    assert audits[victim.device].passed == audits[victim.device].asked - 1
    assert "is lost" in audits[victim.device].why
    (lost,) = [each for each in deals(network, name, LOST) if each.id == victim.id]
    assert lost.paid == victim.paid, "what did not prove is not paid"
    works = network.files.repair(name)
    (mended,) = [each for each in deals(network, name) if each.shard == victim.shard and each.segment == victim.segment]
    assert (mended.id != victim.id, mended.operator != victim.operator, mended.digest) == (True, True, victim.digest)
    assert [(each.what, each.written, each.read) for each in works] == [("rebuilt", victim.size, 3 * victim.size)]
    assert works[0].wei > 0
    if spoil is not deleted:
        assert deals(network, name, DROPPED), "who has it still is told to drop it"
    assert network.files.read(name) == data
    assert len(network.files.audit(name)) == 5
    assert {each.what for each in network.files.log(name)} >= {"lost", "rebuilt"}


def test_shards_that_were_swapped_are_both_lost(network: surge.Network, town: Town) -> None:
    data = random.Random(3).randbytes(2 * MIB)
    network.files.put(data, "swapped", code=CODE, segment_size=MIB)
    by_device: dict[str, list[Path]] = {}
    for row in deals(network, "swapped"):
        by_device.setdefault(device_of(town, row).address, []).append(shard_file(town, row))
    first, second = next(paths for paths in by_device.values() if len(paths) > 1)[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    audits = network.files.audit("swapped")
    assert sum(each.asked - each.passed for each in audits) == 2
    network.files.repair("swapped")
    assert network.files.read("swapped") == data


def test_a_deal_that_was_begun_too_long_ago_is_made_anew_in_the_same_repair(network: surge.Network, town: Town) -> None:
    data = random.Random(4).randbytes(MIB)
    network.files.put(data, "begun", code=CODE, segment_size=MIB)
    rows, files = deals(network, "begun"), cast(Any, network.files)
    victim = rows[1]
    device = next(each for each in town.devices if each.address not in {row.device for row in rows})
    operator = files._call(lambda storage: storage.fleet.holder(device.address)).operator
    begun = replace(
        victim,
        id=bytes(31) + b"1",
        device=device.address,
        operator=operator,
        starts=victim.starts - 2 * SKEW,
        signature=None,
        state=OPENING,
    )
    files._call(lambda storage: storage.journal.put_deals([replace(victim, state=LOST), begun]))
    assert [(each.what, each.device) for each in network.files.repair("begun")] == [("rebuilt", device.address)]
    (mended,) = [each for each in deals(network, "begun") if each.shard == victim.shard]
    assert (mended.device, mended.id != begun.id, mended.digest) == (device.address, True, victim.digest)
    assert mended.starts > victim.starts - SKEW
    assert begun.id in {each.id for each in deals(network, "begun", DROPPED)}
    dropped = {each.device: each.why for each in network.files.log("begun") if each.what == "dropped"}
    assert dropped == {victim.device: "it is in another place"}, "what a device never had is not told to be dropped"
    assert network.files.read("begun") == data


def one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def test_what_a_read_finds_spoiled_is_rebuilt_elsewhere(network: surge.Network, town: Town) -> None:
    data = random.Random(5).randbytes(MIB)
    network.files.put(data, "read", code=CODE, segment_size=MIB)
    victim = deals(network, "read")[0]
    one_byte(shard_file(town, victim))
    with surge.connect(town.file) as reader, reader.files.open("read") as file:
        assert file.read(64) == data[:64]
    (kept,) = [each for each in network.files.status() if each.name == "read"]
    assert (kept.sound, kept.danger) == (4, "repair")
    assert [(each.what, each.shard) for each in network.files.repair("read")] == [("rebuilt", victim.shard)]
    (lost,) = [each for each in network.files.log("read") if each.what == "lost"]
    assert (lost.device, "not those of the shard" in lost.why) == (victim.device, True)
    (mended,) = [each for each in deals(network, "read") if each.shard == victim.shard]
    assert (mended.operator != victim.operator, mended.digest) == (True, victim.digest)
    assert network.files.read("read") == data


def test_what_a_repair_finds_spoiled_is_not_sound(network: surge.Network, town: Town) -> None:
    network.files.put(random.Random(6).randbytes(MIB), "worse", code=CODE, segment_size=MIB)
    rows = deals(network, "worse")
    for row in rows[3:]:
        shard_file(town, row).unlink()
    network.files.audit("worse")
    one_byte(shard_file(town, rows[1]))
    (failed,) = network.files.repair("worse")
    assert (failed.what, "too few" in failed.why) == ("failed", True)
    (kept,) = [each for each in network.files.status() if each.name == "worse"]
    assert (kept.sound, kept.danger) == (2, "endangered")
    assert rows[1].id in {each.id for each in deals(network, "worse", LOST)}
