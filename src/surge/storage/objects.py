"""Putting, getting and removing what a name stands for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from surge.core import canonical
from surge.core.storage import catalogue
from surge.core.storage import map as pages
from surge.core.storage.catalogue import Entry, Keys, keys_of
from surge.core.storage.header import Header, Kind
from surge.core.storage.layout import SEGMENT
from surge.core.storage.map import Page, Placed, Segment, Shard
from surge.core.storage.placement import Candidate, Code, Wanted, choose_code, measured_code
from surge.core.storage.pledges import Release
from surge.core.storage.trees import Entry as TreeEntry
from surge.core.text import counted
from surge.core.types import Address
from surge.errors import InvalidInput, SurgeError, Unavailable
from surge.storage import sharing
from surge.storage.client import Storage, Stored, entry_of, fresh_keys, stored
from surge.storage.deals import FOREVER, term
from surge.storage.fleet import at_most
from surge.storage.holder import Shard as HeldShard
from surge.storage.journal import DROPPED, GONE, KEPT, LOST, OPENING, PUTTING, STORED, DealRow, ObjectRow
from surge.storage.maps import Map, read_map, write_page
from surge.storage.notes import Outdated
from surge.storage.packing import Content
from surge.storage.putting import Plan, Putting
from surge.storage.reading import Reader
from surge.storage.tree_reading import TreeReader
from surge.wallet import KeySigner

log = logging.getLogger("surge.storage")

Told = Callable[[int], None]
"""Hears how many bytes are safe, or are there."""

DROPS_AT_ONCE = 32


async def candidates(storage: Storage, max_price: int | None) -> list[Candidate]:
    """Devices that lend disk, and may be used."""
    offers = await storage.fleet.offers()
    return [
        Candidate(
            device=signed.offer.device,
            operator=signed.offer.operator,
            region=signed.offer.region,
            uptime=await storage.uptime(signed.offer.device),
            price=signed.offer.storage,
            room=signed.offer.room,
        )
        for signed in offers.values()
        if (max_price is None or signed.offer.storage <= max_price) and not storage.fleet.is_shunned(signed.offer.device)
    ]


async def put(
    storage: Storage,
    content: Content,
    name: str,
    *,
    seconds: int,
    code: tuple[int, int] | None = None,
    max_price: int | None = None,
    segment_size: int = SEGMENT,
    readers: tuple[catalogue.Reader, ...] | None = None,
    told: Told = lambda _: None,
) -> Stored:
    """Put something under a name, to be kept for so many seconds (`FOREVER` while its keeper goes on); what the name stands for then.

    What has the name already is replaced, once the new is safe; whom it is shared with goes on to read what has the name, unless other
    `readers` are named. Raises `Unavailable` when too few devices take it; what is safe by then is
    gone on with by the next try.
    """
    name = catalogue.check_name(name)
    before = (await storage.book.read()).get(name)
    now = int(time.time())
    found = await candidates(storage, max_price)
    row = await _begun(storage, content, name)
    if row is None:
        keys, (chosen, _) = fresh_keys(), chosen_code(found, code)
        header = Header(content.size, content.kind, segment_size, chosen.k, chosen.n)
        expires = now + seconds if seconds else FOREVER
        row = ObjectRow(
            id=keys.object,
            name=name,
            source=content.source,
            stamp=content.stamp,
            keys=canonical.encode(keys.fields()),
            kind=str(header.kind),
            size=header.size,
            segment_size=header.segment_size,
            k=header.k,
            n=header.n,
            created=now,
            expires=expires,
            state=PUTTING,
        )
        await storage.journal.put_object(row)
    keys, header = keys_of(canonical.decode(row.keys)), header_of(row)
    period = await storage.period()
    deals = term(now, max(0, row.expires - now) if row.expires else FOREVER, period, await storage.penalty())
    await Putting(storage, Plan(keys, header, deals, found, max_price), content, told).run()
    await write_map(storage, keys, header)
    if readers is None:
        readers = before.readers if before is not None else ()
    given = await storage.name(name, replace(entry_of(keys, header, row.created, row.expires), readers=readers), before)
    entry = (await storage.book.here())[given]
    await sharing.tell_all(storage, given, entry)
    await storage.journal.put_object(replace(row, state=STORED, name=given))
    if before is not None and before.keys is not None and before.keys.map and before.keys.object != keys.object:
        await storage.adopt(before.keys, before.header, name)
        await let_go(storage, before.keys, before.header)
    await sharing.published(storage)
    return stored(given, entry)


async def _begun(storage: Storage, content: Content, name: str) -> ObjectRow | None:
    """A put of the same content under the same name that was cut off."""
    if not content.source:
        return None
    for row in await storage.journal.objects(state=PUTTING, source=content.source):
        if (row.name, row.stamp, row.size) == (name, content.stamp, content.size) and (not row.expires or row.expires > time.time()):
            return row
    return None


def chosen_code(found: Sequence[Candidate], asked: tuple[int, int] | None) -> tuple[Code, str]:
    """The code, and why this one. Raises `Unavailable`, `InvalidInput`."""
    operators = len({each.operator for each in found})
    if not operators:
        raise Unavailable("no device offers storage now: lend some with `surge provide --storage 50GB`, or try again when others do")
    offering = f"{counted(operators, 'operator')} that {'offers' if operators == 1 else 'offer'} storage now"
    if asked is None:
        code = choose_code(found, Wanted())
        judged = "enough for what is usually wanted" if code.enough else "the best that they allow, and less than is usually wanted"
        return code, f"chosen for the {offering}: {judged}"
    k, n = asked
    if not 1 <= k <= n:
        raise InvalidInput(f"a code of {k} of {n} is none: write K/N, such as 20/30", k=k, n=n)
    if n > operators:
        raise InvalidInput(
            f"{n} shards go to {n} operators, and {counted(operators, 'operator')} offer storage now", n=n, operators=operators
        )
    return measured_code(found, k, n), f"as asked, among the {offering}"


def header_of(row: ObjectRow) -> Header:
    """The header of an object in the journal."""
    return Header(row.size, Kind(row.kind), row.segment_size, row.k, row.n)


# The map


async def write_map(storage: Storage, keys: Keys, header: Header) -> None:
    """Write the map of an object from the journal, where it changed."""
    deals = await storage.journal.deals(object=keys.object, state=KEPT)
    devices = list(dict.fromkeys(deal.device for deal in deals))
    for number in range(pages.pages(header.layout.segments)):
        page = page_of(keys, header, number, deals, await _checks(storage, keys))
        version = await storage.map_version(keys, number)
        while True:
            try:
                await write_page(storage.notes, storage.journal, keys, page, version, devices)
                break
            except Outdated as outdated:  # this put again, after it was cut off between leaving a record and noting that
                version = outdated.newer.version


async def _checks(storage: Storage, keys: Keys) -> dict[tuple[int, int], bytes]:
    """The checks of all shards, also of those that are nowhere."""
    return {(deal.segment, deal.shard): deal.digest for deal in await storage.journal.deals(object=keys.object) if deal.digest}


def page_of(keys: Keys, header: Header, number: int, deals: Sequence[DealRow], checks: dict[tuple[int, int], bytes]) -> Page:
    """A page of the map, from deals that are kept."""
    layout = header.layout
    placed = {(deal.segment, deal.shard): Placed(deal.device, deal.operator, deal.id, deal.root, deal.price, deal.ends) for deal in deals}
    first = number * pages.PAGE
    segments = tuple(
        Segment(layout.segment(each), tuple(Shard(checks[each, index], placed.get((each, index))) for index in range(header.n)))
        for each in range(first, min(first + pages.PAGE, layout.segments))
    )
    return Page(keys.object, number, layout.segments, segments)


# Getting


async def reader(storage: Storage, entry: Entry) -> Reader:
    """Reads the object behind an entry. Raises `Unavailable` when its map is not found."""
    assert entry.keys is not None
    return Reader(storage.fleet, entry.keys, entry.header, await where(storage, entry.keys, entry.header))


async def where(storage: Storage, keys: Keys, header: Header) -> Map:
    """The map of an object, from the devices that are likely to have it."""
    known = dict.fromkeys(deal.device for deal in await storage.journal.deals(object=keys.object))
    return await read_map(storage.notes, keys, header, list(known))


async def segments(read: Reader, first: int, end: int, ahead: int = 2) -> AsyncGenerator[bytes, None]:
    """The plaintext of segments in a row; some are on their way before the first is taken."""
    tasks: list[asyncio.Task[bytes]] = []
    number = first
    try:
        while tasks or number < end:
            while number < end and len(tasks) < ahead:
                tasks.append(asyncio.create_task(read.segment(number)))
                number += 1
            yield await tasks.pop(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Removing


async def remove(storage: Storage, name: str) -> int:
    """Remove a name: its keys are forgotten, and its holders told to drop the shards; how many of them signed that they did.

    Raises `InvalidInput` where there is no such name.
    """
    found, entry, inside = await storage.locate(name)
    if inside:
        raise InvalidInput(
            f"{name!r} is in the folder {found!r}, which was put as a whole: remove that, or put the folder again without it"
        )
    assert entry.keys is not None
    keys, header = entry.keys, entry.header
    if keys.map:
        await storage.adopt(keys, header, found)
    for reader in entry.readers:
        try:
            await sharing.withdraw(storage, reader)
        except SurgeError as error:  # without shards it opens nothing
            log.info("%s is not told that %r was removed: %s", reader.address, found, error)
    await storage.forget(found, entry)
    return await let_go(storage, keys, header) if keys.map else 0


async def let_go(storage: Storage, keys: Keys, header: Header) -> int:
    """Have the holders of an object drop its shards; how many signed that they did.

    Those that are away drop them when they are not paid.
    """
    deals = [deal for deal in await storage.journal.deals(object=keys.object) if deal.state in (OPENING, KEPT)]
    signer = KeySigner(keys.map)

    async def drop(deal: DealRow) -> bool:
        holder = await storage.fleet.holder(deal.device)
        signature = signer.sign(Release(deal.id).digest(storage.domain))
        receipt = await holder.drop(HeldShard(deal.id, deal.root, deal.size), signature)
        await storage.journal.put_deals([replace(deal, state=DROPPED)])
        return receipt is not None

    answers = await at_most(DROPS_AT_ONCE, [lambda deal=deal: drop(deal) for deal in deals])  # type: ignore[misc]
    for deal, answer in zip(deals, answers, strict=True):
        if isinstance(answer, SurgeError):
            log.info("%s was not told to drop a shard: %s", deal.device, answer)
            await storage.journal.put_deals([replace(deal, state=LOST)])
    for row in await storage.journal.objects(id=keys.object):
        empty = canonical.encode([keys.object, bytes(32), bytes(32), b"", keys.author])  # the keys were here too
        await storage.journal.put_object(replace(row, state=GONE, keys=empty))
    return sum(answer is True for answer in answers)


def devices_of(deals: Sequence[DealRow]) -> list[Address]:
    """The devices of deals, each once."""
    return list(dict.fromkeys(deal.device for deal in deals))


# What is there


async def described(storage: Storage, name: str) -> Stored:
    """What a name stands for; a file in a folder too. Raises `InvalidInput`."""
    found, entry, inside = await storage.find(name)
    if not inside:
        return stored(found, entry)
    member = await TreeReader(await reader(storage, entry), entry.header.size).find(inside)
    return member_of(name, entry, member)


async def listed(storage: Storage, below: str) -> list[Stored]:
    """Names, in order; below a folder, all files in it where it was put as a whole."""
    if not below:
        return await storage.list()
    wanted = catalogue.check_name(below.rstrip("/"))
    found = [each for each in await storage.list() if each.name == wanted or each.name.startswith(f"{wanted}/")]
    try:
        folder, entry, inside = await storage.find(wanted)
    except InvalidInput:
        return found
    if entry.header.kind == Kind.FILE:
        return found
    tree = TreeReader(await reader(storage, entry), entry.header.size)
    members = [member_of(f"{folder}/{member.path}", entry, member) async for member in tree.entries(inside)]
    return sorted([each for each in found if each.name != folder] + members, key=lambda each: each.name)


def member_of(name: str, entry: Entry, member: TreeEntry) -> Stored:
    """A file in a folder as users see it."""
    return replace(stored(name, entry), size=member.size, kind=str(Kind.FILE), created=max(0, member.mtime // 10**9))
