"""The offer board: the latest offer of each device, and the answers to questions about them. No I/O, no clock.

Offers come from strangers: each is verified by `core.offers` before it is kept, and only the device itself, as the
relay's login knows it, may put up or take down its offer.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from math import inf
from typing import TypeVar

from surge.core import offers
from surge.core.offers import SignedOffer
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.relay.board import MAX_PAGE_SIZE, OfferQuery, Page
from surge.relay.server.config import RelayLimits

Key = TypeVar("Key")

KEEP_SECONDS = 600
"""An offer stays at most so long, whatever it says: a device that is there renews it."""
MAX_SCAN = 2000
"""Offers looked at for one page: a query that nothing matches costs some milliseconds."""


class OfferBoard:
    """Keeps offers. Times are Unix seconds."""

    def __init__(self, limits: RelayLimits, network: bytes | None = None) -> None:
        self._limits, self._network = limits, network
        self._offers: dict[Address, tuple[SignedOffer, bytes, float]] = {}
        self._devices: list[Address] = []
        self._withdrawn: dict[Address, tuple[int, float]] = {}
        self._operators: dict[Address, int] = {}
        self._hosts: dict[str, int] = {}
        self._host_of: dict[Address, str] = {}
        self._earliest = inf

    def __len__(self) -> int:
        return len(self._offers)

    def put(self, device: Address, wire: bytes, now: float, host: str = "") -> None:
        """Keeps an offer that `device` published from `host`. Raises InvalidInput or PeerFault saying why not.

        1. it verifies, has not expired, and is for this network;
        2. it is the device's own;
        3. it is newer than what is kept or was withdrawn;
        4. there is room, altogether, for its operator and for its host: devices and operators are keys, which cost nothing.
        """
        # 1
        signed = offers.decode(wire, now=int(now), network=self._network)
        offer = signed.offer
        # 2
        if offer.device != device:
            raise InvalidInput("a device publishes its own offer only", device=device, named=offer.device)
        # 3
        self.expire(now)
        known = self._offers.get(device)
        if known is not None and known[0].offer.sequence >= offer.sequence:
            if known[1] == wire:
                return
            raise InvalidInput("a newer offer is known", known=known[0].offer.sequence, sequence=offer.sequence)
        if device in self._withdrawn and self._withdrawn[device][0] >= offer.sequence:
            raise InvalidInput("the offer was withdrawn", sequence=offer.sequence)
        # 4
        if known is None and len(self._offers) >= self._limits.offers:
            raise InvalidInput("the board is full; try again later")
        same_operator = known is not None and known[0].offer.operator == offer.operator
        if not same_operator and self._operators.get(offer.operator, 0) >= self._limits.offers_per_operator:
            raise InvalidInput("the operator has too many offers here", operator=offer.operator)
        if host != self._host_of.get(device) and self._hosts.get(host, 0) >= self._limits.offers_per_host:
            raise InvalidInput("too many offers come from this host", host=host)
        if known is not None:
            self._remove(device)
        until = min(now + KEEP_SECONDS, offer.expires)
        self._offers[device] = (signed, wire, until)
        self._earliest = min(self._earliest, until)
        insort(self._devices, device)
        self._operators[offer.operator] = self._operators.get(offer.operator, 0) + 1
        self._hosts[host] = self._hosts.get(host, 0) + 1
        self._host_of[device] = host

    def withdraw(self, device: Address, sequence: int, now: float) -> None:
        """Takes down the device's offers up to `sequence`, and takes no older one for as long as one may live."""
        self.expire(now)
        known = self._offers.get(device)
        if known is None:
            return
        if known[0].offer.sequence <= sequence:
            self._withdrawn[device] = (known[0].offer.sequence, known[2])
            self._remove(device)

    def query(self, query: OfferQuery, now: float) -> Page:
        """One page of the offers that match."""
        self.expire(now)
        found: list[bytes] = []
        size, position = 0, bisect_right(self._devices, query.after)
        end = min(len(self._devices), position + MAX_SCAN)
        last = ""
        while position < end and len(found) < query.limit:
            last = self._devices[position]
            signed, wire, _ = self._offers[Address(last)]
            if matches(signed, query):
                if found and size + len(wire) > MAX_PAGE_SIZE:
                    last = self._devices[position - 1]
                    break
                found.append(wire)
                size += len(wire)
            position += 1
        return Page(found, last if position < len(self._devices) else "")

    def expire(self, now: float) -> None:
        """Drops what is too old."""
        if now < self._earliest:
            return
        for device in [device for device, (_, _, until) in self._offers.items() if until <= now]:
            self._remove(device)
        self._withdrawn = {device: kept for device, kept in self._withdrawn.items() if kept[1] > now}
        ends = [until for _, _, until in self._offers.values()] + [until for _, until in self._withdrawn.values()]
        self._earliest = min(ends, default=inf)

    def _remove(self, device: Address) -> None:
        signed, _, _ = self._offers.pop(device)
        self._devices.pop(bisect_right(self._devices, device) - 1)
        _take_one(self._operators, signed.offer.operator)
        _take_one(self._hosts, self._host_of.pop(device))


def _take_one(counts: dict[Key, int], key: Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


def matches(signed: SignedOffer, query: OfferQuery) -> bool:
    """Whether an offer is of the kind asked for."""
    offer = signed.offer
    return (
        (not query.service or query.service in offer.services)
        and (not query.engine or query.engine in offer.engines)
        and (not query.region or query.region == offer.region)
        and (not query.max_gigafuel_price or offer.prices.gigafuel <= int.from_bytes(query.max_gigafuel_price, "big"))
    )
