"""What a user is told where the wallet does not buy a channel: every amount has its unit."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from made_up_provider import DOMAIN
from surge.buyer.journal import Journal
from surge.buyer.purse import Purse
from surge.buyer.treasury import Bearer, Treasury
from surge.core.offers import Offer, SignedOffer
from surge.core.pricing import Prices
from surge.core.types import address
from surge.errors import InvalidInput, NotEnough
from surge.wallet import KeySigner, Keystore

OPENING = 10**16

OFFER = Offer(
    network=b"\x01" * 32, device=address("0x" + "0d" * 20), operator=address("0x" + "0a" * 20), sequence=5, issued=1_800_000_000,
    expires=1_800_000_300, prices=Prices(10**15, 20, 30, 40, 10**9), cores=2, memory=4 << 30, engine=b"\x02" * 32, engine_label="wasmtime",
    images=(), services=("compute",), region="", milliwatts=0, relays=("nats://127.0.0.1:4222",), window=1, window_max=64,
    offline_seconds=3600, audit_seconds=60, opening=OPENING,
)  # fmt: skip


class PoorLedger:
    """A ledger on which the wallet holds a thousandth of a SURGE, and its channel a whole one."""

    async def token_balance(self, who: str) -> int:
        return 10**15

    async def channel(self, channel: bytes) -> Any:
        return SimpleNamespace(closed=False, closing_at=0, deposit=10**18)

    def wrote(self, salt: bytes) -> bool:
        return False


@pytest.fixture
async def treasury(tmp_path: Path) -> AsyncIterator[Treasury]:
    journal = Journal(tmp_path / "buyer.db")
    yield Treasury(DOMAIN, PoorLedger(), KeySigner.random(), Keystore(tmp_path / "wallet"), journal, tmp_path)  # type: ignore[arg-type]
    await journal.close()


def amounts(text: str) -> list[str]:
    """Every number of the message but those in addresses; whichever has no unit shows as a bare number."""
    return re.findall(r"(?<![\w.])\d[\d.]*\b(?: SURGE| wei)?", text)


async def test_a_wallet_that_buys_no_channel_is_said_in_surge(treasury: Treasury) -> None:
    bearer = Bearer(b"j" * 32, Purse(None), lambda: True)
    with pytest.raises(NotEnough) as caught:
        await treasury.account(SignedOffer(OFFER, b"s" * 65), bearer)
    assert amounts(str(caught.value)) == ["0.001 SURGE", "0.01 SURGE"]
    assert caught.value.details == {"held": 10**15, "needed": OPENING}


async def test_a_deposit_below_the_floor_is_said_in_surge(treasury: Treasury) -> None:
    with pytest.raises(InvalidInput) as caught:
        await treasury.open_for(OFFER, 10**15)
    assert amounts(str(caught.value)) == ["0.01 SURGE", "0.001 SURGE"]


async def test_a_top_up_that_the_wallet_does_not_hold_is_said_in_surge(treasury: Treasury) -> None:
    with pytest.raises(NotEnough) as caught:
        await treasury._top_up(b"c" * 32, 2 * 10**18)
    assert amounts(str(caught.value)) == ["0.001 SURGE", "1 SURGE"]
