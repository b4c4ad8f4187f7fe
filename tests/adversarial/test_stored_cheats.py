"""Maps over stored files with devices, holders and buyers that cheat: results are right, what was not read is not paid, nothing leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import surge
from lying_services import WrongOutput
from network_support import Device, Town
from stored_support import digest, slow_digest
from stored_town import CONFIG, MIB, honest_again, put
from surge.buyer.calls import Question, Refused, answer_to
from surge.buyer.peers import Peer
from surge.core.messages import encode_body
from surge.core.messages.stored import Fetch, Fetched, SegmentField, decode_fetched
from surge.core.receipts import ReceiptKind
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.provider import waste


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=4, storage=CONFIG) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network
    honest_again(town)


# Results


def test_a_device_that_lies_about_what_it_read_in_a_file_is_caught(tmp_path: Path) -> None:
    with Town(tmp_path, providers=4, strangers=True, liars=[WrongOutput], storage=CONFIG) as town, surge.connect(town.file) as network:
        want = put(network, "files", 4)
        results = network.map(digest, network.files.glob("files/*"), chunk=1)
        assert list(results) == want
        liar = town.devices[0].address
        assert {each["provider"] for each in network.audits(results.job).wrong} == {liar}
        assert results.progress.caught == 1
        hows = {how for (how,) in network._client.journal.read_now("SELECT DISTINCT how FROM audits", ())}
        assert hows <= {"elsewhere", "here"}, "by devices of others, who read the file for themselves, or here where they do not come to it"


def test_copies_of_a_unit_read_the_same_bytes(tmp_path: Path) -> None:
    with Town(tmp_path, providers=4, strangers=True, storage=CONFIG) as town, surge.connect(town.file) as network:
        want = put(network, "files", 3)
        results = network.map(digest, network.files.glob("files/*"), copies=2)
        assert list(results) == want
        assert sum(results.progress.units.values()) >= 6
        network.files.put(b"few bytes", "few")
        few = network.map(digest, network.files.glob("few"))
        assert list(few) == [(hashlib.sha256(b"few bytes").hexdigest(), "few")]
        hows = network._client.journal.read_now("SELECT how FROM audits WHERE job = ?", (bytes.fromhex(few.job),))
        assert hows == [("here",)], "a small file is read here to check what was said of it"
        disputed = next(row for row in network.receipts(results.job) if row["kind"] == ReceiptKind.UNIT)
        with pytest.raises(InvalidInput, match="reads stored files, which jurors have no way to read"):
            network.dispute(disputed["receipt"], bytes(32), 1)


# Holders


def garble(device: Device) -> None:
    """It sends other bytes of the same number from now on, to others and to itself."""
    assert device.storage is not None
    shelf = device.storage.shelf
    honest = shelf.read

    async def read(deal: bytes, first: int, count: int) -> tuple[bytes, bytes]:
        data, proof = await honest(deal, first, count)
        return bytes(len(data)), proof

    shelf.read = read  # type: ignore[method-assign]


def test_a_holder_that_sends_garbage_is_not_believed_and_the_others_suffice(town: Town, network: surge.Network) -> None:
    want = put(network, "garbage")
    garble(town.devices[0])
    garble(town.devices[2])
    assert list(network.map(digest, network.files.glob("garbage/*"))) == want


def test_a_file_that_too_few_holders_give_fails_in_words(town: Town, network: surge.Network) -> None:
    put(network, "lost", 1)
    for device in town.devices[:3]:
        garble(device)
    with pytest.raises(surge.GuestFault, match=r"'lost/00' cannot be read here now: .* of the 2 shards that it takes came"):
        list(network.map(digest, network.files.glob("lost/*")))


def test_a_holder_that_goes_and_a_device_that_goes_half_way_leave_the_rest_to_others(tmp_path: Path) -> None:
    with Town(tmp_path, providers=5, storage=CONFIG) as town, surge.connect(town.file) as network:
        want = put(network, "files", 12)
        results = network.map(slow_digest, network.files.glob("files/*"), chunk=1)
        found = [next(results), next(results)]
        town.call(town.devices[1].stop())
        assert found + list(results) == want


def test_a_buyer_that_was_cut_off_goes_on(town: Town) -> None:
    with surge.connect(town.file) as network:
        want = put(network, "again", 8)
        results = network.map(slow_digest, network.files.glob("again/*"), chunk=1, providers=1)
        first = [next(results)]
        job = results.job
    assert first == want[:1]
    with surge.connect(town.file) as network:
        assert list(network.resume(job)) == want
    with surge.connect(town.file) as network:
        results = network.map(slow_digest, network.files.glob("again/*"), chunk=1, providers=1)
        next(results)
        job = results.job
    with surge.connect(town.file) as network:
        for name in network.files.glob("again/*"):
            network.files.rm(name)
        with pytest.raises(InvalidInput, match=r"what was stored as 'again/\d\d' is gone"):
            list(network.resume(job))


# Buyers


async def asked(network: surge.Network, town: Town, name: str, device: Device) -> tuple[Peer, Fetch]:
    """A session with a device, and what an honest buyer would send it for a file."""
    client = network._client
    assert client.stored is not None
    part = await network.files._openings.part(name)
    fetch = await client.stored.opening(part, bytes(32), Address(device.address))
    market = await client.market()
    return market.peers[Address(device.address)], fetch


def changed(fetch: Fetch, **changes: Any) -> Fetch:
    fields = {name: getattr(fetch, name) for name in fetch.__struct_fields__}
    return Fetch(**{**fields, **changes})


def opening(fetch: Fetch, **changes: Any) -> Fetch:
    fields = {name: getattr(fetch.opening, name) for name in fetch.opening.__struct_fields__}
    return changed(fetch, opening=type(fetch.opening)(**{**fields, **changes}))


def rooted(fetch: Fetch) -> Fetch:
    """With roots of something else."""
    segments = [
        SegmentField(each.number, [type(shard)(shard.index, shard.device, shard.deal, bytes(32)) for shard in each.shards])
        for each in fetch.opening.segments
    ]
    return opening(fetch, segments=segments)


def twice(fetch: Fetch) -> Fetch:
    """With one shard in two places."""
    (segment, *_) = fetch.opening.segments
    return opening(fetch, segments=[SegmentField(segment.number, [segment.shards[0], segment.shards[0]]), *fetch.opening.segments[1:]])


CROOKED: dict[str, tuple[Callable[[Fetch], Fetch], str, str]] = {
    "a larger object": (lambda fetch: changed(fetch, size=10 * MIB), "local", "cannot be read|does not open"),
    "a part beyond it": (lambda fetch: changed(fetch, length=fetch.size + 1), "invalid", "no part of an object"),
    "a name that leads out": (lambda fetch: changed(fetch, name="../../etc/passwd"), "invalid", "no name of a stored file"),
    "more than is taken": (lambda fetch: changed(fetch, size=1 << 40, length=1 << 40), "invalid", "is more than the"),
    "no segments": (lambda fetch: opening(fetch, segments=[]), "invalid", "not those of the part"),
    "a code that is none": (lambda fetch: opening(fetch, k=40), "invalid", "no code makes"),
    "segments of no size": (lambda fetch: opening(fetch, segment_size=3), "invalid", "a power of two"),
    "a shard twice": (twice, "invalid", "sent twice"),
    "other roots": (rooted, "local", "cannot be read here now"),
    "another key": (lambda fetch: opening(fetch, key=bytes(32)), "local", "does not open"),
    "another mask": (lambda fetch: opening(fetch, mask=bytes(32)), "local", "does not open"),
    "no permits": (lambda fetch: changed(fetch, permits=[]), "local", "cannot be read here now"),
}


@pytest.mark.parametrize("name", CROOKED)
def test_what_opens_no_stored_file_is_refused_and_leaves_nothing(town: Town, network: surge.Network, name: str) -> None:
    make, code, words = CROOKED[name]
    put(network, "crooked", 1)
    device = town.devices[3]
    before = device.service.stored._reserved

    async def attack() -> Refused:
        peer, fetch = await asked(network, town, "crooked/00", device)
        with pytest.raises(Refused, match=words) as refused:
            await answer_to(peer, Question("fetch", encode_body(make(fetch))), 60)
        return refused.value

    assert network._background.call(attack()).code == code
    assert device.service.stored._reserved == before
    assert network._background.call(_brings(network, town, device)), "an honest call is answered"


async def _brings(network: surge.Network, town: Town, device: Device) -> Fetched:
    peer, fetch = await asked(network, town, "crooked/00", device)
    return decode_fetched((await answer_to(peer, Question("fetch", encode_body(fetch)), 60)).body)


def test_a_buyer_whose_files_never_come_is_brought_none_for_a_while(
    town: Town, network: surge.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(network, "crooked", 1)
    device = town.devices[2]
    device.service.waste = waste.Waste()
    monkeypatch.setattr(waste, "GRANTED", 2.5)

    async def attack() -> list[str]:
        codes = []
        for number in range(4):
            peer, fetch = await asked(network, town, "crooked/00", device)
            with pytest.raises(Refused) as refused:
                await answer_to(peer, Question("fetch", encode_body(changed(fetch, permits=[], job=bytes([number]) * 32))), 60)
            codes.append(refused.value.code)
        return codes

    device.service.stored._here.clear()
    assert network._background.call(attack()) == ["local", "local", "local", "busy"]
    device.service.waste = waste.Waste()


def test_a_permit_for_another_device_opens_nothing(town: Town, network: surge.Network) -> None:
    put(network, "crooked", 1)

    async def attack() -> str:
        peer, _ = await asked(network, town, "crooked/00", town.devices[0])
        _, fetch = await asked(network, town, "crooked/00", town.devices[1])
        fresh = changed(fetch, object=fetch.object, job=b"j" * 32)
        town.devices[0].service.stored._here.clear()
        with pytest.raises(Refused, match=r"this permits .* nothing here") as refused:
            await answer_to(peer, Question("fetch", encode_body(fresh)), 60)
        return refused.value.code

    assert network._background.call(attack()) == "local"


# Keys


def test_no_key_is_in_what_is_kept_or_shown(town: Town, tmp_path: Path) -> None:
    with surge.connect(town.file) as network:
        want = put(network, "secret", 3)
        names = network.files.glob("secret/*")
        results = network.map(digest, names)
        assert list(results) == want

        async def keys() -> list[bytes]:
            names = await (await network.files._opened()).book.read()
            found = [entry.keys for name, entry in names.items() if name.startswith("secret/") and entry.keys is not None]
            return [secret for each in found for secret in (each.content, each.mask, each.map)]

        secrets = network._background.call(keys())
        assert len(secrets) == 9
        unit = next(row for row in network.receipts(results.job) if row["kind"] == ReceiptKind.UNIT)
        network.export_case(unit["receipt"], tmp_path / "case", inputs=True)
        (first, *_) = [name.resolved().object for name in names]
    kept = [path for place in ("providers", "buyer") for path in (town.folder / place).rglob("*") if path.is_file()]
    files = [path for path in kept if not path.name.startswith("files.db")]  # which is the owner's, of what it stored
    files.append(tmp_path / "case")
    read = {path: path.read_bytes() for path in files}
    assert any(first in data for path, data in read.items() if "buyer" in path.parts), "what may be written down is found where it is"
    for path, data in read.items():
        for secret in secrets:
            assert secret not in data, path
            assert secret.hex().encode() not in data, path
