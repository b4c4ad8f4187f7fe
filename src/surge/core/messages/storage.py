"""Bodies of the storage service: shards come (`open`, `write`, `keep`), are read, proved, paid for (`renew`) and dropped; records are kept.
What visitors say is in `holder_visits`.

Leaves here are transfer leaves of 64 KiB, counted from 0. Times are Unix seconds. See `core.storage.deals` for what a holder agrees to.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core.messages.compute import Body
from surge.core.messages.fields import AddressText, Bytes32, Count, Signature, WeiBytes, decode

LEAF = 64 << 10
"""Bytes of a transfer leaf: what moves, and is verified, as a whole."""

MOST_LEAVES = 7
"""Transfer leaves that move at once: what a message holds, with a proof beside them."""

MOST_MOVED = MOST_LEAVES * LEAF
"""Bytes of a shard that move at once: 448 KiB."""

MAX_SHARD = 4096 * (LEAF + 16)
"""Bytes of a shard: the largest segment, whole and sealed."""

MAX_PROOF = 8 << 10
"""Bytes of the hashes that prove a range of leaves: two sides of at most seven siblings a level, and seven levels at most."""

MAX_PATH = 2 << 10
"""Bytes of the hashes that prove one 1 KiB leaf: at most seven siblings a level, and seven levels at most."""

PROOF_LEAF = 1 << 10
"""Bytes of a proof leaf."""

MOST_PROVED = 128
"""Deals that one call proves: their leaves and paths fit into a message."""

MOST_RENEWED = 1024
"""Deals that one call renews, and that one answer lists: they fit into a message, and so do their pledges' signatures."""

MAX_RECORD = (400 << 10) + 256
"""Bytes of an encoded record."""

Leaf = Annotated[int, msgspec.Meta(ge=0, le=MAX_SHARD // LEAF + 1)]
Size = Annotated[int, msgspec.Meta(ge=1, le=MAX_SHARD)]
Moved = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MOST_MOVED)]
Deals = Annotated[list[Bytes32], msgspec.Meta(min_length=1, max_length=MOST_RENEWED)]
RecordBytes = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_RECORD)]
MaybeRecord = Annotated[bytes, msgspec.Meta(max_length=MAX_RECORD)]


class Open(Body, frozen=True):
    """Reserve room for a shard. The same again gives how far it is."""

    deal: Bytes32
    size: Size
    """Bytes of the masked shard."""
    root: Bytes32
    """Of the tree over them."""
    owner: AddressText
    """Whom a slashed penalty compensates."""
    keeper: AddressText
    """Who may release the deal."""
    tag: Bytes32
    """The same for all shards of one segment, and of nothing else: a holder has one of them."""
    price: WeiBytes
    """For a gigabyte over 30 days: what the offer says, or more."""
    penalty: WeiBytes
    """What the pledge puts at stake."""
    starts: Count
    until: Count
    """The first pledge's end."""
    ends: Count
    """The term's end: pledges are renewed until then at this price."""


class Here(Body, frozen=True):
    """So many transfer leaves are here, from the first on."""

    leaves: Leaf


class Write(Body, frozen=True):
    """The next transfer leaves of a shard: whole ones, but for the shard's last."""

    deal: Bytes32
    first: Leaf
    data: Moved


class Keep(Body, frozen=True):
    """The shard is whole: verify it and pledge."""

    deal: Bytes32


class Pledged(Body, frozen=True):
    """The shard is on disk under its root."""

    signature: Signature
    """The device's, over the pledge that `Open` states."""


class Read(Body, frozen=True):
    """Send transfer leaves."""

    deal: Bytes32
    first: Leaf
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_LEAVES)]


class Leaves(Body, frozen=True):
    """They are these."""

    data: Moved
    proof: Annotated[bytes, msgspec.Meta(max_length=MAX_PROOF)]
    """The hashes that lead from them to the root, in a row."""


class BillReads(Body, frozen=True):
    """The reader states what it counted since the last time, and asks for the receipt."""

    period: Count
    """How many bills there were before on the channel."""
    size: Count
    """Bytes of leaves read."""


class Prove(Body, frozen=True):
    """Show one proof leaf of each shard: that numbered SHA-256(seed, deal) modulo the leaves it has."""

    seed: Bytes32
    deals: Annotated[list[Bytes32], msgspec.Meta(min_length=1, max_length=MOST_PROVED)]


