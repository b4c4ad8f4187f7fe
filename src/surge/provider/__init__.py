"""The daemon that lends a device: offers, sessions with buyers, windows, receipts, earnings.

    async with Provider(network=..., ledger=..., relays=..., device=..., operator=..., data=..., services=[Compute(...)]) as provider:
        await provider.run(stop)

It hosts services through the interface in `service` and imports none of them: who starts it registers what it lends (`compute` is
the first). What it signs is on disk before it leaves; what it is owed is kept until the ledger has paid it. It does not run
anything itself, does not hold funds, and believes a buyer only as far as that buyer's window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surge.provider.config import ProviderConfig, Rates
    from surge.provider.daemon import Provider
    from surge.provider.reports import earnings_of, paid_in_words, standing_of, status_of

__all__ = ["Provider", "ProviderConfig", "Rates", "earnings_of", "paid_in_words", "standing_of", "status_of"]

_HOMES = {
    "Provider": "daemon",
    "ProviderConfig": "config",
    "Rates": "config",
    "earnings_of": "reports",
    "paid_in_words": "reports",
    "standing_of": "reports",
    "status_of": "reports",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: a report needs no daemon."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"surge.provider.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
