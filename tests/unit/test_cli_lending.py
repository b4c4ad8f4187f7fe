"""What `surge provide` lends of its disk: options, warnings, and what a `surge up` lends unasked."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from provider_world import NETWORK
from surge.cli import lending
from surge.cli.console import Size
from surge.core.eip712 import challenges_domain
from surge.core.network import Contract
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.provider.status import stands
from surge.storage.service import StorageConfig, pledge_domain

Usage = namedtuple("Usage", "total used free")


def asked(**options: Any) -> dict[str, Any]:
    return {"storage": 0, "storage_price": lending.PRICE, "leave": False, **options}


def test_nothing_is_lent_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lending.storage_config(asked(), tmp_path) is None
    assert not capsys.readouterr().err
    (tmp_path / "index.db").touch()
    assert lending.storage_config(asked(), tmp_path) is None
    assert "shards of others lie in" in capsys.readouterr().err


def test_disk_is_lent_at_a_price(tmp_path: Path) -> None:
    room = Size().convert("50GB", None, None)
    assert lending.storage_config(asked(storage=room), tmp_path) == StorageConfig(50 << 30, 2 * 10**15)
    with pytest.raises(InvalidInput, match="more than 0"):
        lending.storage_config(asked(storage=room, storage_price=0), tmp_path)


def test_who_leaves_had_something(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to leave"):
        lending.storage_config(asked(leave=True), tmp_path)
    (tmp_path / "index.db").touch()
    config = lending.storage_config(asked(leave=True), tmp_path)
    assert config is not None
    assert config.leaving


@pytest.mark.parametrize(("free", "providers", "lent"), [(100 << 30, 4, 4 << 30), (8 << 30, 4, 1 << 29), (8 << 30, 0, 2 << 30), (0, 4, 0)])
def test_the_providers_of_a_network_on_one_machine_share_a_part_of_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, providers: int, lent: int
) -> None:
    monkeypatch.setattr(lending.shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free))
    assert lending.usual_room(tmp_path / "new", providers) == lent


def test_pledges_hold_at_the_networks_challenges() -> None:
    from dataclasses import replace

    where = Address("0x" + "77" * 20)
    assert pledge_domain(replace(NETWORK, challenges=Contract(where, bytes(32)))) == challenges_domain(NETWORK.chain_id, where)
    assert pledge_domain(NETWORK) == challenges_domain(NETWORK.chain_id, Address("0x" + "00" * 20))


def test_how_a_device_stands_says_what_it_keeps() -> None:
    disk = {"shards": 2, "kept": 3 * 10**9, "free": 0, "room": 50 * 10**9, "leaving": True, "earned": 7}
    said = stands({"at": 100, "waiting": "", "earnings_wait_for": "", "lends": {"storage": disk}}, 100)
    assert said == "it works; it keeps 2 shards (3.00 GB of 50.00 GB lent) and leaves, which earned 7 wei"
