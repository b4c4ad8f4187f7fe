"""A channel's account out of the journal: after a restart it stands where it stood."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from surge.buyer.auditor import Party
from surge.buyer.intents import Intents
from surge.buyer.journal import ChannelRow, Journal
from surge.buyer.payer import Payer
from surge.core.channels import Answered, BuyerChannel
from surge.core.messages import Acknowledge, encode
from surge.core.messages.fields import wei_bytes
from surge.core.messages.session import MAX_PENDING
from surge.core.receipts import FUELLED
from surge.core.signing import Signer
from surge.errors import InternalFault, PeerFault


async def open_payer(
    journal: Journal,
    row: ChannelRow,
    party: Party,
    signer: Signer,
    top_up: Callable[[int], Awaitable[int]] | None = None,
    raise_floor: Callable[[int, bytes], Awaitable[int]] | None = None,
) -> Payer:
    """The account of a channel, as its journal leaves it. Raises `InternalFault` where the journal contradicts itself."""
    rows = await journal.read(
        "SELECT number, sequence, accepted, amount, leaf, kind, subject, outcome IS NULL OR NOT EXISTS "
        "(SELECT 1 FROM tries WHERE tries.channel = receipts.channel AND tries.unit = receipts.subject) "
        "FROM receipts WHERE channel = ? ORDER BY number",
        (row.id,),
    )
    channel = BuyerChannel(party.domain, row.id, party.buyer, party.device, signer.address, row.deposit)
    leaves = [Answered(number, sequence, bool(yes), int(amount), leaf) for number, sequence, yes, amount, leaf, *_ in rows]
    await asyncio.to_thread(channel.restore, leaves)
    state = channel.state()
    if (state.count, state.amount) != (row.count, row.amount) or (row.root is not None and state.root != row.root):
        raise InternalFault(f"the journal's receipts of channel 0x{row.id.hex()} do not give its voucher", channel=row.id)
    # what was paid before it was judged, or was taken back since, is asked for again, and billed again
    subjects = [subject for _, _, yes, _, _, kind, subject, is_open in rows if kind in FUELLED and yes and not is_open]
    intents = await Intents.load(journal, row.id)
    return Payer(channel, party, signer, journal, intents, subjects=subjects, top_up=top_up, floor=row.floor, raise_floor=raise_floor)


async def acknowledgement_since(journal: Journal, channel: bytes, count: int) -> tuple[bytes, int]:
    """The acknowledgement of our log's leaves from `count` on, for a provider that missed it, and the log's size after it."""
    rows = await journal.read("SELECT amount, count, root, signature FROM channels WHERE id = ?", (channel,))
    amount, size, root, signature = rows[0]
    entries = await journal.read(
        "SELECT sequence, accepted FROM receipts WHERE channel = ? AND number >= ? AND number < ? ORDER BY number",
        (channel, count, size),
    )
    if len(entries) > MAX_PENDING:
        raise PeerFault(f"a provider lost {len(entries)} acknowledgements of channel 0x{channel.hex()}", channel=channel)
    pairs = [(sequence, bool(accepted)) for sequence, accepted in entries]
    return encode(Acknowledge(pairs, wei_bytes(int(amount)), size, root, signature)), size


class Lease:
    """The right of one process to use a channel, or to work on a job: a lock that the system drops when the process dies."""

    def __init__(self, folder: Path, channel: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: int | None = os.open(folder / f"{channel.hex()}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            self._file = None

    @staticmethod
    def is_taken(folder: Path, name: bytes) -> bool:
        """Whether some process, this one or another, has it now."""
        try:
            file = os.open(folder / f"{name.hex()}.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
        return False

    @property
    def held(self) -> bool:
        """Whether we have it."""
        return self._file is not None

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
