"""What the tests of WASI share: its functions over a world, without an engine."""

from __future__ import annotations

import struct

from surge.core.units import Limits
from surge.sandbox import vfs
from surge.sandbox.vfs import Directory
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno, Rights
from surge.sandbox.wasi.imports import IMPORTS
from surge.sandbox.wasi.memory import Failed, GuestMemory
from surge.sandbox.wasi.world import World

JOB, OUT = 3, 4
SEED = bytes(range(32))
READ_WRITE = Rights.FD_READ | Rights.FD_WRITE


class Bench:
    """A world with a memory that is just bytes, and calls by name that give (errno) and read results."""

    def __init__(self, *, stdin: bytes = b"", job: Directory | None = None, size: int = 1 << 16, **limits: int) -> None:
        self.memory = bytearray(size)
        self.world = World(
            argv=[b"prog", b"two words"],
            env=[(b"HOME", b"/"), (b"K", b"")],
            stdin=stdin,
            job=job or vfs.empty(),
            limits=Limits(**limits),
            seed=SEED,
        )
        self.world.memory = GuestMemory(lambda: memoryview(self.memory))

    def call(self, name: str, *arguments: int) -> int:
        try:
            return IMPORTS[name][1](self.world, *arguments)
        except Failed as failed:
            return int(failed.errno)

    def u32(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.memory, at)[0])

    def u64(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.memory, at)[0])

    def put(self, data: bytes, at: int = 30_000) -> tuple[int, int]:
        self.memory[at : at + len(data)] = data
        return at, len(data)

    def write(self, fd: int, *pieces: bytes) -> int:
        vectors = b""
        at = 20_000
        for piece in pieces:
            self.put(piece, at)
            vectors += struct.pack("<II", at, len(piece))
            at += len(piece)
        self.put(vectors, 1000)
        return self.call("fd_write", fd, 1000, len(pieces), 8)

    def read(self, fd: int, size: int = 4096) -> bytes:
        self.put(struct.pack("<II", 20_000, size), 1000)
        assert self.call("fd_read", fd, 1000, 1, 8) == 0
        return bytes(self.memory[20_000 : 20_000 + self.u32(8)])

    def open(self, path: str, *, base: int = OUT, oflags: int = 0, rights: int = Rights.FD_READ, flags: int = 0) -> int:
        """The descriptor, or minus the error."""
        error = self.call("path_open", base, 1, *self.put(path.encode()), oflags, rights, rights, flags, 16)
        return -error if error else self.u32(16)

    def create(self, path: str, content: bytes = b"") -> int:
        fd = self.open(path, oflags=abi.OPEN_CREATE | abi.OPEN_TRUNCATE, rights=READ_WRITE)
        assert fd >= 0, Errno(-fd)
        if content:
            assert self.write(fd, content) == 0
        return fd

    def stat(self, path: str, base: int = OUT) -> tuple[int, ...]:
        error = self.call("path_filestat_get", base, 1, *self.put(path.encode()), 64)
        return (-error,) if error else abi.FILESTAT.unpack_from(self.memory, 64)

    def on_path(self, name: str, path: str, base: int = OUT) -> int:
        return self.call(name, base, *self.put(path.encode()))

    def list(self, fd: int, room: int = 4096) -> list[tuple[str, int]]:
        entries, cookie = [], 0
        while True:
            assert self.call("fd_readdir", fd, 20_000, room, cookie, 8) == 0
            used, at = self.u32(8), 20_000
            found = 0
            while at + abi.DIRENT.size <= 20_000 + used:
                following, inode, length, kind = abi.DIRENT.unpack_from(self.memory, at)
                at += abi.DIRENT.size
                if at + length > 20_000 + used:
                    break
                assert inode == 0
                entries.append((bytes(self.memory[at : at + length]).decode(), kind))
                at += length
                cookie = following
                found += 1
            if used < room:
                return entries
            assert found, "no entry fits the room"

    def files(self) -> dict[str, bytes]:
        return {path.decode(): bytes(node.content) for path, node in self.world.out.walk() if isinstance(node, vfs.File)}
