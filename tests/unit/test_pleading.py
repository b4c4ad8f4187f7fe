"""What a wallet can bring before the court."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from surge.buyer.pleading import open_dispute
from surge.core.receipts import ReceiptKind
from surge.errors import InvalidInput


@pytest.mark.parametrize("kind", [ReceiptKind.TRANSFER, ReceiptKind.RELAY, ReceiptKind.RETAINER])
async def test_a_receipt_for_nothing_that_ran_is_not_disputed(kind: ReceiptKind) -> None:
    record = SimpleNamespace(id="ab" * 32, job="00" * 32, receipt=SimpleNamespace(kind=kind))
    with pytest.raises(InvalidInput, match="for no unit that ran: there is nothing to dispute"):
        await open_dispute(cast("Any", None), cast("Any", record), None, None, jurors=5, most=None, worth=None)
