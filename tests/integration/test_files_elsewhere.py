"""Names that change: on a new machine, on two at once, and while something is put."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from network_support import Town
from surge.errors import InvalidInput
from surge.storage import client, objects, sharing
from surge.storage.service import StorageConfig
from surge.wallet import Keystore

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (2, 4)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=5, storage=CONFIG) as town:
        yield town


def machine(town: Town, folder: Path) -> surge.Network:
    """A machine that has the wallet's key and nothing else."""
    return surge.connect(town.file, wallet=Keystore(town.folder / "buyer" / "wallet").load("buyer"), home=folder)


def kept(town: Town) -> int:
    return sum(device.storage.shelf.totals[0] for device in town.devices if device.storage)


def test_a_wallet_restored_on_a_new_machine_has_everything(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"folder/{number}": bytes([number]) * 1000 * number for number in range(5)} | {"ünï 🎈": b"text"}
    (tmp_path / "packed" / "in").mkdir(parents=True)
    (tmp_path / "packed" / "in" / "file").write_bytes(b"packed")
    with machine(town, tmp_path / "old") as old:
        for name, data in names.items():
            old.files.put(data, name, code=CODE)
        old.files.put(tmp_path / "packed", code=CODE)
    before = kept(town)
    with machine(town, tmp_path / "new") as new:
        assert [each.name for each in new.files.ls()] == sorted([*names, "packed"])
        for name, data in names.items():
            assert new.files.get(name, tmp_path / "got").read_bytes() == data
        assert new.files.read("packed/in/file") == b"packed"
        assert new.files.rm("folder/1") == 4
        assert kept(town) == before - 4
        new.files.put(b"changed", "folder/2", code=CODE)
        assert kept(town) == before - 4, "what it replaces is dropped, though another machine put it"
        new.files.mv("folder/3", "renamed")
    with machine(town, tmp_path / "third") as third:

        async def read(*_: object) -> None:
            raise AssertionError("no map is needed to know where names are left")

        with monkeypatch.context() as blind:
            blind.setattr(client, "read_map", read)
            third.files.put(b"first thing there", "another", code=CODE)
        assert third.files.read("folder/2") == b"changed"
    with machine(town, tmp_path / "old") as old:
        assert old.files.read("renamed") == names["folder/3"]
        assert old.files.read("another") == b"first thing there"
        with pytest.raises(InvalidInput, match="nothing is stored"):
            old.files.read("folder/1")


def test_a_machine_that_asks_again_and_again_is_answered(town: Town, tmp_path: Path) -> None:
    with machine(town, tmp_path / "asks") as network:
        for _ in range(30):
            network.files.ls()


def test_what_two_machines_put_under_one_name_at_once_is_all_there(town: Town, tmp_path: Path) -> None:
    with machine(town, tmp_path / "one") as one, machine(town, tmp_path / "two") as two:
        together = threading.Barrier(2)
        failed: list[BaseException] = []

        def meet(_: int) -> None:
            together.wait(60)

        def put(network: surge.Network, data: bytes) -> None:
            """Neither names what it put before the other has seen that nothing has the name."""
            try:
                network.files.put(data, "report.txt", code=CODE, told=meet)
            except BaseException as error:
                failed.append(error)

        writers = [threading.Thread(target=put, args=each) for each in ((one, b"of one"), (two, b"of two"))]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
        assert not failed
        for network in (one, two):
            found = [each.name for each in network.files.ls() if each.name.startswith("report")]
            assert found == ["report (2).txt", "report.txt"]
            assert {network.files.read(name) for name in found} == {b"of one", b"of two"}


class Cut(Exception):
    pass


def test_a_put_that_is_cut_off_once_it_has_its_name_goes_on(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept(town)
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"the second")
    with machine(town, tmp_path / "home") as network:
        network.files.put(tmp_path / "one", "cut", code=CODE)

        async def cut(*_: object) -> None:
            raise Cut

        with monkeypatch.context() as broken:
            broken.setattr(sharing, "tell_all", cut)
            with pytest.raises(Cut):
                network.files.put(tmp_path / "two", "cut", code=CODE)
        assert kept(town) == before + 8
        assert network.files.read("cut") == b"the second"
    with machine(town, tmp_path / "home") as network:
        network.files.put(tmp_path / "two", "cut", code=CODE)
        assert network.files.read("cut") == b"the second"
        assert kept(town) == before + 4, "what it replaces is dropped, and itself is not"


def test_what_gets_another_name_while_its_own_is_taken_stays(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_map = objects.write_map
    with machine(town, tmp_path / "one") as one, machine(town, tmp_path / "two") as two:
        one.files.put(b"first", "taken", code=CODE)

        async def meanwhile(*about: Any) -> None:
            await asyncio.to_thread(two.files.mv, "taken", "kept")
            await write_map(*about)

        monkeypatch.setattr(objects, "write_map", meanwhile)
        one.files.put(b"second", "taken", code=CODE)
        assert (one.files.read("taken"), one.files.read("kept")) == (b"second", b"first")
        assert two.files.get("kept", tmp_path / "got").read_bytes() == b"first"
