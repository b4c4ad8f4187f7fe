"""Sharing: giving a person an object's keys, taking what somebody gave, and following what they change.

A wallet says in a record for which key others seal (`receiving`), or hands the same record over as text. A share is a record of the owner's
under a label that says nothing, sealed by HPKE for the one person; whom each was given to stands in the owner's catalogue. Whoever takes a
share keeps its name, its keys and where the record is, and looks there again whenever it opens the object: a new content under the name,
or new keys after somebody else was left out, are found that way.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from surge.core.messages import decode_envelope, encode_envelope
from surge.core.storage import catalogue, records, shares
from surge.core.storage.catalogue import MAX_READERS, Entry, Reader, Source
from surge.core.storage.records import Record
from surge.core.storage.shares import RECEIVING, Share
from surge.core.types import Address
from surge.errors import InvalidInput, PeerFault, SurgeError, Unavailable
from surge.storage.names import Names
from surge.storage.notes import Outdated
from surge.wallet import ReceivingKey, seal

if TYPE_CHECKING:
    from surge.storage.client import Storage

log = logging.getLogger("surge.storage")

PURPOSE: Final = b"receiving files"
"""What a wallet derives its key for receiving from."""

TRIES: Final = 4


# The key that others seal for


def key_record(storage: Storage) -> Record:
    """The record in which this wallet says for which key others seal. It follows from the wallet, and is the same on every machine."""
    return records.sign(storage.wallet, RECEIVING, 1, _receiving(storage).public)


def _receiving(storage: Storage) -> ReceivingKey:
    return ReceivingKey(storage.wallet.derive(PURPOSE))


async def publish(storage: Storage) -> None:
    """Leave that record where others find it. Raises `Unavailable` when too few devices keep it."""
    record = key_record(storage)
    devices = await storage.notes.findable(record.author, await storage.devices())
    await storage.notes.leave(storage.wallet, record.label, record.version, record.body, devices)


async def published(storage: Storage) -> None:
    """Leave it once, with the first thing that is put; where that fails, `surge accept --publish` does it."""
    if await storage.journal.noted("published"):
        return
    try:
        await publish(storage)
    except (SurgeError, Outdated) as error:
        log.info("the key for receiving is not published: %s", error)
        return
    await storage.journal.setting("published", lambda: b"\x01")


async def reader_of(storage: Storage, who: Address) -> tuple[Address, bytes]:
    """Whom to seal for. Raises `InvalidInput` for one who published no key, `PeerFault` for a record that is none."""
    record = await storage.notes.newest(who, RECEIVING)
    if record is None:
        raise InvalidInput(
            f"{who} published no key to seal for: they run `surge accept --publish`, or give you what `surge accept --key` prints, which "
            "`--to-key` takes",
            address=who,
        )
    return who, shares.public_key(record, who)


# Giving


async def share(storage: Storage, name: str, who: tuple[Address, bytes]) -> str:
    """Give a person what opens an object: its address and the key to seal for; the link that it takes it by.

    Raises `InvalidInput` for a name that is not one's own.
    """
    found, entry, inside = await storage.locate(name)
    address, public = who
    if inside:
        raise InvalidInput(
            f"{name!r} is in the folder {found!r}, which has one key: share the folder, or put the file by itself", name=name
        )
    if entry.source is not None:
        raise InvalidInput(f"{name!r} was shared with you: only whose it is shares it", name=name)
    if address == storage.wallet.address:
        raise InvalidInput(f"{address} is you", address=address)
    known = next((each for each in entry.readers if each.address == address), None)
    if known is None and len(entry.readers) >= MAX_READERS:
        raise InvalidInput(f"{name!r} is shared with {MAX_READERS} people already, which is the most", name=name)
    reader = Reader(address, public, known.label if known else secrets.token_bytes(records.LABEL))
    others = tuple(each for each in entry.readers if each.address != address)
    entry = await _amend(storage, found, entry, (*others, reader))  # first, so that nothing is given of which the owner does not know
    await tell(storage, found, entry, reader)
    return shares.link(storage.book.author, reader.label)


async def _amend(storage: Storage, name: str, entry: Entry, readers: tuple[Reader, ...]) -> Entry:
    now = int(time.time())

    def update(names: Names) -> Names:
        there = names.get(name)
        if there is None or there.keys is None or entry.keys is None or there.keys.object != entry.keys.object:
            raise InvalidInput(f"{name!r} was changed by another machine: look again", name=name)
        changed = catalogue.changed_at(now, there)
        return names | {name: replace(there, readers=readers, changed=changed, writer=storage.book.writer)}

    return (await storage.book.change(update, await storage.devices(), now))[name]


async def tell(storage: Storage, name: str, entry: Entry, reader: Reader, *, again: bool = True) -> None:
    """Tell a reader the keys that an object has now; one whose share was taken back only if it is given `again`."""
    assert entry.keys is not None
    content = shares.encode(Share(name, entry.keys, entry.header, entry.created, entry.expires))
    about = shares.about(storage.book.author, reader.address, reader.label)
    await _leave(storage, reader.label, encode_envelope(seal(reader.public, about, content)), again=again)


async def tell_all(storage: Storage, name: str, entry: Entry) -> None:
    """Tell all its readers, but those who were being left out when that was cut off: they stay readers until it is done."""
    for reader in entry.readers:
        await tell(storage, name, entry, reader, again=False)


async def withdraw(storage: Storage, reader: Reader) -> None:
    """Take a share's record back: whoever looks finds it empty."""
    await _leave(storage, reader.label, b"")


