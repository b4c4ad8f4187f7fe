"""What a provider's folder says of it, for commands that run beside the daemon: earnings by channel, and how it stands."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surge.core.types import GIGA, Address
from surge.errors import InvalidInput
from surge.provider.journal import Journal
from surge.provider.schema import ChannelRow
from surge.provider.status import stands

JOURNAL = "provider.db"
STATUS = "status.json"

_NOBODY = Address("0x" + "00" * 20)


def earnings_of(folder: Path) -> list[dict[str, Any]]:
    """Every channel of the provider in a folder, the oldest first; amounts in wei.

    Raises `InvalidInput` when no provider ever ran there.
    """
    path = folder / JOURNAL
    if not path.is_file():
        raise InvalidInput(f"no provider ever ran in {folder}", folder=str(folder))
    journal = Journal(path, _NOBODY, exclusive=False)
    try:
        paid = journal.redemptions()
        aside = (status_of(folder) or {}).get("earnings_set_aside", {})
        return [_row(row, paid.get(row.number, []), aside.get("0x" + row.id.hex(), "")) for row in journal.channels(closed=True)]
    finally:
        journal.database.close()


def _row(row: ChannelRow, redemptions: list[dict[str, object]], set_aside: str) -> dict[str, Any]:
    return {
        "channel": "0x" + row.id.hex(),
        "buyer": row.buyer,
        "receipts": row.count,
        "units": row.units,
        "gigafuel": row.fuel / GIGA,
        "refused": row.refused,
        "vouched": row.amount,
        "redeemed": row.redeemed,
        "waiting": 0 if row.closed else max(0, row.amount - row.redeemed),
        "deposit": row.deposit,
        "floor": row.floor,
        "state": "closed" if row.closed else row.stopped or "open",
        "set_aside": set_aside,
        "redemptions": redemptions,
    }


def paid_in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a provider got for these rows of `earnings_of`, in a sentence: the ledger keeps a fee of what is redeemed.

    >>> paid_in_words([{"redeemed": 1000, "redemptions": [{"paid": 495, "fee": 5}]}])
    'paid in all: 495 wei, after fees of 5 wei; 500 wei more, fees included, went out where channels closed or others redeemed'
    """
    each = [redemption for row in rows for redemption in row["redemptions"]]
    paid, fees = (sum(int(redemption[name]) for redemption in each) for name in ("paid", "fee"))
    rest = sum(int(row["redeemed"]) for row in rows) - paid - fees
    said = f"paid in all: {paid} wei, after fees of {fees} wei"
    return f"{said}; {rest} wei more, fees included, went out where channels closed or others redeemed" if rest > 0 else said


def status_of(folder: Path) -> dict[str, Any] | None:
    """How the provider in a folder stood when it last looked, within seconds of now while it runs; None if it never did."""
    try:
        status = json.loads((folder / STATUS).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{folder / STATUS} cannot be read", folder=str(folder)) from error
    return status if isinstance(status, dict) else None


def standing_of(folder: Path) -> str:
    """How the provider in a folder stands, in a sentence: what it waits for, if it waits."""
    return stands(status_of(folder), int(time.time()))


def keep_status(folder: Path, status: dict[str, Any]) -> None:
    """Write how the provider stands. Raises `OSError` when the disk is full."""
    beside = folder / (STATUS + ".new")
    beside.write_text(json.dumps(status, indent=1))
    beside.replace(folder / STATUS)
