"""An owner's storage on one network: its names, its objects, the devices that hold them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from surge.buyer.client import Client
from surge.core import canonical
from surge.core.eip712 import Domain
from surge.core.parameters import StorageParameters
from surge.core.storage import catalogue
from surge.core.storage.catalogue import Entry, Keys
from surge.core.storage.header import Header, Kind
from surge.core.storage.map import Placed
from surge.core.storage.placement import measured_uptime
from surge.core.text import counted
from surge.core.types import Address
from surge.errors import InvalidInput
from surge.storage import sharing
from surge.storage.fleet import Fleet
from surge.storage.journal import KEPT, STORED, DealRow, FilesJournal, ObjectRow
from surge.storage.maps import read_map
from surge.storage.names import PURPOSE, Book
from surge.storage.notes import Notes
from surge.storage.packing import LeftOut
from surge.storage.service import pledge_domain
from surge.wallet import KeySigner

JOURNAL: Final = "files.db"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a name stands for, as users see it."""

    name: str
    size: int
    """Bytes of the file, or of a folder with its index."""
    kind: str
    """"file", or "tree" for a folder."""
    created: int
    """When it was put, in Unix seconds."""
    expires: int
    """Until when it is to be kept, in Unix seconds; 0 for as long as somebody keeps it."""
    k: int
    """Shards of a segment that are enough."""
    n: int
    """Shards that there are, when all is well."""
    readers: tuple[str, ...]
    """Whom it is shared with."""
    left_out: tuple[LeftOut, ...] = ()
    """What `put` left out of a folder just now: links, empty folders, what is no file. Nobody knows it later."""
    missing: int = 0
    """Shards that `put` could not place just now: a repair places them. `details` tells it later."""


