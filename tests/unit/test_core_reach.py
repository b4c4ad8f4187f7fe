"""Direct addresses: how they are written, and which of them anybody is sent to, whatever a device hopes to gain by lying."""

from __future__ import annotations

from typing import Any

import pytest

from surge.core.reach import MOST, DirectAddress, is_public, may_dial, parse
from surge.errors import InvalidInput

PUBLIC = ["8.8.8.8:443", "203.0.112.7:1", "223.255.255.254:65535", "[2600::1]:4400", "[2a02:1:2:3:4:5:6:7]:65535"]
INNER = {
    "127.0.0.1:4400": ("nats://127.0.0.1:4222", "nats://localhost:4222", "tls://[::1]:4222"),
    "[::1]:4400": ("nats://127.0.0.1:4222",),
    "10.1.2.3:80": ("nats://10.200.0.1:4222",),
    "172.31.255.254:80": ("nats://172.16.0.1:4222",),
    "192.168.1.1:80": ("tls://192.168.7.7:4222",),
    "100.64.0.1:80": ("nats://100.127.0.1:4222",),
    "[fd00::1]:80": ("nats://[fdff::2]:4222",),
}
ELSEWHERE = ("nats://relay.example:4222", "nats://8.8.8.8:4222", "nats://[2600::1]:4222", "nats://169.254.1.1:4222", "nats://", "[")


@pytest.mark.parametrize("text", [*PUBLIC, *INNER])
def test_an_address_comes_back_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":80", "8.8.8.8", "8.8.8.8:", "8.8.8.8:0", "8.8.8.8:65536", "8.8.8.8:-1", "8.8.8.8:+80", "8.8.8.8:080", "8.8.8.8: 80",
        "8.8.8.8:8_0", "8.8.8.8:\u0663", " 8.8.8.8:80", "8.8.8.8:80\n", "08.8.8.8:80", "8.8.8:80", "0x08080808:80", "134744072:80",
        "[8.8.8.8]:80", "2600::1:80", "[2600:0::1]:80", "[2600::A]:80", "[2600::1]80", "2600::1]:80", "example.com:80", "localhost:80",
        "tcp://8.8.8.8:80", "8.8.8.8:80/", "8.8.8.8:80,9.9.9.9:80", "user@8.8.8.8:80", "[2600::1%eth0]:80", "1" * (MOST + 1), "1" * 10**6,
        None, 7, b"8.8.8.8:80", ["8.8.8.8:80"],
    ],
)  # fmt: skip
def test_what_is_written_otherwise_is_no_address(text: Any) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:80", "169.254.169.254:80", "224.0.0.1:80", "239.255.255.250:1900", "255.255.255.255:80", "240.0.0.1:80", "192.0.2.1:80",
        "198.18.0.1:80", "[::]:80", "[fe80::1]:80", "[fe80::1%1]:80", "[fd00::1%1]:80", "[ff02::1]:80", "[fec0::1]:80", "[2001:db8::1]:80",
        "[::ffff:7f00:1]:80", "[::7f00:1]:80", "[64:ff9b::7f00:1]:80", "[64:ff9b:1::a00:1]:80", "[2002:7f00:1::]:80", "[2001::1]:80",
    ],
)  # fmt: skip
def test_nobody_is_reached_at_many_addresses_nor_at_inner_ones_in_disguise(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


def test_the_longest_address_fits() -> None:
    longest = "[2600:1111:2222:3333:4444:5555:6666:7777]:65535"
    assert len(longest) == MOST
    assert parse(longest).port == 65535


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_dialled_wherever_the_relays_are(text: str) -> None:
    assert is_public(parse(text).host)
    assert may_dial(parse(text), [])
    assert may_dial(parse(text), ["nats://127.0.0.1:4222"])


@pytest.mark.parametrize("text", INNER)
def test_an_inner_address_is_dialled_only_where_a_relay_is_in_the_same_network(text: str) -> None:
    address = parse(text)
    assert not is_public(address.host)
    assert not may_dial(address, [])
    assert not may_dial(address, ELSEWHERE)
    for other, relays in INNER.items():
        here = other == text or {other, text} == {"127.0.0.1:4400", "[::1]:4400"}
        for relay in relays:
            assert may_dial(address, [relay]) == here
            assert may_dial(address, [*ELSEWHERE, relay]) == here


def test_an_address_that_was_never_parsed_is_dialled_nowhere_it_should_not_be() -> None:
    from ipaddress import ip_address

    for host in ("169.254.169.254", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "fe80::1"):
        assert not may_dial(DirectAddress(ip_address(host), 80), ["nats://127.0.0.1:4222", "nats://169.254.1.1:4222", "nats://[fe80::2]:1"])
