"""Finding files in a packed folder: its footer, its directory, and the pages that are needed, each read once."""

from __future__ import annotations

from collections.abc import AsyncIterator

from surge.core.storage import trees
from surge.core.storage.trees import Directory, Entry
from surge.errors import InvalidInput
from surge.storage.reading import Reader


class TreeReader:
    """The files of one packed folder."""

    def __init__(self, reader: Reader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._directory: Directory | None = None
        self._pages: dict[int, list[Entry]] = {}

    async def directory(self) -> Directory:
        """Where the pages of its index are. Raises `PeerFault` for an object that is no packed folder."""
        if self._directory is None:
            footer = trees.read_footer(await self._reader.range(max(0, self._size - trees.FOOTER), self._size), self._size)
            data = await self._reader.range(footer.start, footer.start + footer.size)
            self._directory = trees.read_directory(data, footer)
        return self._directory

    async def page(self, number: int) -> list[Entry]:
        """The entries of a page."""
        if number not in self._pages:
            directory = await self.directory()
            page = directory.pages[number]
            self._pages[number] = directory.read_page(number, await self._reader.range(page.start, page.start + page.size))
            while len(self._pages) > 8:
                del self._pages[next(iter(self._pages))]
        return self._pages[number]

    async def find(self, path: str) -> Entry:
        """One file. Raises `InvalidInput` where there is none."""
        wanted = trees.checked_path(path)
        number = (await self.directory()).page_with(wanted)
        found = [] if number is None else [entry for entry in await self.page(number) if entry.path == wanted]
        if not found:
            raise InvalidInput(f"there is no file {path!r} in the folder", path=path)
        return found[0]

    async def entries(self, below: str = "") -> AsyncIterator[Entry]:
        """All files, or those below a folder in it, in order."""
        directory = await self.directory()
        prefix = trees.checked_path(below) + "/" if below else ""
        first = (directory.page_with(prefix) or 0) if prefix else 0
        for number in range(first, len(directory.pages)):
            if prefix and directory.pages[number].first.encode() > prefix.encode() and not directory.pages[number].first.startswith(prefix):
                return
            for entry in await self.page(number):
                if entry.path.startswith(prefix):
                    yield entry