async def _leave(storage: Storage, label: bytes, body: bytes, *, again: bool = True) -> None:
    """Leave a record of the owner's in place of what is there; of an empty one only `again`."""
    signer = storage.book.signer
    there = await storage.notes.newest(signer.address, label)
    if not again and there is not None and not there.body:
        return
    version = there.version + 1 if there is not None else 1
    devices = await storage.notes.findable(signer.address, await storage.devices())
    for _ in range(TRIES):
        try:
            await storage.notes.leave(signer, label, version, body, devices)
            return
        except Outdated as outdated:  # another machine of the owner's shares as well
            version = outdated.newer.version + 1
    raise Unavailable("other machines change what is shared at the same time: try again")


# Taking


async def accept(storage: Storage, link: str, name: str | None) -> str:
    """Take what somebody shared; the name that it has here. What was taken already keeps its name, or gets this one.

    Raises `InvalidInput` for a link that is none or leads nowhere, or a name that is taken.
    """
    source = Source(*shares.parse_link(link))
    share = await _shared(storage, source)
    if share is None:
        raise InvalidInput("nothing is shared by this link: it was taken back, or the devices that have it are away", link=link)
    if name is not None:
        name = catalogue.check_name(name)
    now, given = int(time.time()), ""

    def update(names: Names) -> Names:
        nonlocal given
        had = next((each for each, entry in names.items() if entry.source == source and entry.keys is not None), None)
        given = name or had or share.name
        there = names.get(given)
        if there is not None and there.keys is not None and there.source != source:
            if name is not None:
                raise InvalidInput(f"{name!r} is a name of something else: say another", name=name)
            given = catalogue.free_name(given, names)
            there = names.get(given)
        entry = Entry(share.keys, share.header, share.created, share.expires, catalogue.changed_at(now, there), storage.book.writer)
        changed = names | {given: replace(entry, source=source)}
        if had is not None and had != given:
            changed[had] = catalogue.removed(names[had], now, storage.book.writer)
        return changed

    await storage.book.change(update, await storage.devices(), now)
    return given


async def current(storage: Storage, name: str, entry: Entry) -> Entry:
    """What somebody shared, as it is now. Where nobody tells, as it was. Raises `InvalidInput` once it was taken back."""
    assert entry.source is not None
    try:
        share = await _shared(storage, entry.source)
    except Unavailable as error:
        log.info("whether %r changed is not known: %s", name, error)
        return entry
    if share is None:
        raise InvalidInput(f"{name!r} is not shared with you any more: `surge rm` forgets the name", name=name)
    return replace(entry, keys=share.keys, header=share.header, created=share.created, expires=share.expires)


async def _shared(storage: Storage, source: Source) -> Share | None:
    """What a share's record says now; None for an empty one, and for none. Raises `PeerFault`, `Unavailable`."""
    record = await storage.notes.newest(source.author, source.label)
    if record is None or not record.body:
        return None
    about = shares.about(source.author, storage.wallet.address, source.label)
    try:
        return shares.decode(_receiving(storage).open(decode_envelope(record.body), about))
    except PeerFault as fault:
        raise InvalidInput(f"this was not shared with the wallet {storage.wallet.address}: {fault}") from fault
