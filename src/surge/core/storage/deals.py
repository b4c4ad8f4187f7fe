"""Deals: what a holder agrees to, for one shard at one device, and when it is over. Pure.

A deal begins with `open`, is *kept* once the shard is whole on disk and pledged, and goes on from pledge to pledge as long as its keeper
renews it, which also pays. A holder concedes time for which it was not proved to hold; it does not concede time for which it answered.
Times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from surge.core.pricing import MAX_PRICE
from surge.core.storage.accounts import HOUR_SECONDS, Held
from surge.core.types import Address
from surge.errors import SurgeError

SKEW = 300
"""Seconds that the clocks of a holder and a keeper may differ."""

MOST_PLEDGED = 8 * 86400
"""Seconds that a pledge reaches ahead: a holder is unpaid for so long at most, and its grace."""

MOST_TERM = 10 * 366 * 86400
"""Seconds of a term."""

UNKEPT_SECONDS = HOUR_SECONDS
"""After so long without a call about it, a deal that is not kept is forgotten."""

FAIR = 2
"""Of the time that a holder was there since it was last paid, one part in so many is paid at least, or it does not pledge on."""


class NotAgreed(SurgeError):
    """A holder does not agree. `code` is one of those in `core.messages.Refusal`; the details travel with it."""

    def __init__(self, code: str, text: str, **details: Any) -> None:
        super().__init__(text, **details)
        self.code = code


@dataclass(frozen=True, slots=True)
class Deal:
    """One shard at one device."""

    id: bytes
    """32 random bytes."""
    channel: bytes
    """32 bytes: where it was opened."""
    buyer: Address
    """The wallet that pays."""
    owner: Address
    """Whom a slashed penalty compensates."""
    keeper: Address
    """Who may release it."""
    root: bytes
    """32 bytes."""
    size: int
    """Bytes."""
    tag: bytes
    """32 bytes: the segment's, as far as a holder can tell."""
    price: int
    """Wei for a gigabyte over a month."""
    penalty: int
    """Wei at stake."""
    since: int
    """The last pledge's beginning; earlier where an earlier one has the shard stay longer."""
    until: int
    """The end of the pledge that ends last."""
    ends: int
    """The term's end."""
    paid: int
    """Until when receipts paid for it; its beginning, before there are any."""
    proved: int = 0
    """When it was first proved after what is paid; 0 where it was not."""
    kept: bool = False
    """Whether the shard is here whole."""

    def stays(self, least: int = HOUR_SECONDS) -> int:
        """Until when the shard stays, renewed or not: for as long again as its pledge was, and for `least` seconds in any case."""
        return self.until + max(_grace(self.since, self.until), least)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a holder asks for."""

    price: int
    """Wei for a gigabyte over a month."""
    penalty: int
    """Wei: the most it pledges for one shard."""
    leaving: bool = False
    """Whether it takes no new deals and agrees to no longer terms."""


def agree(deal: Deal, policy: Policy, now: int) -> None:
    """Raise `NotAgreed` unless a holder takes this deal.

    1. It is not leaving.
    2. The price is at least what it asks, the penalty at most what it risks.
    3. The times are in order: the term begins now, the first pledge ends within it, and neither is too long.
    """
    # 1
    if policy.leaving:
        raise NotAgreed("draining", "this device leaves: it takes no new shards")
    # 2
    if not policy.price <= deal.price <= MAX_PRICE:
        raise NotAgreed("price", f"a gigabyte over 30 days costs {policy.price} wei of SURGE here, not {deal.price}", price=policy.price)
    if deal.penalty > policy.penalty:
        raise NotAgreed("price", f"at most {policy.penalty} wei are pledged here for a shard, not {deal.penalty}", penalty=policy.penalty)
    # 3
    if abs(deal.since - now) > SKEW:
        raise NotAgreed("invalid", f"the term begins at {deal.since}; here it is {now}, and clocks may differ by {SKEW} s", now=now)
    _check_ahead(deal.since, deal.until, now)
    if not deal.until <= deal.ends <= now + MOST_TERM:
        raise NotAgreed("invalid", f"the term ends at {deal.ends}: before its first pledge, or too late")


def _check_ahead(since: int, until: int, now: int) -> None:
    if not since < until <= now + MOST_PLEDGED + SKEW:
        raise NotAgreed("invalid", f"a pledge from {since} to {until} is empty, or reaches further than {MOST_PLEDGED} s ahead", now=now)


def renewed(deal: Deal, since: int, until: int, pledged: int, *, policy: Policy, now: int, up: int) -> tuple[Deal, Held]:
    """The deal pledged on, and the time that is paid for it. `paid` moves on when the receipt is accepted. Raises `NotAgreed`.

    1. It is kept, and what is paid ends now.
    2. The new pledge begins there and is not too long; beyond the term only by a holder that stays, at today's price.
    3. No time is left out that the deal was proved for, nor more than half of that since the holder is `up`.
    4. The shard stays for as long as it was to stay in any case: whoever knows its id may renew it, and an earlier pledge still binds.
    """
    # 1
    if not deal.kept:
        raise NotAgreed("missing", "the shard is not here", deal=deal.id)
    if not since <= until or abs(until - now) > SKEW:
        raise NotAgreed("invalid", f"from {since} to {until} is to be paid; here it is {now}, and clocks may differ by {SKEW} s", now=now)
    # 2
    _check_ahead(until, pledged, now)
    if pledged > deal.ends and policy.leaving:
        raise NotAgreed("draining", f"this device leaves: it pledges until {deal.ends}, the term's end", deal=deal.id, ends=deal.ends)
    if pledged > deal.ends and deal.price < policy.price:
        raise NotAgreed("price", f"beyond the term a gigabyte over 30 days costs {policy.price} wei", deal=deal.id, price=policy.price)
    # 3
    first = max(since, deal.paid)
    held = Held(deal.id, deal.size, deal.price, first, max(first, until))
    left_out = deal.paid < since and 0 < deal.proved <= since
    owed = until - max(deal.paid, up)
    if left_out or held.seconds * FAIR < owed:
        raise NotAgreed("price", f"it was held and shown since {deal.paid}, which was not paid", deal=deal.id, paid=deal.paid)
    # 4
    last = max(deal.until, pledged)
    grace = max(deal.until + _grace(deal.since, deal.until), pledged + _grace(until, pledged)) - last
    return replace(deal, since=last - grace, until=last, ends=max(deal.ends, pledged)), held


def _grace(since: int, until: int) -> int:
    """Seconds that a shard stays after a pledge."""
    return min(until - since, MOST_PLEDGED)


def paid(deal: Deal, until: int) -> Deal:
    """A receipt for the time until then was accepted."""
    return replace(deal, paid=max(deal.paid, until), proved=deal.proved if deal.proved > until else 0)


def shown(deal: Deal, now: int) -> Deal:
    """It was proved just now."""
    return deal if deal.proved else replace(deal, proved=now)
