"""Offers and network files from strangers, each hostile case; and the match, with what excluded how many."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical, network, offers
from surge.core.offers import Constraints, Offer, SignedOffer
from surge.core.pricing import Prices
from surge.core.signing import personal_digest
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault
from surge.provider.config import Rates
from surge.wallet import KeySigner

DEVICE, OTHER = KeySigner(bytes(31) + b"\x07"), KeySigner(bytes(31) + b"\x08")
OPERATOR = address("0x" + "0a" * 20)
NOW = 1_800_000_000

OFFER = Offer(
    network=b"\x01" * 32,
    device=DEVICE.address,
    operator=OPERATOR,
    sequence=5,
    issued=NOW,
    expires=NOW + 300,
    prices=Prices(10, 20, 30, 40, 10**9),
    cores=2,
    memory=4 << 30,
    engine=b"\x02" * 32,
    engine_label="wasmtime-49.0.0 x86_64 01020304",
    images=(b"\x03" * 32,),
    services=("compute",),
    region="eu",
    milliwatts=15_000,
    relays=("nats://127.0.0.1:4222",),
    window=1,
    window_max=64,
    offline_seconds=3600,
    audit_seconds=60,
    opening=100,
    direct="203.0.112.7:4400",
)
SIGNED = offers.sign(OFFER, DEVICE)
ROW: list[Any] = canonical.decode(OFFER.encode())


def wire(row: Any, signer: KeySigner = DEVICE) -> bytes:
    """Bytes of an offer that was never checked, signed as a real one."""
    body = row if isinstance(row, bytes) else canonical.encode(row)
    return signer.sign(personal_digest(b"surge offer\n" + body)) + body


def test_an_offer_comes_back() -> None:
    assert offers.decode(SIGNED.encode(), now=NOW, network=OFFER.network) == SIGNED
    assert offers.decode(wire(ROW)) == SIGNED


def with_field(place: int, value: Any) -> list[Any]:
    return [*ROW[:place], value, *ROW[place + 1 :]]


HOSTILE: dict[str, Any] = {
    "no array": {},
    "an empty array": [],
    "a number": 7,
    "bytes that are not canonical": b"\x9f\xff",
    "a field missing": ROW[:-1],
    "a field too many": [*ROW, 0],
    "a future version": with_field(0, 5),
    "an older version": with_field(0, 1),
    "a version that is true": with_field(0, True),
    "a network of 31 bytes": with_field(1, bytes(31)),
    "a network of text": with_field(1, "1" * 32),
    "a device in capitals": with_field(2, DEVICE.address.upper().replace("0X", "0x")),
    "a device that is bytes": with_field(2, bytes(20)),
    "an operator that is none": with_field(3, "0x"),
    "a negative sequence": with_field(4, -1),
    "a sequence of 2^63": with_field(4, 1 << 63),
    "a sequence that is true": with_field(4, True),
    "an issue date of text": with_field(5, "now"),
    "an issue date of none": with_field(5, None),
    "an issue date far away": [*ROW[:5], 1 << 41, (1 << 41) + 5, *ROW[7:]],
    "an expiry before the issue": with_field(6, NOW),
    "a lifetime of an hour": with_field(6, NOW + 3600),
    "prices of four": with_field(7, [1, 2, 3, 4]),
    "prices of text": with_field(7, "12345"),
    "a price that is true": with_field(7, [True, 2, 3, 4, 5]),
    "a negative price": with_field(7, [-1, 2, 3, 4, 5]),
    "a price beyond 256 bits": with_field(7, [1 << 300, 2, 3, 4, 5]),
    "no speed": with_field(7, [1, 2, 3, 4, 0]),
    "no cores": with_field(8, 0),
    "a million cores": with_field(8, 10**6),
    "no memory": with_field(9, 0),
    "an engine of 33 bytes": with_field(10, bytes(33)),
    "an engine label that is no text": with_field(11, b"x"),
    "a label that moves the cursor": with_field(11, "\x1b[2J"),
    "a label of 257 characters": with_field(11, "x" * 257),
    "images that are text": with_field(12, "x"),
    "an image of text": with_field(12, ["x" * 32]),
    "65 images": with_field(12, [bytes(32)] * 65),
    "services of none": with_field(13, None),
    "a service that is a number": with_field(13, [1]),
    "a service that is a list": with_field(13, [["compute"]]),
    "33 services": with_field(13, ["s"] * 33),
    "a region with a line break": with_field(14, "eu\n"),
    "negative power": with_field(15, -1),
    "relays that are a map": with_field(16, {"nats://x": 1}),
    "no relay": with_field(16, []),
    "17 relays": with_field(16, ["nats://x"] * 17),
    "no window": with_field(17, 0),
    "a window beyond the greatest": with_field(17, 65),
    "a window of text": with_field(17, "1"),
    "a window of none": with_field(17, None),
    "a greatest window beyond all": with_field(18, 1025),
    "no offline time": with_field(19, 0),
    "no audit time": with_field(20, 0),
    "an audit time of centuries": with_field(20, 10**12),
    "a negative opening": with_field(21, -1),
    "an opening beyond all money": with_field(21, 10**37),
    "a negative retainer": with_field(22, -1),
    "a retainer beyond all prices": with_field(22, 10**30 + 1),
    "a retainer that is no number": with_field(22, True),
    "a direct address of none": with_field(25, None),
    "a direct address of bytes": with_field(25, b"203.0.112.7:4400"),
    "a direct address that is a name": with_field(25, "example.com:4400"),
    "a direct address of the cloud's own service": with_field(25, "169.254.169.254:80"),
    "a direct address of everybody": with_field(25, "224.0.0.1:4400"),
    "a direct address of a megabyte": with_field(25, "1" * 7000 + ":1"),
    "a direct address without a port": with_field(25, "203.0.112.7:0"),
}


@pytest.mark.parametrize("row", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_offer_is_a_peers_fault(row: Any) -> None:
    with pytest.raises(PeerFault, match="cannot be read"):
        offers.decode(wire(row))


@pytest.mark.parametrize(
    "data", [b"", bytes(65), bytes(66), SIGNED.encode()[:-1], SIGNED.encode() + b"\x00", SIGNED.encode() + bytes(9000)]
)
def test_a_truncated_or_oversized_offer_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        offers.decode(data)


def test_an_offer_signed_by_another_or_for_another_purpose_is_refused() -> None:
    with pytest.raises(PeerFault, match="signed by"):
        offers.decode(wire(ROW, OTHER))
    with pytest.raises(PeerFault, match="signed by"):
        offers.decode(DEVICE.sign(personal_digest(b"surge login\n" + OFFER.encode())) + OFFER.encode())
    with pytest.raises(PeerFault, match="signed by"):
        offers.decode(SIGNED.signature + replace(OFFER, sequence=6).encode())
    with pytest.raises(InvalidInput):
        offers.sign(OFFER, OTHER)


def test_an_offer_holds_for_its_time_and_network_only() -> None:
    data = SIGNED.encode()
    offers.decode(data, now=NOW + 299)
    offers.decode(data, now=NOW - 60)
    with pytest.raises(PeerFault, match="expired"):
        offers.decode(data, now=NOW + 300)
    with pytest.raises(PeerFault, match="future"):
        offers.decode(data, now=NOW - 61)
    with pytest.raises(PeerFault, match="another network"):
        offers.decode(data, network=bytes(32))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    wrong = bytearray(SIGNED.encode())
    place = data.draw(st.integers(0, len(wrong) - 1))
    wrong[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerFault):
        offers.decode(bytes(wrong))


def offer(**changes: Any) -> SignedOffer:
    return SignedOffer(replace(OFFER, **changes), b"")


@pytest.mark.parametrize(
    ("name", "constraints", "passing"),
    [
        ("service", Constraints(service="inference"), {"services": ("inference",)}),
        ("providers", Constraints(providers=frozenset({OTHER.address})), {"operator": OTHER.address}),
        ("excluded", Constraints(excluded=frozenset({OPERATOR})), {"operator": OTHER.address}),
        ("region", Constraints(region="us"), {"region": "us"}),
        ("max_price", Constraints(max_price=9), {"prices": Prices(9, 1, 0, 0, 10**9)}),
        ("memory", Constraints(memory=5 << 30), {"memory": 5 << 30}),
        ("engines", Constraints(engines=frozenset({bytes(32)})), {"engine": bytes(32)}),
        ("max_opening", Constraints(max_opening=99), {"opening": 99}),
        ("relays", Constraints(relays=frozenset({"tls://r:1"})), {"relays": ("nats://x:1", "tls://r:1")}),
    ],
)
def test_each_constraint_excludes_and_is_counted(name: str, constraints: Constraints, passing: dict[str, Any]) -> None:
    good = offer(**passing)
    found = offers.match([SIGNED, good, SIGNED], constraints)
    assert found.chosen == (good,)
    assert found.excluded == {name: 2}
    assert found.explain() == f"1 of 3 offers pass: {name} excluded 2"


def test_an_offer_counts_for_the_first_constraint_it_fails() -> None:
    found = offers.match([SIGNED, offer(region="us")], Constraints(region="us", max_price=1))
    assert (found.chosen, found.excluded) == ((), {"region": 1, "max_price": 1})
    assert offers.match([], Constraints()).explain() == "no provider offers anything here now"


def test_the_cheapest_comes_first_then_the_fastest() -> None:
    cheap, fast, slow = (offer(prices=Prices(price, 0, 0, 0, speed)) for price, speed in ((1, 1), (2, 9), (2, 3)))
    assert offers.cheapest([slow, fast, cheap]) == [cheap, fast, slow]


ORDINARY = Rates().prices(speed=10**9)
HIDDEN = [{"memory": 10**24}, {"transfer": 10**24}, {"compile": 10**24}, {"speed": 1}]


@pytest.mark.parametrize("change", HIDDEN)
def test_no_price_hides_behind_a_low_one_for_fuel(change: dict[str, int]) -> None:
    plain, trap = offer(prices=ORDINARY), offer(prices=replace(ORDINARY, gigafuel=ORDINARY.gigafuel // 2, **change))
    assert offers.cheapest([trap, plain]) == [plain, trap]
    found = offers.match([trap, plain], Constraints(max_price=ORDINARY.gigafuel))
    assert (found.chosen, found.excluded) == ((plain,), {"max_price": 1})


def test_the_bound_holds_for_units_as_large_as_the_job_asks() -> None:
    prices = replace(ORDINARY, memory=ORDINARY.gigafuel // 4)
    assert offers.match([offer(prices=prices)], Constraints(max_price=ORDINARY.gigafuel, memory=512 << 20)).chosen
    assert not offers.match([offer(prices=prices)], Constraints(max_price=ORDINARY.gigafuel, memory=2 << 30)).chosen


FILE: dict[str, Any] = {
    "version": 1,
    "name": "home",
    "kind": "embedded",
    "chain_id": 31337,
    "rpc": ["http://127.0.0.1:8545"],
    "contracts": {name: {"address": "0x" + "0c" * 20, "code_hash": "0x" + "1" * 64} for name in ("token", "registry", "bonds", "channels")},
    "relays": [{"url": "nats://127.0.0.1:4222", "address": "0x" + "0D" * 20}],
    "confirmations": 3,
}


def with_entry(path: str, value: Any) -> bytes:
    """The file with the entry at a dotted path replaced, or removed where the value is `...`."""
    document = json.loads(json.dumps(FILE))
    *way, last = path.split(".")
    inner = document
    for step in way:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(document).encode()


def test_a_network_may_have_a_court_emissions_and_challenges() -> None:
    plain = network.decode(json.dumps(FILE).encode())
    assert (plain.court, plain.emissions, plain.challenges) == (None, None, None)
    assert set(plain.contracts) == {"token", "registry", "bonds", "channels"}
    found = network.decode(with_entry("contracts.court", {"address": "0x" + "0F" * 20, "code_hash": "0x" + "2" * 64}))
    assert found.court == network.Contract(Address("0x" + "0f" * 20), b"\x22" * 32)
    assert found.contracts == {**plain.contracts, "court": found.court}
    assert network.decode(found.encode()) == found
    with pytest.raises(InvalidInput, match="no challenges"):
        found.challenges_domain  # noqa: B018
    found = network.decode(with_entry("contracts.challenges", {"address": "0x" + "0E" * 20, "code_hash": "0x" + "3" * 64}))
    assert found.contracts == {**plain.contracts, "challenges": network.Contract(Address("0x" + "0e" * 20), b"\x33" * 32)}
    assert (found.challenges_domain.name, found.challenges_domain.contract) == ("Surge challenges", "0x" + "0e" * 20)
    assert network.decode(found.encode()) == found


def test_a_network_file_comes_back() -> None:
    found = network.decode(json.dumps(FILE).encode())
    assert network.decode(found.encode()) == found
    assert found.relays[0].address == Address("0x" + "0d" * 20)
    assert found.channels_domain.chain_id == 31337
    assert found.network_id != network.decode(with_entry("chain_id", 31338)).network_id
    assert found.network_id != network.decode(with_entry("contracts.channels.address", "0x" + "0e" * 20)).network_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 2),
        ("version", True),
        ("version", 1.0),
        ("version", ...),
        ("name", ""),
        ("name", "x" * 65),
        ("name", "../../etc"),
        ("name", "\x1b[31mred"),
        ("name", 5),
        ("kind", "private"),
        ("kind", ...),
        ("chain_id", 0),
        ("chain_id", 1 << 63),
        ("chain_id", "1"),
        ("chain_id", True),
        ("chain_id", 1.5),
        ("rpc", []),
        ("rpc", "http://x"),
        ("rpc", ["file:///etc/passwd"]),
        ("rpc", ["http://"]),
        ("rpc", ["http://x:99999"]),
        ("rpc", ["http://[::1"]),
        ("rpc", ["http://x\n"]),
        ("rpc", [7]),
        ("rpc", ["http://" + "x" * 300]),
        ("rpc", ["http://x"] * 33),
        ("contracts", []),
        ("contracts.token", ...),
        ("contracts.bonds", ...),
        ("contracts.court", None),
        ("contracts.emissions", {"address": "0x" + "0c" * 20}),
        ("contracts.challenges", []),
        ("contracts.channels", "0x"),
        ("contracts.registry.address", "0x12"),
        ("contracts.registry.code_hash", "1" * 64),
        ("contracts.registry.code_hash", "0x" + "1" * 63),
        ("contracts.registry.code_hash", "0x" + "1" * 64 + "\n"),
        ("contracts.registry.code_hash", None),
        ("relays", {}),
        ("relays", []),
        ("relays", ["nats://x:1"]),
        ("relays", [{"url": "http://x:1", "address": "0x" + "0d" * 20}]),
        ("relays", [{"url": "nats://x:1"}]),
        ("relays", [{"url": "nats://x:1", "address": 5}]),
        ("confirmations", -1),
        ("confirmations", 10_001),
        ("confirmations", None),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_a_hostile_network_file_is_refused(path: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        network.decode(with_entry(path, value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{" * 10_000,
        b"[" * 60_000,
        b" " * 70_000,
        b'{"version": 1' + b"0" * 5000 + b"}",
        b'{"version": NaN}',
        b'{"version": "\\ud800"}',
    ],
    ids=lambda each: repr(each[:12]),
)
def test_what_is_no_network_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        network.decode(data)


@given(st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_no_network_file(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        network.decode(data)
