"""Sharing on a whole network: a person reads what it was let into, and what comes after, until it is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas
import pytest

import stored_support
import surge
from network_support import COIN, Town
from surge.errors import InvalidInput, Unavailable
from surge.storage import objects
from surge.storage.service import StorageConfig
from surge.wallet import KeySigner

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
CODE = (2, 4)
MIB = 1 << 20


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=5, storage=CONFIG) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network


class Person:
    """Somebody with a wallet and a machine of their own."""

    def __init__(self, town: Town, folder: Path, number: int) -> None:
        self.key = KeySigner(bytes([number]) * 32)
        self.address = self.key.address
        self._town, self._folder = town, folder
        town.call(town.ledger.transfer(town.treasury, self.address, tokens=100 * 10**18, native=COIN))

    def connected(self, machine: str = "one") -> surge.Network:
        return surge.connect(self._town.file, wallet=self.key, home=self._folder / machine)


@pytest.fixture(scope="module")
def ann(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(town, tmp_path_factory.mktemp("ann"), 101)


@pytest.fixture(scope="module")
def ben(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(town, tmp_path_factory.mktemp("ben"), 102)


def test_a_person_without_any_shards_is_let_in_by_its_address(network: surge.Network, ann: Person, ben: Person, tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    network.files.put(data, "talk/slides.pdf", code=CODE, segment_size=MIB)
    with pytest.raises(InvalidInput, match="published no key"):
        network.files.share("talk/slides.pdf", ann.address)
    with ann.connected() as hers:
        hers.files.publish()
        link = network.files.share("talk/slides.pdf", ann.address)
        assert link.startswith("surge://share/0x")
        assert hers.files.accept(link) == "talk/slides.pdf"
        assert hers.files.get("talk/slides.pdf", tmp_path / "slides").read_bytes() == data
        assert hers.files.details("talk/slides.pdf").month == 0, "it is paid by whose it is"
        with ben.connected() as his, pytest.raises(InvalidInput, match="only whose it is shares it"):
            hers.files.share("talk/slides.pdf", key=his.files.key())
    with ann.connected("another machine") as hers:
        assert [each.name for each in hers.files.ls()] == ["talk/slides.pdf"]
        assert hers.files.read("talk/slides.pdf") == data
    assert network.files.stat("talk/slides.pdf").readers == (ann.address,)
    with ben.connected() as his, pytest.raises(InvalidInput, match="not shared with the wallet"):
        his.files.accept(link)


def test_a_key_handed_over_as_text_is_as_good(network: surge.Network, ben: Person) -> None:
    network.files.put(b"by hand", "hand", code=CODE)
    with ben.connected() as his:
        key = his.files.key()
        with pytest.raises(InvalidInput, match="this is no key"):
            network.files.share("hand", key=key[:-3])
        with pytest.raises(InvalidInput, match="not of"):
            network.files.share("hand", "0x" + "11" * 20, key=key)
        assert his.files.accept(network.files.share("hand", key=key), "from them") == "from them"
        assert his.files.read("from them") == b"by hand"
        his.files.mv("from them", "still theirs")
        assert his.files.read("still theirs") == b"by hand"
        assert his.files.rm("still theirs") == 0
        assert his.files.ls() == []
    assert network.files.read("hand") == b"by hand", "a reader only forgets the name"


def test_what_is_put_again_is_read_by_those_let_in(network: surge.Network, ben: Person) -> None:
    network.files.put(b"one", "news", code=CODE)
    with ben.connected() as his:
        name = his.files.accept(network.files.share("news", key=his.files.key()))
        network.files.put(b"the second", "news", code=CODE)
        network.files.mv("news", "old news")
        assert his.files.read(name) == b"the second"
        network.files.rm("old news")
        with pytest.raises(InvalidInput, match="not shared with you any more"):
            his.files.read(name)
        his.files.rm(name)


def test_who_is_left_out_reads_nothing_that_comes_and_the_others_do(network: surge.Network, town: Town, ann: Person, ben: Person) -> None:
    data = bytes(range(256)) * 9000
    network.files.put(data, "plans", code=CODE, segment_size=MIB)
    kept = sum(device.storage.shelf.totals[0] for device in town.devices if device.storage)
    with ann.connected() as hers, ben.connected() as his:
        for_ann = hers.files.accept(network.files.share("plans", key=hers.files.key()))
        for_ben = his.files.accept(network.files.share("plans", key=his.files.key()))
        assert his.files.read(for_ben) == data
        before = network.files.details("plans")
        stored = network.files.unshare("plans", ben.address)
        assert (stored.name, stored.size, stored.readers) == ("plans", len(data), (ann.address,))
        assert stored.expires == pytest.approx(before.stored.expires, abs=60)
        assert network.files.read("plans") == data
        assert hers.files.read(for_ann) == data
        with pytest.raises(InvalidInput, match="not shared with you any more"):
            his.files.read(for_ben)
        assert sum(device.storage.shelf.totals[0] for device in town.devices if device.storage) == kept, "the old shards are gone"
        with pytest.raises(InvalidInput, match="is not shared with"):
            network.files.unshare("plans", ben.address)


def test_who_was_being_left_out_is_told_nothing_when_that_was_cut_off(
    network: surge.Network, ann: Person, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.files.put(b"one", "plans", code=CODE)
    with ann.connected() as hers, ben.connected() as his:
        for_ann = hers.files.accept(network.files.share("plans", key=hers.files.key()))
        for_ben = his.files.accept(network.files.share("plans", key=his.files.key()))

        async def cut_off(*_: object, **__: object) -> None:
            raise Unavailable("the network is gone")

        with monkeypatch.context() as patch:
            patch.setattr(objects, "put", cut_off)
            with pytest.raises(Unavailable):
                network.files.unshare("plans", ben.address)
        network.files.put(b"the second", "plans", code=CODE)
        assert hers.files.read(for_ann) == b"the second"
        with pytest.raises(InvalidInput, match="not shared with you any more"):
            his.files.read(for_ben)
        assert network.files.unshare("plans", ben.address).readers == (ann.address,), "it is taken up"
        again = his.files.accept(network.files.share("plans", key=his.files.key()))
        assert his.files.read(again) == b"the second"


def test_a_name_that_is_taken_is_not_taken_over(network: surge.Network, ann: Person) -> None:
    network.files.put(b"theirs", "same", code=CODE)
    with ann.connected() as hers:
        hers.files.put(b"hers", "same", code=CODE)
        link = network.files.share("same", ann.address)
        with pytest.raises(InvalidInput, match="something else"):
            hers.files.accept(link, "same")
        assert hers.files.accept(link) == "same (2)"
        assert hers.files.accept(link) == "same (2)", "once is enough"
        assert (hers.files.read("same"), hers.files.read("same (2)")) == (b"hers", b"theirs")


@pytest.mark.parametrize("link", ["", "surge://share/", "https://share/0x11/22", "surge://share/0x" + "11" * 20 + "/" + "22" * 31])
def test_what_is_no_link_is_said(network: surge.Network, link: str) -> None:
    with pytest.raises(InvalidInput, match="is no share"):
        network.files.accept(link)


def test_the_examples_of_the_page_run(
    network: surge.Network, ben: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, town: Town
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text()
    section = page.partition("## Using it")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURGE_NETWORK", str(town.file))
    (tmp_path / "scan.tif").write_bytes(bytes(range(256)) * 40)
    with ben.connected() as theirs:
        known: dict[str, Any] = {"network": network, "pandas": pandas, "frame": pandas.DataFrame({"a": [1, 2]}), "theirs": theirs}
        network.files.put(b"ACGT", "genomes/one.fa")
        known["count"] = stored_support.count
        known |= {"key": theirs.files.key(), "address": ben.address}
        for block in blocks:
            exec(block, known)
    fsspec.filesystem("surge").close()
    assert known["letters"] == 4
    assert known["header"] == (bytes(range(256)) * 40)[1000:1064]
    assert known["data"] == bytes(range(256)) * 40
    assert (tmp_path / "back.tif").read_bytes() == known["data"]
    assert list(known["frame"]["a"]) == [1, 2]


def test_a_reader_maps_over_what_was_shared(network: surge.Network, ann: Person) -> None:
    network.files.put(b"ACGT" * 1000, "shared genome", code=CODE)
    link = network.files.share("shared genome", ann.address)
    with ann.connected() as hers:
        name = hers.files.accept(link)
        assert list(hers.map(stored_support.count, hers.files.glob(name))) == [4000]
