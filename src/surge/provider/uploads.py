"""Contents on their way in: only those that were asked for, in order, within their announced size."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from surge.core.messages import Chunk
from surge.errors import PeerFault, Unavailable
from surge.provider.service import Refused
from surge.store import Blobs, BlobWriter

MAX_UPLOADS = 4
"""Contents that one session may have under way."""

MAX_WANTED = 8192
"""Contents that one session may be asked for and not have sent."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A content that a service misses."""

    size: int
    """Bytes, as the buyer announced."""
    job: bytes
    """The job at whose prices it is moved."""


@dataclass(slots=True)
class _Upload:
    content: bytes
    job: bytes
    writer: BlobWriter
    size: int
    at: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A content that is complete, verified and on disk."""

    content: bytes
    """SHA-256: 32 bytes."""
    size: int
    """Bytes."""
    job: bytes


class Uploads:
    """The contents one session sends."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._wanted: dict[bytes, Wanted] = {}
        self._active: dict[int, _Upload] = {}
        self._refused: set[int] = set()

    @property
    def announced(self) -> int:
        """Bytes that uploads under way will have."""
        return sum(upload.size for upload in self._active.values())

    def want(self, content: bytes, size: int, job: bytes) -> None:
        """A service misses this content: it may be sent."""
        if len(self._wanted) >= MAX_WANTED and content not in self._wanted:
            self._wanted.pop(next(iter(self._wanted)))
        self._wanted[content] = Wanted(size, job)

    async def take(self, chunk: Chunk, allowance: int) -> Arrived | None:
        """Take a piece; returns the content when it is complete. `allowance` is how many bytes more may be begun.

        Raises `Refused` when the upload cannot go on (what still comes of it is passed over), `PeerFault` for what no honest buyer
        sends.
        """
        if chunk.id in self._refused:
            if chunk.last:
                self._refused.discard(chunk.id)
            return None
        upload = self._active.get(chunk.id)
        try:
            if upload is None:
                upload = await self._begin(chunk, allowance)
            if (chunk.content, chunk.offset) != (upload.content, upload.at):
                raise PeerFault(f"a piece at {chunk.offset} comes where one at {upload.at} was due", id=chunk.id, content=chunk.content)
            await asyncio.to_thread(upload.writer.write, chunk.data)
            upload.at += len(chunk.data)
            if not chunk.last:
                return None
            await asyncio.to_thread(upload.writer.commit)
        except Unavailable as error:
            self._drop(chunk)
            raise Refused("storage", error.message) from error
        except (Refused, PeerFault):
            self._drop(chunk)
            raise
        del self._active[chunk.id]
        self._wanted.pop(upload.content, None)
        return Arrived(upload.content, upload.at, upload.job)

    async def _begin(self, chunk: Chunk, allowance: int) -> _Upload:
        wanted = self._wanted.get(chunk.content)
        if wanted is None:
            raise Refused("unknown", f"nobody asked for the content sha256:{chunk.content.hex()}")
        if chunk.offset:
            raise PeerFault(f"an upload begins at {chunk.offset}", id=chunk.id)
        if len(self._active) >= MAX_UPLOADS:
            raise Refused("busy", f"{MAX_UPLOADS} contents are under way")
        if wanted.size > allowance:
            raise Refused(
                "window", f"uploads wait for acknowledgements; {max(allowance, 0)} bytes more may come", allowance=max(allowance, 0)
            )
        writer = await asyncio.to_thread(self._blobs.writer, chunk.content, wanted.size)
        upload = self._active[chunk.id] = _Upload(chunk.content, wanted.job, writer, wanted.size)
        return upload

    def _drop(self, chunk: Chunk) -> None:
        if (upload := self._active.pop(chunk.id, None)) is not None:
            upload.writer.abandon()
        if not chunk.last and len(self._refused) < MAX_WANTED:
            self._refused.add(chunk.id)

    def close(self) -> None:
        """Drop what is under way."""
        for upload in self._active.values():
            upload.writer.abandon()
        self._active.clear()