class Storage:
    """Everything that storing and reading need, for one wallet. `open` makes it."""

    def __init__(
        self, client: Client, fleet: Fleet, journal: FilesJournal, book: Book, wallet: KeySigner, owner: Address | None = None
    ) -> None:
        self.client = client
        self.fleet = fleet
        self.journal = journal
        self.book = book
        self.wallet = wallet
        self.owner = owner or wallet.address
        """Whose objects they are: another's, where this wallet is its delegate's."""
        self.notes = book.notes
        self._parameters: StorageParameters | None = None

    @classmethod
    async def open(cls, client: Client, owner: Address | None = None) -> Storage:
        """The storage of a client's wallet, or of the owner whose delegate it is.

        Raises `InvalidInput` for a wallet whose key is not here, `Unavailable` without a network.
        """
        wallet = client.wallet
        if not isinstance(wallet, KeySigner):
            raise InvalidInput("names are sealed under a key that follows from the wallet's, and this wallet only signs: use a key by name")
        market, relays = await client.market(), await client.relays()
        journal = await asyncio.to_thread(FilesJournal, client.home.folder / JOURNAL)
        fleet = Fleet(client.home.network, market, relays, KeySigner.random())
        writer = await journal.setting("writer", lambda: secrets.token_bytes(8))
        book = Book(wallet.derived(PURPOSE), wallet.derive(PURPOSE + b" sealed"), journal, Notes(fleet), fleet, writer)
        return cls(client, fleet, journal, book, wallet, owner)

    async def close(self) -> None:
        """Pay what was read, and close the journal. Sessions stay with the market."""
        await self.note_spoiled()
        await self.fleet.bill_all()
        await asyncio.to_thread(self.journal.close)

    async def note_spoiled(self) -> None:
        """What reads found to be other bytes is on disk, for the keeper to heed."""
        while self.fleet.spoiled:
            found = self.fleet.spoiled[0]
            await self.journal.spoil(found.details["deal"], found.details["device"], found.details["root"], found.message)
            if found in self.fleet.spoiled:
                self.fleet.spoiled.remove(found)

    @property
    def leases(self) -> Path:
        """Where it stands which process puts which object."""
        return self.client.home.leases

    # What the network says

    @property
    def domain(self) -> Domain:
        """The domain of pledges and releases."""
        return pledge_domain(self.client.home.network)

    async def parameters(self) -> StorageParameters:
        """The network's numbers, from its ledger, once."""
        if self._parameters is None:
            self._parameters = await (await self.client.ledger()).challenges.parameters()
        return self._parameters

    async def period(self) -> int:
        """Seconds in which holders are audited and paid once."""
        return (await self.parameters()).period_seconds

    async def penalty(self) -> int:
        """Wei that pledges put at stake: the least, which is many times what a shard earns."""
        return (await self.parameters()).least_penalty

    async def uptime(self, device: Address) -> float:
        """The part of the time for which a device was there, as far as its keeper saw."""
        return measured_uptime(*await self.journal.seen(device))

    # Names

    async def find(self, name: str) -> tuple[str, Entry, str]:
        """The entry behind a name, and what is left of the name within a folder: "" for the object itself. Raises `InvalidInput`.

        What somebody shared is as it is with them now.
        """
        found, entry, inside = await self.locate(name)
        return found, entry if entry.source is None else await sharing.current(self, found, entry), inside

    async def locate(self, name: str) -> tuple[str, Entry, str]:
        """The same as the catalogue has it."""
        wanted = catalogue.check_name(name)
        names = await self.book.read()
        found = find_in(names, wanted)
        if found is None:
            self.book.check_there(_above(wanted))
            raise nothing(names, name, wanted)
        return found

    async def list(self) -> list[Stored]:
        """All names, in order."""
        names = await self.book.read()
        return [stored(name, entry) for name, entry in sorted(names.items()) if entry.keys is not None]

    async def name(self, name: str, entry: Entry, before: Entry | None) -> str:
        """Have a name stand for an object, and leave the names with the devices that have it; the name that it got.

        When another machine gave the name to something else since `before`, that keeps a name of its own.
        """
        devices = await self.devices()
        writer, now = self.book.writer, int(time.time())
        fresh = replace(entry, changed=catalogue.changed_at(now, before), writer=writer)

        def update(names: dict[str, Entry]) -> dict[str, Entry]:
            there = names.get(name)
            if there is not None and there.keys is not None and there != before:
                names[catalogue.free_name(name, names)] = there
            return names | {name: replace(fresh, changed=catalogue.changed_at(fresh.changed, there))}

        names = await self.book.change(update, devices, now)
        assert fresh.keys is not None
        return next((each for each, found in names.items() if found.keys is not None and found.keys.object == fresh.keys.object), name)

    async def move(self, name: str, to: str) -> None:
        """Give an object another name. Raises `InvalidInput` where there is none, or the other is taken."""
        old, new = catalogue.check_name(name), catalogue.check_name(to)
        now = int(time.time())

        def update(names: dict[str, Entry]) -> dict[str, Entry]:
            entry = names.get(old)
            if entry is None or entry.keys is None:
                found = find_in(names, old)
                if found is not None:
                    raise in_folder(name, found[0], "give that another name, or put the folder again as you want it")
                raise nothing(names, name, old)
            taken = names.get(new)
            if taken is not None and taken.keys is not None:
                raise InvalidInput(f"{to!r} is a name of something else: remove it first", name=to)
            moved = replace(entry, changed=catalogue.changed_at(now, taken or entry), writer=self.book.writer)
            return names | {new: moved, old: catalogue.removed(entry, now, self.book.writer)}

        await self.book.change(update, await self.devices(), now)

    async def forget(self, name: str, entry: Entry) -> None:
        """Remove a name, and with it the only place where the object's key is."""
        now = int(time.time())

        def update(names: dict[str, Entry]) -> dict[str, Entry]:
            there = names.get(name)
            if there is None or there.keys is None or entry.keys is None or there.keys.object != entry.keys.object:
                raise InvalidInput(f"{name!r} was changed by another machine: look again", name=name)
            return names | {name: catalogue.removed(there, now, self.book.writer)}

        await self.book.change(update, await self.devices(), now)

    async def adopt(self, keys: Keys, header: Header, name: str) -> None:
        """Learn an object's deals from its map, where they were made on another machine."""
        if await self.journal.objects(id=keys.object):
            return
        found = await read_map(self.notes, keys, header)
        penalty = await self.penalty()
        rows = []
        for page in found.pages:
            for offset, segment in enumerate(page.segments):
                for index, shard in enumerate(segment.shards):
                    if (placed := shard.placed) is not None:
                        rows.append(adopted(keys.object, page.first + offset, index, segment.layout.shard, shard.check, placed, penalty))
        await self.journal.put_deals(rows)
        await self.journal.put_maps(keys.object, found.versions)
        await self.journal.put_object(
            ObjectRow(
                id=keys.object,
                name=name,
                source="",
                stamp="",
                keys=canonical.encode(keys.fields()),
                kind=str(header.kind),
                size=header.size,
                segment_size=header.segment_size,
                k=header.k,
                n=header.n,
                created=0,
                expires=0,
                state=STORED,
            )
        )

    async def map_version(self, keys: Keys, page: int) -> int:
        """The version of a page of an object's map that was written or read last here; 0 for none."""
        rows = await self.journal.read("SELECT version FROM maps WHERE object = ? AND page = ?", (keys.object, page))
        return int(rows[0][0]) if rows else 0

    async def devices(self) -> Sequence[Address]:
        """Where records are left: devices that hold something for this wallet, those with a session first.

        Where none does, any: they take a few records of wallets that have nothing there.
        """
        held = await self.journal.holding()
        if not held:  # the wallet came from another machine
            await self.book.read()
            held = set(self.notes.likely)
        offered = await self.fleet.offers()
        connected = {each.device for each in await self.fleet.known()}
        return sorted(
            (held & offered.keys()) or offered, key=lambda device: (device not in connected, self.fleet.is_shunned(device), device)
        )


