"""Saying in a sentence how a device stands, and why it gets no work. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surge.core.text import counted, span
from surge.core.types import GIGA
from surge.provider.rivals import reasons, short_bond

QUIET_SECONDS = 60
"""Seconds without a call after which a device is without work."""


STALE_SECONDS = 60
"""A status is kept every few seconds: one older than this was left by a device that no longer runs."""


def explain(status: Mapping[str, Any], now: int) -> str:
    """Why no work comes, from a provider's status at `now`, Unix seconds; empty while work comes."""
    if status["paused"]:
        return f"it does not lend: {status['paused']}"
    if status["storage"]:
        return f"it takes no work: {status['storage']}"
    if status["under_way"] or now - status["last_call"] < QUIET_SECONDS:
        return ""
    troubles = [f"the relay {url} cannot be used: {why}" for url, why in status["relay_troubles"].items()]
    troubles += [f"the relay {url} is not paid: {why}" for url, why in status.get("relays_unpaid", {}).items()]
    if not status["relays"]:
        return "; ".join(["no relay is connected, so nobody can reach it", *troubles])
    offer = status["offer"]
    if offer is None:
        trouble = status["offer_trouble"]
        return f"no offer is published: {trouble}" if trouble else "the offer is being published"
    parts = [f"its offer is on {counted(offer['relays'], 'relay')}"]
    if not status["last_call"]:
        parts.append(f"no buyer has called in {span(now - status['since'])}")
        if status["sessions"]:
            parts.append(f"{counted(status['sessions'], 'session')} ended before the first call")
    else:
        parts.append(f"the last call came {span(now - status['last_call'])} ago, of {status['calls']} in all")
    if status["refused"]:
        code, most = max(status["refused"].items(), key=lambda item: item[1]["count"])
        last = str(most["last"]).partition("\n")[0]
        if code == "local":
            parts.append(f"{counted(most['count'], 'unit')} ended here without pay, the last so: {last}")
        else:
            parts.append(f"{counted(most['count'], 'time')} it refused as {code!r}: {last}")
    if status["market"] is not None:
        parts += reasons(status["market"])
    return "; ".join([*parts, *troubles])


def gigabytes(size: int) -> str:
    """A size for people.

    >>> gigabytes(1_234_567_890)
    '1.23 GB'
    """
    return f"{size / GIGA:.2f} GB"


def stands(status: Mapping[str, Any] | None, now: int) -> str:
    """How a device stands, in a sentence, from the status that it last kept; None where it kept none."""
    if status is None:
        return "it never ran"
    since = now - int(status.get("at", 0))
    if since > STALE_SECONDS:
        said = f"it does not run: it was last seen {span(since)} ago"
    else:
        said = str(status["waiting"]) or "it works"
        if status["earnings_wait_for"]:
            said += f"; its earnings wait for {status['earnings_wait_for']}"
    if disk := status.get("lends", {}).get("storage"):
        leaving = " and leaves" if disk["leaving"] else ""
        said += f"; it keeps {counted(disk['shards'], 'shard')} ({gigabytes(disk['kept'])} of {gigabytes(disk['room'])} lent){leaving}"
        said += f", which earned {disk['earned']} wei"
    market = status.get("market") or {}
    short = short_bond(market.get("bond"), market.get("least_bond", 0))
    more = [status.get("earnings_kept", ""), short if short not in said else ""]
    return "; ".join([said, *filter(None, more)])
