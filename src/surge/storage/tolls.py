"""What a holder moved for each channel, what of it is billed and paid, and who is served no more."""

from __future__ import annotations

from surge.core.pricing import transfer_amount
from surge.core.receipts import Receipt, ReceiptKind
from surge.core.storage import accounts, deals
from surge.core.storage.accounts import Traffic
from surge.core.types import ZERO
from surge.provider.service import Claim, Context, Refused
from surge.storage.index import Index


class Tolls:
    """Traffic and receipts, by channel. What was paid, and who is stopped, outlives a restart; what is unpaid is forgiven by one."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._traffic: dict[bytes, Traffic] = {}
        self._stopped: set[bytes] = set()
        self._owed: dict[tuple[bytes, bytes], int] = {}
        """Bytes on receipts that wait for an answer, by channel and subject."""
        self._bills: dict[tuple[bytes, bytes], Claim] = {}
        self.earned = index.earned()
        """Wei of receipts of this service that were accepted."""

    def of(self, channel: bytes) -> Traffic:
        """What was moved for a channel."""
        known = self._traffic.get(channel)
        if known is None:
            paid, stopped = self._index.channel(channel)
            known = self._traffic[channel] = Traffic(paid=paid)
            if stopped:
                self._stopped.add(channel)
        return known

    def require_good(self, channel: bytes) -> Traffic:
        """What was moved for a channel on which no receipt was refused. Raises `Refused` for another."""
        traffic = self.of(channel)
        if channel in self._stopped:
            raise Refused("window", "a receipt for storage was refused on this channel: use another one")
        return traffic

    def require_room(self, channel: bytes, own: int = 0) -> None:
        """Raise `Refused` unless a channel's traffic may go on; `own` as in `Traffic.room`."""
        traffic = self.require_good(channel)
        if not traffic.room(own):
            unpaid, window = traffic.unpaid, traffic.window
            raise Refused("window", f"{unpaid} bytes were moved unpaid, of at most {window}: bill and acknowledge first", window=window)

    def moved_in(self, channel: bytes, size: int) -> None:
        """Bytes of a shard came."""
        self._traffic[channel] = accounts.moved_in(self.of(channel), size)

    def moved_out(self, channel: bytes, size: int) -> None:
        """Bytes were read."""
        self._traffic[channel] = accounts.moved_out(self.of(channel), size)

    def given_up(self, channel: bytes, size: int) -> None:
        """A shard of which so much came is not kept."""
        self._traffic[channel] = accounts.given_up(self.of(channel), size)

    def kept(self, context: Context, root: bytes, size: int) -> Claim | None:
        """What is owed for a shard that came; None where it was billed on this channel before."""
        if context.issued(ReceiptKind.TRANSFER, root):
            return None
        if (context.channel, root) not in self._owed:
            self._traffic[context.channel] = accounts.kept(self.of(context.channel), size)
        return self._claim(context, root, size)

    def bill(self, context: Context, period: int, claim: int) -> Claim | None:
        """What is owed for reads, by the smaller count; None where the period was billed before."""
        subject = accounts.reads(context.channel, period)
        if context.issued(ReceiptKind.TRANSFER, subject):
            return None
        known = self._bills.get((context.channel, subject))
        if known is None:
            self._traffic[context.channel], size = accounts.billed(self.of(context.channel), claim)
            known = self._bills[context.channel, subject] = self._claim(context, subject, size)
        return known

    def _claim(self, context: Context, subject: bytes, size: int) -> Claim:
        self._owed[context.channel, subject] = size
        return Claim(ReceiptKind.TRANSFER, subject, subject, size, transfer_amount(context.prices(ZERO), size))

    def answered(self, receipt: Receipt, accepted: bool) -> None:
        """A receipt, of this service or another, was answered."""
        channel, about = receipt.channel, (receipt.channel, receipt.subject)
        size = self._owed.pop(about, None)
        self._bills.pop(about, None)
        if receipt.kind == ReceiptKind.STORAGE:
            self._index.settled(receipt.subject, accepted, deals.paid)
        elif receipt.kind != ReceiptKind.DROPPED and size is None:
            return
        traffic = self.of(channel)
        if accepted:
            traffic = self._traffic[channel] = accounts.vouched(traffic, size or 0)
            self.earned += receipt.amount
        else:
            self._stopped.add(channel)
        self._index.note_channel(channel, traffic.paid, self.earned, stopped=channel in self._stopped)
