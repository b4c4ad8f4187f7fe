from __future__ import annotations

import msgspec
import pytest

from relay_support import BUYER, BUYER_SESSION, DEVICE, NETWORK, STRANGER
from surge.errors import InvalidInput, PeerFault
from surge.relay.client.handshake import MAX_CONTEXT, MAX_HANDSHAKE, VERSION, Caller, Parties, answer_hello, read_hello

PARTIES = Parties(NETWORK, BUYER.address, DEVICE.address)


def hello_fields(hello: bytes) -> list[bytes]:
    fields = msgspec.msgpack.decode(hello[1:])
    assert isinstance(fields, list)
    return fields


def with_field(wire: bytes, place: int, value: object) -> bytes:
    fields = msgspec.msgpack.decode(wire[1:])
    fields[place] = value
    return wire[:1] + msgspec.msgpack.encode(fields)


def test_both_sides_get_the_same_keys_one_per_direction() -> None:
    caller = Caller(PARTIES, BUYER_SESSION, b"terms")
    hello = read_hello(caller.hello, PARTIES)
    assert (hello.caller, hello.context) == (BUYER_SESSION.address, b"terms")
    answer, keys = answer_hello(hello, PARTIES, DEVICE)
    assert caller.finish(answer) == keys
    assert keys.to_caller != keys.to_listener


def test_every_handshake_has_keys_of_its_own() -> None:
    hello = read_hello(Caller(PARTIES, BUYER_SESSION, b"").hello, PARTIES)
    seen = {answer_hello(hello, PARTIES, DEVICE)[1] for _ in range(3)}
    assert len(seen) == 3


@pytest.mark.parametrize(
    "parties",
    [
        Parties(b"\x08" * 32, BUYER.address, DEVICE.address),
        Parties(NETWORK, STRANGER.address, DEVICE.address),
        Parties(NETWORK, BUYER.address, STRANGER.address),
    ],
    ids=["other network", "other login", "other device"],
)
def test_a_hello_is_good_between_its_parties_only(parties: Parties) -> None:
    hello = Caller(PARTIES, BUYER_SESSION, b"").hello
    with pytest.raises(PeerFault):
        read_hello(hello, parties)


@pytest.mark.parametrize("place", range(6))
def test_no_field_of_a_hello_can_be_changed(place: int) -> None:
    hello = Caller(PARTIES, BUYER_SESSION, b"context").hello
    value = hello_fields(hello)[place]
    changed = STRANGER.address if place == 1 else bytes([value[0] ^ 1]) + value[1:]
    with pytest.raises(PeerFault):
        read_hello(with_field(hello, place, changed), PARTIES)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x01",
        b"\x01\xc0",
        b"\x01" + msgspec.msgpack.encode([1, 2, 3]),
        bytes(MAX_HANDSHAKE + 1),
    ],
)
def test_malformed_hellos_are_refused(wire: bytes) -> None:
    with pytest.raises(PeerFault):
        read_hello(wire, PARTIES)


def test_a_hello_cut_anywhere_is_refused() -> None:
    hello = Caller(PARTIES, BUYER_SESSION, b"context").hello
    for end in range(len(hello)):
        with pytest.raises(PeerFault):
            read_hello(hello[:end], PARTIES)


def test_a_future_version_is_refused_by_name() -> None:
    hello = Caller(PARTIES, BUYER_SESSION, b"").hello
    with pytest.raises(PeerFault, match=f"version {VERSION + 1}.*speaks {VERSION}"):
        read_hello(bytes([VERSION + 1]) + hello[1:], PARTIES)


def test_a_context_may_not_be_larger_than_the_limit() -> None:
    read_hello(Caller(PARTIES, BUYER_SESSION, bytes(MAX_CONTEXT)).hello, PARTIES)
    with pytest.raises(InvalidInput):
        Caller(PARTIES, BUYER_SESSION, bytes(MAX_CONTEXT + 1))


def test_an_answer_by_another_key_than_the_devices_is_refused() -> None:
    caller = Caller(PARTIES, BUYER_SESSION, b"")
    answer, _ = answer_hello(read_hello(caller.hello, PARTIES), PARTIES, STRANGER)
    with pytest.raises(PeerFault, match="another key"):
        caller.finish(answer)


@pytest.mark.parametrize("place", range(4))
def test_no_field_of_an_answer_can_be_changed(place: int) -> None:
    caller = Caller(PARTIES, BUYER_SESSION, b"")
    answer, _ = answer_hello(read_hello(caller.hello, PARTIES), PARTIES, DEVICE)
    value = msgspec.msgpack.decode(answer[1:])[place]
    with pytest.raises(PeerFault):
        caller.finish(with_field(answer, place, bytes([value[0] ^ 1]) + value[1:]))


def test_an_answer_to_another_hello_is_refused() -> None:
    first, second = (Caller(PARTIES, BUYER_SESSION, b"") for _ in range(2))
    answer, _ = answer_hello(read_hello(first.hello, PARTIES), PARTIES, DEVICE)
    with pytest.raises(PeerFault):
        second.finish(answer)


def test_a_key_of_small_order_is_refused() -> None:
    hello = read_hello(Caller(PARTIES, BUYER_SESSION, b"").hello, PARTIES)
    weak = type(hello)(hello.caller, bytes(32), hello.nonce, hello.context, hello.wire)
    with pytest.raises(PeerFault, match="X25519"):
        answer_hello(weak, PARTIES, DEVICE)


def test_the_signature_of_a_hello_is_not_one_of_an_answer() -> None:
    """The purposes differ: a device that can be made to say hello has not said an answer."""
    parties = Parties(NETWORK, DEVICE.address, DEVICE.address)
    caller = Caller(parties, DEVICE, b"")
    signature = hello_fields(caller.hello)[5]
    answer, _ = answer_hello(read_hello(caller.hello, parties), parties, DEVICE)
    with pytest.raises(PeerFault):
        caller.finish(with_field(answer, 2, signature))