def _above(name: str) -> list[str]:
    """A name, and the folders that it may be in."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def find_in(names: Mapping[str, Entry], wanted: str) -> tuple[str, Entry, str] | None:
    """The entry behind a name among these, with its own name and what is left of the name within a folder; None for nothing."""
    entry = names.get(wanted)
    if entry is not None and entry.keys is not None:
        return wanted, entry, ""
    parts = wanted.split("/")
    for count in range(len(parts) - 1, 0, -1):
        folder = "/".join(parts[:count])
        entry = names.get(folder)
        if entry is not None and entry.keys is not None and entry.header.kind == Kind.TREE:
            return folder, entry, "/".join(parts[count:])
    return None


def nothing(names: Mapping[str, Entry], name: str, wanted: str) -> InvalidInput:
    """The error for a name that stands for nothing: there may be names below it, of which each is one of its own."""
    below = sorted(each for each, entry in names.items() if entry.keys is not None and each.startswith(f"{wanted}/"))
    if not below:
        return InvalidInput(f"nothing is stored as {name!r}: `surge ls` shows what is", name=name)
    there = f"there {'is' if len(below) == 1 else 'are'} {counted(len(below), 'name')} below it"
    return InvalidInput(
        f"nothing is stored as {name!r} itself; {there}, each stored by itself: name them whole, such as {below[0]!r} "
        f"(`surge ls {wanted}` shows them)",
        name=name,
        below=below,
    )


def in_folder(name: str, folder: str, advice: str) -> InvalidInput:
    """The error for what is done to whole objects, and not to a part of a folder."""
    return InvalidInput(f"{name!r} is in the folder {folder!r}, which was put as a whole: {advice}", name=name, folder=folder)


def stored(name: str, entry: Entry) -> Stored:
    """An entry as users see it."""
    header = entry.header
    return Stored(
        name, header.size, str(header.kind), entry.created, entry.expires, header.k, header.n, tuple(each.address for each in entry.readers)
    )


def fresh_keys() -> Keys:
    """The keys of a new object."""
    signer_secret = secrets.token_bytes(32)
    signer = KeySigner(signer_secret)
    return Keys(secrets.token_bytes(32), secrets.token_bytes(32), secrets.token_bytes(32), signer_secret, signer.address)


def entry_of(keys: Keys, header: Header, created: int, expires: int) -> Entry:
    """The entry of a new object, without a place in time yet."""
    return Entry(keys, header, created, expires, 0, bytes(8))


def adopted(object_id: bytes, segment: int, shard: int, size: int, check: bytes, placed: Placed, penalty: int) -> DealRow:
    """A deal as a map has it, of whose pledge and pay nothing is known here."""
    return DealRow(
        id=placed.deal,
        object=object_id,
        segment=segment,
        shard=shard,
        device=placed.device,
        operator=placed.operator,
        root=placed.root,
        digest=check,
        size=size,
        price=placed.price,
        penalty=penalty,
        starts=0,
        until=0,
        ends=placed.ends,
        paid=0,
        signature=None,
        state=KEPT,
    )
