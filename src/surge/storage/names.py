"""An owner's names: read from and written to the network, sealed, by as many machines as have the wallet.

Pages are written under labels of their own and never changed; the root record says which of them count, and writing it decides. Whoever
finds it written by somebody else reads what is there, brings its own changes into it, and writes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from surge.core import canonical
from surge.core.signing import Signer
from surge.core.storage import catalogue, sealing
from surge.core.storage.catalogue import Entry, merge
from surge.core.types import Address, address
from surge.errors import InvalidInput, PeerFault, Unavailable
from surge.storage.fleet import Fleet
from surge.storage.journal import FilesJournal
from surge.storage.notes import MOST_LIKELY, Notes, Outdated

log = logging.getLogger("surge.storage")

PURPOSE: Final = b"files"
"""What a wallet derives the key of its names from."""

ROOT: Final = hashlib.sha256(b"surge catalogue 1 root").digest()
"""The label of the root record."""

ROOT_PAGE: Final = -1
"""Where the journal keeps the root."""

TRIES: Final = 8
"""Times that a change is brought into what others wrote meanwhile."""

PAUSE: Final = 0.5
"""Seconds, at most, between them."""

Names = dict[str, Entry]


Pages = dict[int, tuple[bytes, bytes]]
"""The pages that count: the label of each, and the SHA-256 of its sealed body."""


class Book:
    """The names.

    Args:
        signer: the key that signs their records, which follows from the wallet.
        secret: what they are sealed under, which follows from the wallet: 32 bytes.
        journal: where they are kept between reads.
        writer: which machine this is: 8 bytes.
    """

    def __init__(self, signer: Signer, secret: bytes, journal: FilesJournal, notes: Notes, fleet: Fleet, writer: bytes) -> None:
        self.writer = writer
        self.signer = signer
        self._secret = secret
        self._journal = journal
        self.notes = notes
        self._fleet = fleet
        self._version = 0
        """Of the root, as it was read last; 0 if there was none."""
        self._pages: Pages = {}
        self._told: Names = {}
        """The names as the network has them."""
        self._names: Names = {}
        """And with what was changed here and is not there."""
        self._missing: dict[int, Unavailable] = {}
        """Pages that the root names and nobody has now."""
        self._loaded = False

    @property
    def author(self) -> Address:
        """Whose records they are."""
        return self.signer.address

    # Reading

    async def read(self) -> Mapping[str, Entry]:
        """The names as the network has them now, removed ones included. Raises `Unavailable` when no device tells them.

        A root of before what is known here is not believed. One that does not come from it, since its writer did not find what this
        machine wrote, is brought together with it. Names on a page that nobody has now are left out: see `check_there`.
        """
        await self._load()
        for _ in range(TRIES):
            root = await self.notes.newest(self.author, ROOT)
            known = self._version
            if root is not None and root.version >= known:
                await self._take(root.version, self._open(ROOT, root.version, root.body))
            if not self._missing or self._version == known:
                break  # else a page was replaced while it was looked for: the next root says by what
        if self._told != self._names:
            await self._bring_together()
        return self._names

    async def here(self) -> Mapping[str, Entry]:
        """The names as they were when they were read last."""
        await self._load()
        return self._names

    def check_there(self, names: Iterable[str]) -> None:
        """Raise `Unavailable` if these names would be on a page that nobody has now."""
        for page in catalogue.pages_of(names) & self._missing.keys():
            raise self._missing[page]

    async def _load(self) -> None:
        """What the journal keeps."""
        if self._loaded:
            return
        bodies = {page: (version, body) for page, version, body in await self._journal.read("SELECT page, version, body FROM names")}
        if ROOT_PAGE in bodies:
            self._version, root = bodies.pop(ROOT_PAGE)
            self._pages, self.notes.likely = _decode_root(root)
        for page in self._pages:
            if page in bodies:
                self._told |= catalogue.decode_page(bodies[page][1], page)
            else:
                self._missing[page] = _not_found(page)
        self._names = dict(self._told)
        self._loaded = True

    async def _take(self, version: int, body: bytes) -> None:
        """A root that is not older than what is known: read the pages that changed."""
        pages, self.notes.likely = _decode_root(body)
        wanted = {page for page, names in pages.items() if self._pages.get(page) != names or page in self._missing}
        if (version, pages) == (self._version, self._pages) and not wanted:
            return
        changed: dict[int, bytes] = {}
        missing: dict[int, Unavailable] = {}
        for page in sorted(wanted):
            try:
                changed[page] = await self._page(page, *pages[page])
            except Unavailable as error:
                log.warning("%s: the names on it are left out", error)
                missing[page] = error
        told = {name: entry for name, entry in self._told.items() if catalogue.page_of(name) in pages.keys() - wanted}
        for page, plain in changed.items():
            told |= catalogue.decode_page(plain, page)
        kept = {name: entry for name, entry in self._names.items() if catalogue.page_of(name) not in missing}
        names = _with_unsaid(kept, told)
        if names == told:
            await self._keep(version, pages, told, changed, missing)
        else:  # the journal keeps what is not said yet
            self._version, self._pages, self._told, self._names, self._missing = version, pages, told, names, missing

    async def _bring_together(self) -> None:
        """Write what was changed here and was not found by whoever wrote after it."""
        log.warning("your names were changed on two machines that did not see each other: they are brought together")
        devices = sorted(await self._journal.holding() & (await self._fleet.offers()).keys())
        with contextlib.suppress(Outdated, Unavailable):  # the next read or change does it
            await self._write(self._names, devices)

    async def _page(self, page: int, label: bytes, digest: bytes) -> bytes:
        """A page that the root names."""
        record = await self.notes.newest(self.author, label, digest=digest)
        if record is None:
            raise _not_found(page)
        return self._open(label, record.version, record.body)

    async def _keep(
        self, version: int, pages: Pages, names: Names, changed: Mapping[int, bytes], missing: Mapping[int, Unavailable]
    ) -> None:
        rows = [(ROOT_PAGE, version, _encode_root(pages, self.notes.likely)), *((page, 0, body) for page, body in changed.items())]

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", rows)
            connection.executemany("DELETE FROM names WHERE page = ?", [(page,) for page in missing])

        await self._journal.write(change)
        self._version, self._pages, self._told, self._names, self._missing = version, pages, names, dict(names), dict(missing)

    # Writing

    async def change(self, update: Callable[[Names], Names], devices: Sequence[Address], now: int) -> Mapping[str, Entry]:
        """Change the names, and leave them with these devices; the names afterwards.

        `update` makes new names from those there are. What others changed meanwhile is merged.
        """
        base = dict(await self.read())
        mine = update(dict(base))
        for name in mine:
            catalogue.check_name(name)
        wanted = mine
        for _ in range(TRIES):
            wanted = catalogue.without_old(wanted, now)
            try:
                await self._write(wanted, devices)
                return self._names
            except Outdated as outdated:
                log.info("the names were changed elsewhere: %s", outdated)
                newer = outdated.newer
                if newer.version >= self._version:
                    await self._take(newer.version, self._open(ROOT, newer.version, newer.body))
                wanted = merge(base, mine, self._names)
                await asyncio.sleep(random.random() * PAUSE)  # noqa: S311 - both would come in one moment again
        raise Unavailable(f"other machines changed the names {TRIES} times meanwhile: try again")

    async def _write(self, names: Names, devices: Sequence[Address]) -> None:
        """Write the pages that changed, then the root. Raises `Outdated`."""
        changed = {}
        for page in sorted(catalogue.pages_of(names.keys() | self._told.keys())):
            plain = catalogue.encode_page(names, page)
            if plain != catalogue.encode_page(self._told, page):
                changed[page] = plain
        if not changed:
            return
        for page in changed.keys() & self._missing.keys():
            raise self._missing[page]
        pages, replaced = dict(self._pages), []
        for page, plain in changed.items():
            if page in pages:
                replaced.append(pages[page][0])
            label = secrets.token_bytes(32)
            body = self._seal(label, 1, plain)
            await self.notes.leave(self.signer, label, 1, body, devices)
            pages[page] = label, hashlib.sha256(body).digest()
        version, self.notes.likely = self._version + 1, devices[:MOST_LIKELY]
        body = self._seal(ROOT, version, _encode_root(pages, self.notes.likely))
        await self.notes.leave(self.signer, ROOT, version, body, await self.notes.findable(self.author, devices))
        await self._keep(version, pages, names, changed, self._missing)
        for label in replaced:
            with contextlib.suppress(Outdated, Unavailable):  # it takes room, and nothing else
                await self.notes.leave(self.signer, label, 2, b"", devices)

    # Sealing

    def _seal(self, label: bytes, version: int, plain: bytes) -> bytes:
        return sealing.seal(self._secret, _about(label, version), plain)

    def _open(self, label: bytes, version: int, body: bytes) -> bytes:
        return sealing.open_sealed(self._secret, _about(label, version), body)


def _not_found(page: int) -> Unavailable:
    return Unavailable(f"page {page} of your names is not found: the devices that have it are away; try again later", page=page)


def _with_unsaid(here: Names, told: Names) -> Names:
    """What the network tells, and the changes made here since: of two the later counts, and what was removed stands there as removed."""
    unsaid = {
        name: entry
        for name, entry in here.items()
        if ((there := told.get(name)) is None and entry.keys is not None) or (there is not None and there.order < entry.order)
    }
    return {**told, **unsaid}


def _about(label: bytes, version: int) -> list[object]:
    return ["surge catalogue 1", label, version]


def _encode_root(pages: Pages, devices: Sequence[Address]) -> bytes:
    return canonical.encode([catalogue.VERSION, [[page, *pages[page]] for page in sorted(pages)], list(devices)])


def _decode_root(body: bytes) -> tuple[Pages, tuple[Address, ...]]:
    """The pages that count, and the devices that have them."""
    try:
        version, rows, devices = canonical.decode(body)
        if version != catalogue.VERSION:
            raise InvalidInput(f"it is of version {version!r}: a newer Surge wrote it")
        pages = {page: (label, digest) for page, label, digest in rows}
        if any(type(page) is not int or not 0 <= page < catalogue.PAGES for page in pages) or len(pages) != len(rows):
            raise InvalidInput("it names pages that are none")
        if any(type(each) is not bytes or len(each) != 32 for row in pages.values() for each in row):
            raise InvalidInput("a page has no label")
        likely = tuple(address(each) for each in devices)
    except (InvalidInput, TypeError, ValueError) as error:
        raise PeerFault(f"the root of your names cannot be read: {error}") from error
    return pages, likely
