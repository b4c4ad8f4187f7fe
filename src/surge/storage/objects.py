"""Putting, getting and removing what a name stands for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from surge.buyer.accounts import Lease
from surge.core import canonical
from surge.core.storage import catalogue
from surge.core.storage import map as pages
from surge.core.storage.catalogue import Entry, Keys, keys_of
from surge.core.storage.header import Header, Kind
from surge.core.storage.layout import SEGMENT, SHARDS
from surge.core.storage.map import Page, Placed, Segment, Shard
from surge.core.storage.placement import Candidate, Code, Wanted, choose_code, measured_code, shards_that_fit
from surge.core.storage.trees import Entry as TreeEntry
from surge.core.text import counted, size_text
from surge.core.types import Address
from surge.errors import InvalidInput, SurgeError, Unavailable
from surge.storage import sharing
from surge.storage.client import Storage, Stored, entry_of, fresh_keys, in_folder, stored
from surge.storage.deals import FOREVER, check_seconds, term
from surge.storage.journal import KEPT, PUTTING, STORED, DealRow, ObjectRow
from surge.storage.maps import Map, read_map, write_page
from surge.storage.notes import Outdated
from surge.storage.packing import Content
from surge.storage.putting import Plan, Putting
from surge.storage.reading import Reader
from surge.storage.releasing import done_with, let_go, tidy
from surge.storage.tree_reading import TreeReader

log = logging.getLogger("surge.storage")

SAME_SECONDS = 60
"""Two ends of a term that are no further apart are one."""

Told = Callable[[int], None]
"""Hears how many bytes are safe, or are there."""


async def candidates(storage: Storage, max_price: int | None, least: int = 1) -> list[Candidate]:
    """Devices that lend disk, and may be used; those that failed just now only where there are fewer than `least` operators else."""
    offers = [
        each.offer
        for each in (await storage.fleet.offers()).values()
        if (max_price is None or each.offer.storage <= max_price) and not storage.fleet.is_out(each.offer.device)
    ]
    held = await storage.fleet.standings(offers)
    well = [offer for offer in offers if not storage.fleet.is_shunned(offer.device)]
    if len({offer.operator for offer in well}) < least:
        well = offers
    return [
        Candidate(
            device=offer.device,
            operator=offer.operator,
            region=offer.region,
            uptime=await storage.uptime(offer.device),
            standing=held[offer.device].value,
            price=offer.storage,
            room=offer.room,
        )
        for offer in well
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
    check_seconds(seconds, await storage.period())
    before = (await storage.book.read()).get(name)
    storage.book.check_there([name])
    now = int(time.time())
    found = await candidates(storage, max_price, code[1] if code else SHARDS)
    row, lease = await _begun(storage, content, name, seconds, code, segment_size) or (None, None)
    if row is None or lease is None:
        keys, (chosen, _) = fresh_keys(), chosen_code(found, code, max_price)
        lease = Lease(storage.leases, keys.object)
        header = Header(content.size, content.kind, segment_size, chosen.k, chosen.n)
        _check_room(found, header)
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
    try:
        given = await _put(storage, row, content, found, max_price, before, readers, told)
    except SurgeError:
        if not content.source:  # bytes: nobody can go on with them
            await _give_up(storage, row)
        raise
    finally:
        done_with(storage, lease, row.id)
    await tidy(storage)
    await sharing.published(storage)
    return stored(given, (await storage.book.here())[given])


def _check_room(found: Sequence[Candidate], header: Header) -> None:
    """Raise `Unavailable` where devices lack the room for an object, before any of it is brought: half of it is of use to nobody."""
    segments = max(1, header.size // header.segment_size)  # whole ones
    if not header.size or len({each.operator for each in found}) < header.n:
        return  # which is said as what it is
    shard, wanted = header.layout.segment(0).shard, header.n * segments
    have = shards_that_fit(found, shard, segments)
    if have < wanted:
        raise Unavailable(
            f"this takes {size_text(shard * wanted)} in all, with what makes up for losses; there is room for {size_text(shard * have)} "
            f"of it on the {counted(len(found), 'device')} at hand: put it with a smaller code, or when more offer storage",
            have=shard * have,
            needed=shard * wanted,
        )


async def _put(
    storage: Storage,
    row: ObjectRow,
    content: Content,
    found: Sequence[Candidate],
    max_price: int | None,
    before: Entry | None,
    readers: tuple[catalogue.Reader, ...] | None,
    told: Told,
) -> str:
    """Put an object, or go on with it; the name that it has then.

    1. Its segments.
    2. Its map.
    3. Its name; that the object which had it before goes is on disk first, and that object goes afterwards.
    """
    keys, header, now = keys_of(canonical.decode(row.keys)), header_of(row), int(time.time())
    # 1
    deals = term(now, max(0, row.expires - now) if row.expires else FOREVER, await storage.period(), await storage.penalty())
    putting = Putting(storage, Plan(keys, header, deals, found, max_price), content, told)
    await putting.run()
    # 2
    await write_map(storage, keys, header)
    # 3
    old = before.keys if before is not None and before.keys is not None and before.keys.object != keys.object else None
    if old is not None and before is not None:
        await _leaves(storage, old, before.header, row.name)
    given = row.name
    if before is None or before.keys is None or old is not None:
        if readers is None:
            readers = before.readers if before is not None else ()
        given = await storage.name(row.name, replace(entry_of(keys, header, row.created, row.expires), readers=readers), before)
    await sharing.tell_all(storage, given, (await storage.book.here())[given])
    await storage.journal.put_object(replace(row, state=STORED, name=given))
    await putting.finish()
    return given


async def _leaves(storage: Storage, keys: Keys, header: Header, name: str) -> None:
    """An object is about to lose its name: what it takes to let it go is on disk."""
    if not keys.map:
        return
    try:
        await storage.adopt(keys, header, name)
    except Unavailable as error:
        log.warning("the shards of what was %r stay until they are not paid any more: %s", name, error)
        return
    await storage.journal.leaves(keys.object)


async def _give_up(storage: Storage, row: ObjectRow) -> None:
    try:
        await let_go(storage, keys_of(canonical.decode(row.keys)), header_of(row))
    except SurgeError as error:
        log.info("what is left of %r goes another time: %s", row.name, error)


async def _begun(
    storage: Storage, content: Content, name: str, seconds: int, code: tuple[int, int] | None, segment_size: int
) -> tuple[ObjectRow, Lease] | None:
    """A put of the same content under the same name, in the same way, that was cut off, and that nobody else goes on with."""
    if not content.source:
        return None
    now, period = int(time.time()), await storage.period()
    for row in await storage.journal.objects(state=PUTTING, source=content.source):
        same = (row.name, row.stamp, row.size, row.segment_size) == (name, content.stamp, content.size, segment_size)
        same = same and code in (None, (row.k, row.n)) and _is_for(row, seconds, now)
        if same and (not row.expires or row.expires >= now + period):
            lease = Lease(storage.leases, row.id)
            if lease.held:
                log.info("%r: a put that was cut off is gone on with", name)
                return row, lease
    return None


def _is_for(row: ObjectRow, seconds: int, now: int) -> bool:
    """Whether what was begun is kept for as long as is asked now, or until the same time."""
    if not row.expires or not seconds:
        return not row.expires and not seconds
    return row.expires - row.created == seconds or abs(row.expires - now - seconds) <= SAME_SECONDS


def chosen_code(found: Sequence[Candidate], asked: tuple[int, int] | None, max_price: int | None = None) -> tuple[Code, str]:
    """The code, and why this one. Raises `Unavailable`, `InvalidInput`."""
    operators = len({each.operator for each in found})
    if not operators and max_price is not None:
        raise Unavailable("no device offers storage now at that price: `surge provider list` shows what they ask", max_price=max_price)
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


async def segments(read: Reader, first: int, end: int, ahead: int = 2) -> AsyncGenerator[memoryview, None]:
    """The plaintext of segments in a row; so many are on their way while one is taken."""
    tasks: list[asyncio.Task[memoryview]] = []
    number = first
    try:
        while tasks or number < end:
            plain = await tasks.pop(0) if tasks else None
            while number < end and len(tasks) < ahead:
                tasks.append(asyncio.create_task(read.segment(number)))
                number += 1
            if plain is not None:
                yield plain
                del plain  # before the next one is there
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
        raise in_folder(name, found, "remove that, or put the folder again without it")
    assert entry.keys is not None
    keys, header = entry.keys, entry.header
    await _leaves(storage, keys, header, found)
    for reader in entry.readers:
        try:
            await sharing.withdraw(storage, reader)
        except SurgeError as error:  # without shards it opens nothing
            log.info("%s is not told that %r was removed: %s", reader.address, found, error)
    await storage.forget(found, entry)
    dropped = await let_go(storage, keys, header) if keys.map else 0
    await tidy(storage)
    return dropped


def devices_of(deals: Sequence[DealRow]) -> list[Address]:
    """The devices of deals, each once."""
    return list(dict.fromkeys(deal.device for deal in deals))


# What is there


async def described(storage: Storage, name: str) -> Stored:
    """What a name stands for; a file in a folder too, or a folder in one. Raises `InvalidInput`."""
    found, entry, inside = await storage.find(name)
    if not inside:
        return stored(found, entry)
    tree = TreeReader(await reader(storage, entry), entry.header.size)
    try:
        return member_of(name, entry, await tree.find(inside))
    except InvalidInput:
        sizes = [member.size async for member in tree.entries(inside)]
        if not sizes:
            raise
        return replace(stored(name, entry), size=sum(sizes))


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
