"""Receipts: signing and appending, proving, verifying, on one core."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.rows import Row, at_least
from surge.core.eip712 import channels_domain
from surge.core.log import ReceiptLog, leaf_hash, verify_inclusion
from surge.core.receipts import Acknowledgement, Receipt, Signed
from surge.core.types import Address
from surge.wallet import KeySigner

COUNT = 20_000


def measure() -> Iterator[Row]:
    """The three rates."""
    device, buyer = KeySigner.random(), Address("0x" + "22" * 20)
    domain = channels_domain(31337, Address("0x" + "33" * 20))
    channel, log, made = bytes(32), ReceiptLog(), []
    start = time.perf_counter()
    for sequence in range(COUNT):
        receipt = Receipt(1, device.address, buyer, channel, sequence, sequence.to_bytes(32, "big"), bytes(32), 10**9, 10**15, 0)
        digest = receipt.digest(domain)
        made.append(Signed(receipt, device.sign(digest)))
        log.append(Acknowledgement(channel, sequence, digest, True, receipt.amount).digest(domain))
    yield at_least("receipts signed and appended, per second and core", COUNT / (time.perf_counter() - start), "1/s", 10_000)

    start = time.perf_counter()
    proofs = [log.inclusion(index) for index in range(COUNT)]
    yield at_least("inclusion proofs made, per second and core", COUNT / (time.perf_counter() - start), "1/s", 20_000)

    root, few = log.root(), COUNT // 4
    start = time.perf_counter()
    for index in range(few):
        signed = made[index]
        digest = signed.verify(domain)
        leaf = Acknowledgement(channel, index, digest, True, signed.receipt.amount).digest(domain)
        assert verify_inclusion(leaf_hash(leaf), index, COUNT, proofs[index], root)
    yield at_least("proofs and signatures verified, per second and core", few / (time.perf_counter() - start), "1/s", 8_000)
