"""An offer as listings show it: everything that its provider states, under plain names."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from surge.buyer.judge import Whom
from surge.core.choosing import NOBODY
from surge.core.offers import Offer
from surge.core.pricing import typical_amount
from surge.core.standing import Standing
from surge.core.types import Address, address
from surge.errors import InvalidInput


def offer_row(offer: Offer, memory: int, excluded_by: str | None, standing: Standing = NOBODY, bond: int | None = None) -> dict[str, Any]:
    """An offer, for a job whose units have so many bytes of memory, and how its device stands.

    Prices are in wei: `gigafuel_price` for 10^9 fuel, `memory_price` for a gigabyte of reserved memory over a second, `transfer_price` for
    10^9 bytes moved, `compile_price` for 10^6 bytes of module compiled, `typical_price` for a gigafuel with what goes along with it
    (`pricing.typical_amount`), `opening` for the least that a channel pays, `retainer_price` for
    a core kept free over an hour and `storage_price` for 10^9 bytes kept over 30 days, 0 where that is not offered. `speed` is fuel per
    second, `memory` and `room` for shards bytes, `milliwatts` the power at work, 0 where it is not stated; `window` and `window_max` count
    units; `issued` and `expires` are Unix seconds, `audit_seconds` and `offline_seconds` seconds. `direct` is where
    it is reached without a relay, empty where it is not. `engine` is for people, `engine_id` and `images` are SHA-256 in hexadecimal.

    `standing` is between 0 and 1; `known` says whether this wallet has had enough of the device to go by that; `bond` is what its operator
    stakes, in wei, None where that is not known.
    """
    prices = offer.prices
    return {
        "device": offer.device,
        "operator": offer.operator,
        "region": offer.region,
        "cores": offer.cores,
        "memory": offer.memory,
        "speed": prices.speed,
        "gigafuel_price": prices.gigafuel,
        "memory_price": prices.memory,
        "transfer_price": prices.transfer,
        "compile_price": prices.compile,
        "typical_price": typical_amount(prices, memory),
        "opening": offer.opening,
        "retainer_price": offer.retainer,
        "storage_price": offer.storage,
        "room": offer.room,
        "milliwatts": offer.milliwatts,
        "direct": offer.direct,
        "engine": offer.engine_label,
        "engine_id": offer.engine.hex(),
        "images": [image.hex() for image in offer.images],
        "services": list(offer.services),
        "relays": list(offer.relays),
        "window": offer.window,
        "window_max": offer.window_max,
        "audit_seconds": offer.audit_seconds,
        "offline_seconds": offer.offline_seconds,
        "sequence": offer.sequence,
        "issued": offer.issued,
        "expires": offer.expires,
        "standing": round(standing.value, 4),
        "known": standing.known,
        "bond": bond,
        "excluded_by": excluded_by or "",
    }


def standing_row(whom: Whom, standing: Standing, offer: dict[str, Any] | None, bond: int | None, since: float | None) -> dict[str, Any]:
    """How a device stands, and why: `reasons` have a `text` and what it `adds`, and add up to `standing`.

    `speed` is fuel per second of a core as measured here and `bond` wei, None where they are not known; `ledger_since` is since when the
    ledger was read, Unix seconds, 0 where it was not; `offer` is as `offer_row` has it, None where the device offers nothing now.
    """
    return {
        "device": whom.device,
        "operator": whom.operator,
        "standing": round(standing.value, 4),
        "reasons": [{"text": each.text, "adds": round(each.adds, 4)} for each in standing.reasons],
        "caught": standing.caught,
        "in_vain": standing.in_vain,
        "known": standing.known,
        "speed": standing.speed,
        "bond": bond,
        "ledger_since": since or 0,
        "offer": offer,
    }


def whom_of(named: str, known: Collection[str]) -> Address:
    """An address written whole, or the one of those known that begins with these digits. Raises `InvalidInput`."""
    digits = named.lower().removeprefix("0x")
    if len(digits) == 40 or not re.fullmatch("[0-9a-f]{1,39}", digits):
        return address(named)
    found = [each for each in known if each.removeprefix("0x").startswith(digits)]
    if len(found) != 1:
        what = f"{len(found)} devices and operators are" if found else "no device or operator is"
        raise InvalidInput(f"{what} known here by {named!r}: write the whole address", named=named)
    return Address(found[0])
