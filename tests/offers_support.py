"""An offer for tests that choose among offers."""

from __future__ import annotations

from surge.core.offers import Offer
from surge.core.pricing import Prices
from surge.core.types import Address, address

OFFER = Offer(
    network=b"\x01" * 32, device=address("0x" + "0d" * 20), operator=address("0x" + "0a" * 20), sequence=5, issued=1_800_000_000,
    expires=1_800_000_300, prices=Prices(10**15, 0, 10**15, 10**14, 10**9), cores=2, memory=4 << 30, engine=b"\x02" * 32,
    engine_label="wasmtime", images=(), services=("compute",), region="eu", milliwatts=0, relays=("nats://127.0.0.1:4222",), window=1,
    window_max=64, offline_seconds=3600, audit_seconds=60, opening=100,
)  # fmt: skip


def who(number: int) -> Address:
    return address(f"0x{number:040x}")
