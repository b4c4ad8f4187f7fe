"""Reading one relay's board of offers, page by page: what is there is verified, and what is not believed is left out."""

from __future__ import annotations

import logging
import time

import msgspec

from surge.core import offers as rules
from surge.core.offers import SignedOffer
from surge.errors import SurgeError, Unavailable
from surge.relay.board import OfferQuery, decode_page
from surge.relay.client.link import Link

log = logging.getLogger("surge.relay")

MAX_PAGES = 200
"""Pages taken from one relay: one that always has more does not keep us for ever."""


async def offers_of(link: Link, query: OfferQuery, network: bytes) -> list[SignedOffer]:
    """The offers on one relay's board that are for this network. Raises Unavailable and PeerFault where there is no first page."""
    found: list[SignedOffer] = []
    for number in range(MAX_PAGES):
        try:
            page = decode_page(await link.ask("query", msgspec.msgpack.encode(query)), link.endpoint.url)
        except Unavailable as error:
            if number == 0:
                raise
            log.warning("only %d pages of offers come from %s: %s", number, link.endpoint.url, error)
            break
        now = int(time.time())
        for wire in page.offers:
            try:
                found.append(rules.decode(wire, now=now, network=network))
            except SurgeError as error:
                log.warning("the relay %s gives an offer that is not believed: %s", link.endpoint.url, error)
        if page.next <= query.after:
            break
        query = msgspec.structs.replace(query, after=page.next)
    return found
