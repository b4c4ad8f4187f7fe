"""A delegate keeps what another stored: it audits, pays and mends, within its cap, and reads nothing; and a challenge costs a holder."""

from __future__ import annotations

import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from keeping_support import CODE, MIB, deals, device_of, eventually, shard_file, town_of
from network_support import Town
from surge.errors import InvalidInput, NotEnough, PeerFault
from surge.storage import charges
from surge.storage.keeper_maps import view
from surge.storage.maps import Map
from surge.storage.reading import Reader

CAP = 50 * 10**18


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path / "town") as town:
        yield town


def delegated(town: Town, bundle: Path) -> surge.Network:
    network = surge.connect(town.file, wallet=charges.read(bundle).signer)
    network.files.act_for(bundle)
    return network


def test_a_delegate_keeps_what_it_cannot_read(town: Town, tmp_path: Path) -> None:
    bundle, data = tmp_path / "keeper.bundle", random.Random(1).randbytes(2 * MIB)
    with surge.connect(town.file) as owner:
        owner.files.put(data, "secret", code=CODE, segment_size=MIB)
        made = owner.files.delegate(bundle, cap=CAP)
        assert (made.objects, made.tokens) == (1, CAP)
        assert owner.files.delegate(bundle, cap=CAP).tokens == 0, "up to the cap, and no further"
        files: Any = owner.files
        keys = files._call(lambda storage: storage.find("secret"))[1].keys
        victim, before = deals(owner, "secret")[0], deals(owner, "secret")
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert keys.content not in bundle.read_bytes()
    assert b"secret" not in bundle.read_bytes()

    began = sum(device.storage.tolls.earned for device in town.devices if device.storage)
    with delegated(town, bundle) as keeper:
        with pytest.raises(InvalidInput, match="nothing is stored"):
            keeper.files.read("secret")
        paid: list[int] = []
        keeper.files.keep(rounds=2, told=lambda audits, _: paid.append(sum(each.paid for each in audits)))
        assert len([each for each in paid if each]) == 2, "the owner is away, and holders are paid"
        eventually(lambda: sum(device.storage.tolls.earned for device in town.devices if device.storage) - began >= sum(paid))
        shard_file(town, victim).unlink()
        assert any(each.asked > each.passed for each in keeper.files.audit())
        assert [each.what for each in keeper.files.repair()] == ["rebuilt"]
        (charge,) = charges.read(bundle).charges
        assert charge.keys.content == charges.NO_KEY
        found: Any = keeper.files
        seen = found._call(lambda storage: view(storage, charge))
        with pytest.raises(PeerFault):  # it gets all the shards, and what is in them does not open
            found._call(lambda storage: Reader(storage.fleet, charge.keys, charge.header, Map(seen.pages, (1,))).segment(0))

    with surge.connect(town.file) as owner:
        assert owner.files.read("secret") == data
        assert all("not paid" not in each.why for each in owner.files.audit())
        owner.files.repair()
        after = deals(owner, "secret")
        assert len({row.id for row in before} & {row.id for row in after}) == len(before) - 1, "the owner learns what the delegate moved"
        assert victim.id not in {row.id for row in after}
        early = owner.files.undelegate()
        assert early.tokens > 0
        assert early.waiting > 0, "its channels are open"
        assert early.coin == 0, "which it needs to close them"

    with delegated(town, bundle) as keeper:
        ended = keeper.files.end_delegation()
        assert (ended.channels, ended.waiting) == (early.waiting, 0)
        assert ended.coin > 0
    with surge.connect(town.file) as owner, pytest.raises(InvalidInput, match="nobody's delegate"):
        owner.files.end_delegation()
    with surge.connect(town.file) as owner:
        assert owner.files.undelegate().waiting == 0


def test_a_bundle_is_for_its_network_and_wallet(town: Town, tmp_path: Path) -> None:
    bundle = tmp_path / "keeper.bundle"
    with surge.connect(town.file) as owner:
        owner.files.put(b"small", "small", code=CODE)
        with pytest.raises(NotEnough):
            owner.files.delegate(bundle, cap=10**30)
        owner.files.delegate(bundle, cap=CAP)
        with pytest.raises(InvalidInput, match="wallet of its own"):
            owner.files.act_for(bundle)
        assert owner.files.undelegate().tokens == CAP
    other = charges.read(bundle)
    charges.write(bundle, charges.Bundle(bytes(32), other.owner, other.wallet, other.charges))
    with surge.connect(town.file, wallet=other.signer) as keeper, pytest.raises(InvalidInput, match="another network"):
        keeper.files.act_for(bundle)


def test_who_pledged_and_proves_nothing_is_slashed(town: Town) -> None:
    with surge.connect(town.file) as network:
        network.files.put(random.Random(2).randbytes(MIB), "pledged", code=CODE, segment_size=MIB)
        victim = deals(network, "pledged")[0]
        operator = device_of(town, victim).operator
        town.call(town.ledger.transfer(town.treasury, operator.address, tokens=10**19))
        town.call(town.ledger.bonds.stake(operator, operator.address, 10**19))
        network.files.audit()
        shard_file(town, victim).unlink()
        network.files.audit()
        (opened,) = network.files.challenge("pledged")
        assert (opened.what, "does not have it" in opened.why) == ("challenged", True), opened

        def settled() -> Any:
            return [each for each in network.files.challenge("pledged") if each.what == "settled"]

        (over,) = eventually(settled)
        assert over.wei == victim.penalty
        assert "nobody answered" in over.why
        assert town.call(town.ledger.bonds.pool(operator.address)).bond == 10**19 - victim.penalty
        assert network.files.challenge("pledged") == [], "once"
