"""An offer as listings show it: everything that its provider states, under plain names."""

from __future__ import annotations

from typing import Any

from surge.core.offers import Offer
from surge.core.pricing import typical_amount


def offer_row(offer: Offer, memory: int, excluded_by: str | None) -> dict[str, Any]:
    """An offer, for a job whose units have so many bytes of memory.

    Prices are in wei: `gigafuel_price` for 10^9 fuel, `memory_price` for a gigabyte of reserved memory over a second, `transfer_price` for
    10^9 bytes moved, `compile_price` for 10^6 bytes of module compiled, `typical_price` for a gigafuel with what goes along with it
    (`pricing.typical_amount`), `opening` for the least that a channel pays. `speed` is fuel per second, `memory` bytes, `milliwatts` the
    power at work, 0 where it is not stated; `window` and `window_max` count units; `issued` and `expires` are Unix seconds, `audit_seconds`
    and `offline_seconds` seconds. `engine` is for people, `engine_id` and `images` are SHA-256 in hexadecimal.
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
        "milliwatts": offer.milliwatts,
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
        "excluded_by": excluded_by or "",
    }
