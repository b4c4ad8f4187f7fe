"""An owner's names: read from and written to the network, sealed, by as many machines as have the wallet.

Pages are written under labels of their own and never changed; the root record says which of them count, and writing it decides. Whoever
finds it written by somebody else reads what is there, brings its own changes into it, and writes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
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
        self._names: Names = {}
        self._loaded = False

    @property
    def author(self) -> Address:
        """Whose records they are."""
        return self.signer.address

    # Reading

    async def read(self) -> Mapping[str, Entry]:
        """The names as the network has them now, removed ones included. Raises `Unavailable` when no device tells them."""
        await self._load()
        root = await self.notes.newest(self.author, ROOT)
        if root is not None and root.version > self._version:
            await self._take(root.version, self._open(ROOT, root.version, root.body))
        return self._names

    async def here(self) -> Mapping[str, Entry]:
        """The names as they were when they were read last."""
        await self._load()
        return self._names

    async def _load(self) -> None:
        """What the journal keeps."""
        if self._loaded:
            return
        for page, version, body in await self._journal.read("SELECT page, version, body FROM names"):
            if page == ROOT_PAGE:
                self._version, (self._pages, self.notes.likely) = version, _decode_root(body)
            else:
                self._names |= catalogue.decode_page(body, page)
        self._loaded = True

    async def _take(self, version: int, body: bytes) -> None:
        """A newer root: read the pages that changed."""
        pages, self.notes.likely = _decode_root(body)
        changed: dict[int, bytes] = {}
        for page, (label, digest) in pages.items():
            if self._pages.get(page) != (label, digest):
                changed[page] = await self._page(page, label, digest)
        names = {name: entry for name, entry in self._names.items() if catalogue.page_of(name) in pages.keys() - changed.keys()}
        for page, plain in changed.items():
            names |= catalogue.decode_page(plain, page)
        await self._keep(version, pages, names, changed)

    async def _page(self, page: int, label: bytes, digest: bytes) -> bytes:
        """A page that the root names."""
        record = await self.notes.newest(self.author, label)
        if record is None or hashlib.sha256(record.body).digest() != digest:
            raise Unavailable(
                f"page {page} of your names is not found: the devices that have it are away, or it was just replaced", page=page
            )
        return self._open(label, record.version, record.body)

    async def _keep(self, version: int, pages: Pages, names: Names, changed: Mapping[int, bytes]) -> None:
        rows = [(ROOT_PAGE, version, _encode_root(pages, self.notes.likely)), *((page, 0, body) for page, body in changed.items())]

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", rows)

        await self._journal.write(change)
        self._version, self._pages, self._names = version, pages, names

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
                await self._take(newer.version, self._open(ROOT, newer.version, newer.body))
                wanted = merge(base, mine, self._names)
        raise Unavailable(f"other machines changed the names {TRIES} times meanwhile: try again")

    async def _write(self, names: Names, devices: Sequence[Address]) -> None:
        """Write the pages that changed, then the root. Raises `Outdated`."""
        changed = {}
        for page in sorted(catalogue.pages_of(names.keys() | self._names.keys())):
            plain = catalogue.encode_page(names, page)
            if plain != catalogue.encode_page(self._names, page):
                changed[page] = plain
        if not changed:
            return
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
        await self._keep(version, pages, names, changed)
        for label in replaced:
            with contextlib.suppress(Outdated, Unavailable):  # it takes room, and nothing else
                await self.notes.leave(self.signer, label, 2, b"", devices)

    # Sealing

    def _seal(self, label: bytes, version: int, plain: bytes) -> bytes:
        return sealing.seal(self._secret, _about(label, version), plain)

    def _open(self, label: bytes, version: int, body: bytes) -> bytes:
        return sealing.open_sealed(self._secret, _about(label, version), body)


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
