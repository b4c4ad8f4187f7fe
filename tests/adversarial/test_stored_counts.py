"""What devices and holders say that was read by permit: each alone and both together are paid no more than was permitted, and that once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

import surge
from network_support import Town
from stored_support import digest
from stored_town import CONFIG, SIZE, Overstating, Understating, count, counted, honest_again, opener, put, read_at, unpaid
from surge.core.messages.stored import Fetch
from surge.provider.stored import Key


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=4, storage=CONFIG) as town:
        yield town


@pytest.fixture
def network(town: Town) -> Iterator[surge.Network]:
    with surge.connect(town.file) as network:
        yield network
    honest_again(town)


def test_a_device_that_overstates_what_it_read_has_holders_paid_no_more_than_they_count(town: Town, network: surge.Network) -> None:
    want = put(network, "over", 2)
    network.files.settle()
    for device in town.devices:
        device.service.stored.opener = opener(device, Overstating)
    before, waits, counts = read_at(network, town), unpaid(town), counted(town)
    assert list(network.map(digest, network.files.glob("over/*"))) == want
    network.files.settle()
    after = read_at(network, town)
    fresh = {device: after.get(device, 0) - before.get(device, 0) for device in counts}
    assert all(0 <= fresh[device] <= waits[device] + sum(sizes) for device, sizes in counts.items()), fresh
    assert sum(fresh.values()) >= SIZE / 2


def test_a_holder_that_overcounts_is_paid_what_the_device_says(town: Town, network: surge.Network) -> None:
    want = put(network, "counts", 2)
    network.files.settle()
    before, sizes = read_at(network, town), dict[str, list[int]]()
    for device in town.devices:
        assert device.storage is not None
        count(device.storage.tolls, sizes.setdefault(device.address, []), times=3)
    assert list(network.map(digest, network.files.glob("counts/*"))) == want
    network.files.settle()
    after = read_at(network, town)
    assert {device: after.get(device, 0) - before.get(device, 0) for device in sizes} == {
        device: sum(each) for device, each in sizes.items()
    }


def test_a_device_and_a_holder_that_overstate_together_get_no_more_than_was_permitted(town: Town, network: surge.Network) -> None:
    want = put(network, "ring", 1)
    network.files.settle()
    before, permitted = read_at(network, town), list[int]()

    class Recording(Overstating):
        async def fetch(self, asked: Fetch, to: Path) -> Sequence[tuple[str, int]]:
            permitted.extend(permit.size for permit in asked.permits)
            return await super().fetch(asked, to)

    for device in town.devices:
        assert device.storage is not None
        device.service.stored.opener = opener(device, Recording)
        count(device.storage.tolls, [], times=5)
    assert list(network.map(digest, network.files.glob("ring/*"))) == want
    network.files.settle()
    assert 0 < sum(read_at(network, town).values()) - sum(before.values()) <= sum(permitted)


def test_a_device_that_bills_a_file_and_says_it_read_nothing_is_used_no_more(town: Town) -> None:
    with surge.connect(town.file) as network:
        want = put(network, "under", 8)
        network.files.settle()
        liar = town.devices[1]
        liar.service.stored.opener = opener(liar, Understating)
        before = unpaid(town)
        results = network.map(digest, network.files.glob("under/*"), chunk=1)
        assert list(results) == want
        network.files.settle()
        assert liar.address not in results.progress.units
        waits = sum(unpaid(town).values()) - sum(before.values())
        assert 0 < waits <= 8 * len(town.devices) * SIZE, "what it read waits in the channel's window, which is bounded"
        liar.service.stored.opener = opener(liar)


def test_a_device_and_holders_that_repeat_what_they_read_for_each_unit_are_paid_for_it_once(town: Town, network: surge.Network) -> None:
    want = put(network, "one", 1)
    network.files.settle()
    before, permitted = read_at(network, town), list[int]()
    for device in town.devices:
        assert device.storage is not None
        count(device.storage.tolls, [], times=100)

        async def bring(
            key: Key, asked: Fetch, honest: Callable[..., Awaitable[object]] = device.service.stored.bring
        ) -> list[tuple[str, int]]:
            await honest(key, asked)
            permitted.append(sum(each.size for each in asked.permits))
            return [(each.holder, each.size) for each in asked.permits]

        device.service.stored.bring = bring  # type: ignore[assignment]
    (name,) = network.files.glob("one/*")
    assert list(network.map(digest, [name] * 12, chunk=1)) == want * 12
    network.files.settle()
    paid = sum(read_at(network, town).values()) - sum(before.values())
    assert 0 < paid <= len(town.devices) * max(permitted)
