"""What is signed: terms, receipts, acknowledgements, vouchers, closes; and a device's consent.

All are EIP-712 structs, so that contracts and wallets can check them. Each has `digest(domain)`, the 32 bytes that are signed or,
for acknowledgements, logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from surge.core import canonical
from surge.core.eip712 import Domain, address_word, type_hash, typed_digest, word
from surge.core.keccak import keccak256
from surge.core.pricing import Prices
from surge.core.signing import check_signed
from surge.core.types import MAX_WEI, ZERO, Address, address
from surge.errors import InvalidInput


class ReceiptKind(IntEnum):
    """What a receipt is for; it says what subject, result and quantity mean."""

    UNIT = 1
    """Unit id, result hash, fuel."""
    SETUP = 2
    """Unit id of the setup, result hash (whose state is the memory's hash), fuel."""
    TRANSFER = 3
    """Content id, content id, bytes."""
    COMPILE = 4
    """Image, engine, bytes of the module."""
    RELAY = 5
    """`core.carriage.subject` of relay, device and period, `core.carriage.result` of what the relay counted, bytes billed."""
    RETAINER = 6
    """`core.retainers.subject` of channel and period, `core.retainers.result` of cores and price, seconds held."""
    STORAGE = 7
    """`core.storage.accounts.subject` of channel and period, `core.storage.accounts.result` of deals and times, byte-hours."""
    DROPPED = 8
    """Deal id, the shard's root, its bytes; costs nothing: it states that the shard was dropped."""


FUELLED = (ReceiptKind.UNIT, ReceiptKind.SETUP)
"""Kinds whose quantity is fuel."""

WINDOWED = (*FUELLED, ReceiptKind.RELAY, ReceiptKind.RETAINER, ReceiptKind.STORAGE)
"""Kinds that count against a buyer's window; each is paid once for its subject."""


_RECEIPT = type_hash(
    "Receipt(uint8 kind,address device,address buyer,bytes32 channel,uint64 sequence,bytes32 subject,"
    "bytes32 result,uint256 quantity,uint256 amount,uint64 finishedAt)"
)
_ACKNOWLEDGEMENT = type_hash("Acknowledgement(bytes32 channel,uint64 index,bytes32 receipt,bool accepted,uint256 amount)")
_VOUCHER = type_hash("Voucher(bytes32 channel,uint256 amount,uint256 count,bytes32 root)")
_CLOSE = type_hash("Close(bytes32 channel,uint256 amount,uint256 count,bytes32 root)")
_TERMS = type_hash(
    "Terms(bytes32 channel,bytes32 job,bytes32 offer,bytes32 engine,uint256 gigafuelPrice,uint256 memoryPrice,"
    "uint256 transferPrice,uint256 compilePrice,uint256 speed,uint32 window,uint64 auditSeconds,uint64 offlineSeconds)"
)
_CONSENT = type_hash("DeviceConsent(address operator,address device,uint256 nonce)")
_RELAY_CONSENT = type_hash("RelayConsent(address operator,address relay,uint256 nonce)")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A device's statement that it did something, for whom, and for how much."""

    kind: int
    """A `ReceiptKind`; services to come add their own."""
    device: Address
    """Who did it, and signs."""
    buyer: Address
    """The wallet that opened the channel."""
    channel: bytes
    """32 bytes."""
    sequence: int
    """The device's count within the channel; never used twice."""
    subject: bytes
    """32 bytes: what was asked."""
    result: bytes
    """32 bytes: what came out."""
    quantity: int
    """How much work it was, in the kind's unit."""
    amount: int
    """Wei."""
    finished_at: int
    """Unix seconds by the device's clock: a hint, never evidence."""

    def digest(self, domain: Domain) -> bytes:
        """What the device signs: 32 bytes."""
        return typed_digest(
            domain,
            keccak256(
                _RECEIPT
                + word(self.kind)
                + address_word(self.device)
                + address_word(self.buyer)
                + self.channel
                + word(self.sequence)
                + self.subject
                + self.result
                + word(self.quantity)
                + word(self.amount)
                + word(self.finished_at)
            ),
        )

    def encode(self) -> bytes:
        """Canonical bytes, as journals and case files keep them."""
        return canonical.encode(
            [
                self.kind,
                self.device,
                self.buyer,
                self.channel,
                self.sequence,
                self.subject,
                self.result,
                self.quantity,
                self.amount,
                self.finished_at,
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """The receipt in canonical bytes. Raises `InvalidInput`."""
        kind, device, buyer, channel, sequence, subject, result, quantity, amount, finished_at = _row(
            data, (int, str, str, bytes, int, bytes, bytes, int, int, int), "a receipt"
        )
        if any(len(field) != len(ZERO) for field in (channel, subject, result)):
            raise InvalidInput("a receipt's channel, subject and result are 32 bytes each")
        if kind > 0xFF or max(sequence, finished_at) >= 1 << 64 or max(quantity, amount) > MAX_WEI:
            raise InvalidInput("a receipt has a number out of bounds")
        return cls(kind, address(device), address(buyer), channel, sequence, subject, result, quantity, amount, finished_at)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The buyer's answer to a receipt. It is signed only through the voucher whose root covers it."""

    channel: bytes
    """32 bytes."""
    index: int
    """Its place in the channel's log."""
    receipt: bytes
    """32 bytes: the receipt's digest."""
    accepted: bool
    """Whether the buyer accepts what was done."""
    amount: int
    """Wei: the receipt's amount, or 0 when refused."""

    def digest(self, domain: Domain) -> bytes:
        """The data of the log's leaf: 32 bytes."""
        return typed_digest(
            domain,
            keccak256(_ACKNOWLEDGEMENT + self.channel + word(self.index) + self.receipt + word(self.accepted) + word(self.amount)),
        )


@dataclass(frozen=True, slots=True)
class Voucher:
    """The buyer's promise: all that the channel owes so far, and the log it owes it for."""

    channel: bytes
    """32 bytes."""
    amount: int
    """Wei, cumulative."""
    count: int
    """Leaves in the log."""
    root: bytes
    """32 bytes: the log's root."""

    def digest(self, domain: Domain) -> bytes:
        """What the session key signs: 32 bytes."""
        return typed_digest(domain, keccak256(_VOUCHER + self.channel + word(self.amount) + word(self.count) + self.root))

    def verify(self, domain: Domain, signature: bytes, session_key: Address) -> None:
        """Raise `PeerFault` unless the session key signed this voucher in this domain."""
        check_signed(self.digest(domain), signature, session_key, "a voucher")


@dataclass(frozen=True, slots=True)
class Close:
    """Both sides' agreement to close a channel at a state."""

    channel: bytes
    """32 bytes."""
    amount: int
    """Wei, cumulative: what the provider is paid in all."""
    count: int
    """Leaves in the log."""
    root: bytes
    """32 bytes: the log's root."""

    def digest(self, domain: Domain) -> bytes:
        """What both sign: 32 bytes."""
        return typed_digest(domain, keccak256(_CLOSE + self.channel + word(self.amount) + word(self.count) + self.root))


@dataclass(frozen=True, slots=True)
class Terms:
    """What buyer and provider agree on for a channel or, where `job` is named, for one job of it."""

    channel: bytes
    """32 bytes."""
    job: bytes
    """32 bytes: a job's id, or zeros for the whole channel."""
    offer: bytes
    """32 bytes: the offer's digest."""
    engine: bytes
    """32 bytes: the engine units run on."""
    prices: Prices
    """What things cost."""
    window: int
    """Units that may be in flight or unvouched at the start."""
    audit_seconds: int
    """A receipt unacknowledged for longer counts as refused."""
    offline_seconds: int
    """The provider may be away this long; the channel's challenge period is no shorter."""

    def digest(self, domain: Domain) -> bytes:
        """What the session key and the device sign: 32 bytes."""
        prices = self.prices
        return typed_digest(
            domain,
            keccak256(
                _TERMS
                + self.channel
                + self.job
                + self.offer
                + self.engine
                + word(prices.gigafuel)
                + word(prices.memory)
                + word(prices.transfer)
                + word(prices.compile)
                + word(prices.speed)
                + word(self.window)
                + word(self.audit_seconds)
                + word(self.offline_seconds)
            ),
        )

    def encode(self) -> bytes:
        """Canonical bytes, as messages and journals carry them."""
        return canonical.encode(
            [
                self.channel,
                self.job,
                self.offer,
                self.engine,
                *self.prices.fields(),
                self.window,
                self.audit_seconds,
                self.offline_seconds,
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Terms:
        """The terms in canonical bytes. Raises `InvalidInput`."""
        row = _row(data, (bytes, bytes, bytes, bytes, *(int,) * 8), "terms")
        if any(len(field) != len(ZERO) for field in row[:4]) or row[9] >= 1 << 32 or max(row[10:]) >= 1 << 63:
            raise InvalidInput("terms have a field out of bounds", fields=row)
        channel, job, offer, engine = row[:4]
        window, audit_seconds, offline_seconds = row[9:]
        return cls(channel, job, offer, engine, Prices(*row[4:9]), window, audit_seconds, offline_seconds)


@dataclass(frozen=True, slots=True)
class DeviceConsent:
    """A device agrees to work for an operator. Its domain is the registry's."""

    operator: Address
    """Who is paid."""
    device: Address
    """Who signs receipts, and this."""
    nonce: int
    """The registry's count for the device, so that an old consent is not used again."""

    def digest(self, domain: Domain) -> bytes:
        """What the device signs: 32 bytes."""
        return typed_digest(domain, keccak256(_CONSENT + address_word(self.operator) + address_word(self.device) + word(self.nonce)))


@dataclass(frozen=True, slots=True)
class RelayConsent:
    """A relay agrees that an operator names it. Its domain is the registry's."""

    operator: Address
    """Who says that it runs the relay."""
    relay: Address
    """The identity that logins name; it signs this."""
    nonce: int
    """The registry's count for the relay, so that an old consent is not used again."""

    def digest(self, domain: Domain) -> bytes:
        """What the relay signs: 32 bytes."""
        return typed_digest(domain, keccak256(_RELAY_CONSENT + address_word(self.operator) + address_word(self.relay) + word(self.nonce)))


@dataclass(frozen=True, slots=True)
class Signed:
    """A receipt with its device's signature."""

    receipt: Receipt
    """What is stated."""
    signature: bytes
    """65 bytes over the receipt's digest."""

    def verify(self, domain: Domain) -> bytes:
        """The receipt's digest, once the device's signature over it is checked. Raises `PeerFault`."""
        digest = self.receipt.digest(domain)
        check_signed(digest, self.signature, self.receipt.device, "a receipt")
        return digest


def conflict(one: Receipt, other: Receipt) -> bool:
    """Whether two receipts contradict each other: the same subject with another result or quantity."""
    return one.subject == other.subject and (one.result, one.quantity) != (other.result, other.quantity)


def _row(data: bytes, types: tuple[type, ...], what: str) -> list[Any]:
    """The fields of a canonical array, each of the type expected, integers not negative."""
    row = canonical.decode(data)
    if not isinstance(row, list) or len(row) != len(types):
        raise InvalidInput(f"{what} has {len(types)} fields", data=data[:256])
    for value, kind in zip(row, types, strict=True):
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise InvalidInput(f"{what} has a field of the wrong type", data=data[:256])
    return row
