"""Saying in a sentence why a device gets no work. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

QUIET_SECONDS = 60
"""Seconds without a call after which a device is without work."""


def explain(status: Mapping[str, Any], now: int) -> str:
    """Why no work comes, from a provider's status at `now`, Unix seconds; empty while work comes."""
    if status["paused"]:
        return f"it does not lend: {status['paused']}"
    if status["storage"]:
        return f"it takes no work: {status['storage']}"
    if status["under_way"] or now - status["last_call"] < QUIET_SECONDS:
        return ""
    if not status["relays"]:
        return "no relay is connected, so nobody can reach it"
    offer = status["offer"]
    if offer is None:
        trouble = status["offer_trouble"]
        return f"no offer is published: {trouble}" if trouble else "the offer is being published"
    parts = [f"its offer is on {_count(offer['relays'], 'relay')}"]
    if not status["last_call"]:
        parts.append(f"no buyer has called in {_span(now - status['since'])}")
    else:
        parts.append(f"the last call came {_span(now - status['last_call'])} ago, of {status['calls']} in all")
    if status["refused"]:
        code, most = max(status["refused"].items(), key=lambda item: item[1]["count"])
        parts.append(f"{_count(most['count'], 'call')} refused as {code!r}: {most['last']}")
    return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _span(seconds: int) -> str:
    if seconds < 120:
        return _count(max(0, seconds), "second")
    if seconds < 7200:
        return _count(seconds // 60, "minute")
    return _count(seconds // 3600, "hour")
