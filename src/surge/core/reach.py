"""Direct addresses: where a device can be reached without a relay, and which of them anybody may be sent to.

A device states its address itself, and whoever wants it connects there. So an address is a number and never a name, which would let a
stranger choose what others look up; it is written in one way only; and buyers are not sent into networks that the device cannot be in
unless the network of Surge is there itself: see `may_dial`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from surge.errors import InvalidInput

MOST = 47
"""Characters of the longest direct address."""

_INNER = tuple(
    tuple(ipaddress.ip_network(each) for each in group)
    for group in (
        ("127.0.0.0/8", "::1/128"),  # RFC 1122, RFC 4291: this machine
        ("10.0.0.0/8",),  # RFC 1918
        ("172.16.0.0/12",),
        ("192.168.0.0/16",),
        ("100.64.0.0/10",),  # RFC 6598: behind a carrier's NAT, and what many private networks across the internet use
        ("fc00::/7",),  # RFC 4193
    )
)
"""Networks that are not the internet, but where a whole network of Surge may be. Those in one group are one place."""

_NOWHERE = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
"""Within the numbers of the internet, but no machine there: link-local, multicast, reserved, for documents, or an IPv4 address in disguise
(RFC 6890, and IANA's registries of special-purpose addresses)."""

_INTERNET = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("2000::/3"))
"""Unicast addresses of the internet, but for the networks above. They are listed here, since Python's own list differs by version."""

Host = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class DirectAddress:
    """An address and a port.

    >>> parse("[2001:DB8::1]:4400")
    Traceback (most recent call last):
    ...
    surge.errors.InvalidInput: '[2001:DB8::1]:4400' is no direct address as it is written: 198.51.99.7:4400 or [2600::1]:4400
    >>> str(parse("198.51.99.7:4400"))
    '198.51.99.7:4400'
    """

    host: Host
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host.version == 4 else f"[{self.host}]:{self.port}"


def parse(text: str) -> DirectAddress:
    """The address in a text in its one way of writing. Raises `InvalidInput` for others, and for what nobody is reached at.

    1. It is short, a number and a port, and written as they are written.
    2. It is an address of the internet, or of an inner network: no multicast, link-local, reserved or disguised one.
    """
    # 1
    host, _, port = text.rpartition(":") if isinstance(text, str) and len(text) <= MOST else ("", "", "")
    try:
        found = DirectAddress(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        found = None
    if found is None or not 0 < found.port < 1 << 16 or str(found) != text:
        shown = text[: 2 * MOST] if isinstance(text, str) else text
        raise InvalidInput(f"{shown!r} is no direct address as it is written: 198.51.99.7:4400 or [2600::1]:4400", address=text)
    # 2
    if not is_public(found.host) and _place(found.host) is None:
        raise InvalidInput(f"nobody is reached at {found.host}", address=text)
    return found


def is_public(host: Host) -> bool:
    """Whether it is an address of one machine on the internet."""
    return any(_within(host, each) for each in _INTERNET) and not any(_within(host, each) for each in _NOWHERE) and _place(host) is None


def may_dial(address: DirectAddress, relays: Iterable[str]) -> bool:
    """Whether to try an address that a device states, in a network with relays at these URLs.

    An address of the internet, yes. One of an inner network (this machine; 10.0.0.0/8, and so on) only where a relay of the network is
    itself in the same one, by a numeric address in its URL: then the network of Surge is there. So a device cannot have buyers knock at
    the doors of their own homes and offices. Relays count as the network file names them, which its user trusts; never as an offer does.

    >>> inner = parse("192.168.1.1:80")
    >>> may_dial(inner, ["nats://relay.example:4222"]), may_dial(inner, ["nats://192.168.7.7:4222"]), may_dial(inner, ["nats://10.0.0.1:4222"])
    (False, True, False)
    """
    if is_public(address.host):
        return True
    place = _place(address.host)
    return place is not None and any(place == _place(host) for host in map(_host_of, relays) if host is not None)


def _place(host: Host) -> int | None:
    """The number of the inner network that an address is in."""
    return next((number for number, group in enumerate(_INNER) if any(_within(host, each) for each in group)), None)


def _within(host: Host, network: IPv4Network | IPv6Network) -> bool:
    return host.version == network.version and host in network and getattr(host, "scope_id", None) is None


def _host_of(url: str) -> Host | None:
    try:
        host = urlsplit(url).hostname or ""
        return IPv4Address("127.0.0.1") if host == "localhost" else ipaddress.ip_address(host)
    except ValueError:
        return None