class Proof(Body, frozen=True):
    """One proof leaf, and the way to the root."""

    leaf: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PROOF_LEAF)]
    path: Annotated[bytes, msgspec.Meta(max_length=MAX_PATH)]
    """The hashes that lead from it to the root, in a row."""


class Proofs(Body, frozen=True):
    """What is here, in the order asked."""

    proofs: Annotated[list[Proof | None], msgspec.Meta(max_length=MOST_PROVED)]
    """None for a shard that is not here."""


class Renew(Body, frozen=True):
    """Pay deals for the time that ended, and have them pledged on."""

    period: Count
    """How many renewals there were before on the channel."""
    since: Count
    """What is paid: of each deal, the time from here that was not paid before,"""
    until: Count
    """to here, which is now."""
    pledged: Count
    """The new pledges' end."""
    deals: Deals


class Renewed(Body, frozen=True):
    """The new pledges: each is the deal's last one, with `starts` at the end of what was paid and `until` as asked."""

    signatures: Annotated[list[Signature], msgspec.Meta(max_length=MOST_RENEWED)]
    """In the order asked."""
    since: Annotated[list[Count], msgspec.Meta(max_length=MOST_RENEWED)]
    """From when each is paid: what was asked, or later where another keeper paid until then."""


class Drop(Body, frozen=True):
    """Forget a shard."""

    deal: Bytes32
    release: Signature
    """The deal's keeper's, over `core.storage.pledges.Release`."""


class ListDeals(Body, frozen=True):
    """Name deals of this channel's buyer, or owned by it, in the order of their ids."""

    after: Annotated[bytes, msgspec.Meta(max_length=32)]
    """The last one named before; empty to begin."""
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_RENEWED)]


class Listed(Body, frozen=True):
    """They are these."""

    deals: Annotated[list[tuple[Bytes32, Count]], msgspec.Meta(max_length=MOST_RENEWED)]
    """Deals that are kept, and when their last pledge ends. Fewer than asked for: there are no more."""
    leaving: bool
    """Whether the device leaves: it takes no new deals, and asks for those it has to be moved."""


class PutRecord(Body, frozen=True):
    """Keep a record, unless a newer one is here."""

    record: RecordBytes
    """As `core.storage.records` encodes it."""


class RecordKept(Body, frozen=True):
    """What became of a record that was put."""

    kept: bool
    """Whether it is here now: it is newer than what was, or the same."""
    record: MaybeRecord
    """Where it is not: the one that is; otherwise empty."""


class GetRecord(Body, frozen=True):
    """Send the newest version of a record."""

    author: AddressText
    label: Bytes32


class FoundRecord(Body, frozen=True):
    """It is this one."""

    record: MaybeRecord
    """Empty where there is none here."""


class Permitted(Body, frozen=True):
    """How much was read by permits on this channel and is not billed yet? From this call on the holder knows who signs for the channel."""


class PermittedRead(Body, frozen=True):
    """So much."""

    size: Count
    """Bytes, as the holder counts them."""


_open: msgspec.msgpack.Decoder[Open] = msgspec.msgpack.Decoder(Open)
_here: msgspec.msgpack.Decoder[Here] = msgspec.msgpack.Decoder(Here)
_write: msgspec.msgpack.Decoder[Write] = msgspec.msgpack.Decoder(Write)
_keep: msgspec.msgpack.Decoder[Keep] = msgspec.msgpack.Decoder(Keep)
_pledged: msgspec.msgpack.Decoder[Pledged] = msgspec.msgpack.Decoder(Pledged)
_read: msgspec.msgpack.Decoder[Read] = msgspec.msgpack.Decoder(Read)
_leaves: msgspec.msgpack.Decoder[Leaves] = msgspec.msgpack.Decoder(Leaves)
_bill_reads: msgspec.msgpack.Decoder[BillReads] = msgspec.msgpack.Decoder(BillReads)
_prove: msgspec.msgpack.Decoder[Prove] = msgspec.msgpack.Decoder(Prove)
_proofs: msgspec.msgpack.Decoder[Proofs] = msgspec.msgpack.Decoder(Proofs)
_renew: msgspec.msgpack.Decoder[Renew] = msgspec.msgpack.Decoder(Renew)
_renewed: msgspec.msgpack.Decoder[Renewed] = msgspec.msgpack.Decoder(Renewed)
_drop: msgspec.msgpack.Decoder[Drop] = msgspec.msgpack.Decoder(Drop)
_list_deals: msgspec.msgpack.Decoder[ListDeals] = msgspec.msgpack.Decoder(ListDeals)
_listed: msgspec.msgpack.Decoder[Listed] = msgspec.msgpack.Decoder(Listed)
_put_record: msgspec.msgpack.Decoder[PutRecord] = msgspec.msgpack.Decoder(PutRecord)
_record_kept: msgspec.msgpack.Decoder[RecordKept] = msgspec.msgpack.Decoder(RecordKept)
_get_record: msgspec.msgpack.Decoder[GetRecord] = msgspec.msgpack.Decoder(GetRecord)
_found_record: msgspec.msgpack.Decoder[FoundRecord] = msgspec.msgpack.Decoder(FoundRecord)
_permitted_read: msgspec.msgpack.Decoder[PermittedRead] = msgspec.msgpack.Decoder(PermittedRead)
_permitted: msgspec.msgpack.Decoder[Permitted] = msgspec.msgpack.Decoder(Permitted)


def decode_open(data: bytes) -> Open:
    """The body of an `open` call, or `PeerFault`."""
    return decode(_open, data, "a call to open a deal")


def decode_here(data: bytes) -> Here:
    """The answer to `open` and `write`, or `PeerFault`."""
    return decode(_here, data, "an answer about leaves that are there")


def decode_write(data: bytes) -> Write:
    """The body of a `write` call, or `PeerFault`."""
    return decode(_write, data, "a call to write leaves")


def decode_keep(data: bytes) -> Keep:
    """The body of a `keep` call, or `PeerFault`."""
    return decode(_keep, data, "a call to keep a shard")


def decode_pledged(data: bytes) -> Pledged:
    """The answer to `keep`, or `PeerFault`."""
    return decode(_pledged, data, "a pledge")


def decode_read(data: bytes) -> Read:
    """The body of a `read` call, or `PeerFault`."""
    return decode(_read, data, "a call to read leaves")


def decode_leaves(data: bytes) -> Leaves:
    """The answer to `read`, or `PeerFault`."""
    return decode(_leaves, data, "an answer with leaves")


def decode_bill_reads(data: bytes) -> BillReads:
    """The body of a `bill` call, or `PeerFault`."""
    return decode(_bill_reads, data, "a call to bill reads")


def decode_prove(data: bytes) -> Prove:
    """The body of a `prove` call, or `PeerFault`."""
    return decode(_prove, data, "a call to prove deals")


def decode_proofs(data: bytes) -> Proofs:
    """The answer to `prove`, or `PeerFault`."""
    return decode(_proofs, data, "an answer with proofs")


def decode_renew(data: bytes) -> Renew:
    """The body of a `renew` call, or `PeerFault`."""
    return decode(_renew, data, "a call to renew deals")


def decode_renewed(data: bytes) -> Renewed:
    """The answer to `renew`, or `PeerFault`."""
    return decode(_renewed, data, "an answer with new pledges")


def decode_drop(data: bytes) -> Drop:
    """The body of a `drop` call, or `PeerFault`."""
    return decode(_drop, data, "a call to drop a shard")


def decode_list(data: bytes) -> ListDeals:
    """The body of a `list` call, or `PeerFault`."""
    return decode(_list_deals, data, "a call to list deals")


def decode_listed(data: bytes) -> Listed:
    """The answer to `list`, or `PeerFault`."""
    return decode(_listed, data, "a list of deals")


def decode_put_record(data: bytes) -> PutRecord:
    """The body of a `put_record` call, or `PeerFault`."""
    return decode(_put_record, data, "a call to keep a record")


def decode_record_kept(data: bytes) -> RecordKept:
    """The answer to `put_record`, or `PeerFault`."""
    return decode(_record_kept, data, "an answer about a record")


def decode_get_record(data: bytes) -> GetRecord:
    """The body of a `get_record` call, or `PeerFault`."""
    return decode(_get_record, data, "a call for a record")


def decode_found_record(data: bytes) -> FoundRecord:
    """The answer to `get_record`, or `PeerFault`."""
    return decode(_found_record, data, "an answer with a record")


def decode_permitted(data: bytes) -> Permitted:
    """The body of a `permitted` call, or `PeerFault`."""
    return decode(_permitted, data, "a call for what was read by permits")


def decode_permitted_read(data: bytes) -> PermittedRead:
    """The answer to `permitted`, or `PeerFault`."""
    return decode(_permitted_read, data, "an answer about what was read by permits")
