"""The `fd_*` functions. Each takes the world and unsigned numbers from the guest, and gives an error code.

An error is a `Failed`, raised here or below; the binding turns it into its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from surge.sandbox.vfs import Blob, Directory, File, Node
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno, FileType, Rights
from surge.sandbox.wasi.memory import Failed
from surge.sandbox.wasi.world import BYTE_FUEL, STEP_FUEL, Descriptor, Input, OpenDirectory, OpenFile, Output, World

MAX_IOVECS: Final = 1024
"""Pieces in one scattered read or write, as IOV_MAX on Linux."""
MAX_OFFSET: Final = 2**63 - 1


def _iovecs(world: World, at: int, count: int) -> Sequence[tuple[int, ...]]:
    if count == 1:
        return (world.memory.unpack(abi.IOVEC, at),)
    if count > MAX_IOVECS:
        raise Failed(Errno.INVAL)
    world.spend(count * STEP_FUEL)
    return list(abi.IOVEC.iter_unpack(world.memory.span(at, count * abi.IOVEC.size)))


def file_type(node: Node) -> FileType:
    """A node's type as WASI numbers it."""
    return FileType.DIRECTORY if isinstance(node, Directory) else FileType.REGULAR_FILE


def _open_file(world: World, fd: int) -> OpenFile:
    found = world.descriptor(fd)
    if isinstance(found, OpenFile):
        return found
    raise Failed(Errno.ISDIR if isinstance(found, OpenDirectory) else Errno.SPIPE)


def fd_write(world: World, fd: int, iovs: int, count: int, written: int) -> int:
    """Append to standard output or error, or write at the file's offset."""
    found = world.descriptor(fd)
    if type(found) is Output:
        memory = world.memory
        memory.check(written, 4)
        total = 0
        for at, length in _iovecs(world, iovs, count):
            piece = memory.span(at, length)
            room = world.limits.output - world.used
            if length > room:
                found.data += piece[:room]
                world.used += room
                raise world.over_output()
            found.data += piece
            world.used += length
            total += length
        memory.pack(abi.U32, written, total & 0xFFFFFFFF)
        return 0
    file, node = _writable(found)
    file.at = _write(world, node, node.size if file.append else file.at, iovs, count, written)
    return 0


def _writable(found: Descriptor) -> tuple[OpenFile, File]:
    if isinstance(found, OpenFile):
        if isinstance(found.node, File) and found.writable:
            return found, found.node
        raise Failed(Errno.BADF)
    raise Failed(Errno.ISDIR if isinstance(found, OpenDirectory) else Errno.BADF)


def _write(world: World, node: File, at: int, iovs: int, count: int, written: int) -> int:
    """Write at an offset; the offset after it."""
    memory = world.memory
    memory.check(written, 4)
    start = at
    for source, length in _iovecs(world, iovs, count):
        piece = memory.span(source, length)
        if length and at == node.size:
            world.charge(length)
            node.content += piece
        elif length:
            _extend(world, node, at + length)
            node.content[at : at + length] = piece
        at += length
    memory.pack(abi.U32, written, (at - start) & 0xFFFFFFFF)
    return at


def _extend(world: World, node: File, size: int) -> None:
    """Make a file at least `size` bytes long, with zeros."""
    if size > node.size:
        world.charge(size - node.size)
        world.spend((size - node.size) * BYTE_FUEL)
        node.content.extend(bytes(size - node.size))


def fd_pwrite(world: World, fd: int, iovs: int, count: int, offset: int, written: int) -> int:
    """Write at an offset of its own."""
    found = world.descriptor(fd)
    if not isinstance(found, OpenFile | OpenDirectory):
        raise Failed(Errno.SPIPE)
    _, node = _writable(found)
    if offset > MAX_OFFSET:
        raise Failed(Errno.INVAL)
    _write(world, node, offset, iovs, count, written)
    return 0


def _content(node: Blob | File) -> memoryview:
    if isinstance(node, File):
        return memoryview(node.content)
    try:
        return memoryview(node.data())
    except OSError as wrong:
        raise Failed(Errno.IO) from wrong


def _scatter(world: World, data: memoryview, at: int, iovs: int, count: int, read: int) -> int:
    """Read from an offset; the offset after it."""
    memory = world.memory
    memory.check(read, 4)
    start = at
    for target, length in _iovecs(world, iovs, count):
        room = memory.span(target, length)
        piece = data[at : at + length]
        room[: len(piece)] = piece
        at += len(piece)
        if len(piece) < length:
            break
    memory.pack(abi.U32, read, (at - start) & 0xFFFFFFFF)
    return at


def fd_read(world: World, fd: int, iovs: int, count: int, read: int) -> int:
    """Read standard input, or from the file's offset."""
    found = world.descriptor(fd)
    if isinstance(found, Input):
        found.at = _scatter(world, found.data, found.at, iovs, count, read)
        return 0
    if isinstance(found, OpenDirectory):
        raise Failed(Errno.ISDIR)
    if not isinstance(found, OpenFile) or not found.readable:
        raise Failed(Errno.BADF)
    with _content(found.node) as data:
        found.at = _scatter(world, data, found.at, iovs, count, read)
    return 0


def fd_pread(world: World, fd: int, iovs: int, count: int, offset: int, read: int) -> int:
    """Read from an offset of its own."""
    file = _open_file(world, fd)
    if not file.readable:
        raise Failed(Errno.BADF)
    if offset > MAX_OFFSET:
        raise Failed(Errno.INVAL)
    with _content(file.node) as data:
        _scatter(world, data, offset, iovs, count, read)
    return 0


def fd_seek(world: World, fd: int, delta: int, whence: int, result: int) -> int:
    """Move a file's offset. `delta` is a signed 64-bit number that arrives unsigned."""
    file = _open_file(world, fd)
    if delta > MAX_OFFSET:
        delta -= 2**64
    if whence == abi.SEEK_SET:
        at = delta
    elif whence == abi.SEEK_CURRENT:
        at = file.at + delta
    elif whence == abi.SEEK_END:
        at = file.node.size + delta
    else:
        raise Failed(Errno.INVAL)
    if not 0 <= at <= MAX_OFFSET:
        raise Failed(Errno.INVAL)
    world.memory.pack(abi.U64, result, at)
    file.at = at
    return 0


def fd_tell(world: World, fd: int, result: int) -> int:
    """Where a file's offset is."""
    world.memory.pack(abi.U64, result, _open_file(world, fd).at)
    return 0


def fd_close(world: World, fd: int) -> int:
    """Close any descriptor."""
    world.close(fd)
    return 0


def fd_renumber(world: World, fd: int, to: int) -> int:
    """Put one open descriptor in another's place, closing that."""
    moving = world.descriptor(fd)
    world.descriptor(to)
    if fd != to:
        world.close(to)
        world.descriptors[to] = moving
        world.descriptors[fd] = None
    return 0


def fd_fdstat_get(world: World, fd: int, result: int) -> int:
    """A descriptor's type, flags and rights."""
    found = world.descriptor(fd)
    flags = inheriting = 0
    kind = FileType.UNKNOWN
    if isinstance(found, Input):
        rights = Rights.FD_READ | Rights.POLL_FD_READWRITE | Rights.FD_FILESTAT_GET
    elif isinstance(found, Output):
        rights = Rights.FD_WRITE | Rights.POLL_FD_READWRITE | Rights.FD_FILESTAT_GET
    elif isinstance(found, OpenFile):
        kind = FileType.REGULAR_FILE
        flags = abi.FLAG_APPEND if found.append else 0
        rights = Rights.FILE_READ | (Rights.FILE_WRITE if found.writable else 0)
        if not found.readable:
            rights &= ~Rights.FD_READ
    else:
        kind = FileType.DIRECTORY
        rights = Rights.DIRECTORY_READ | (Rights.DIRECTORY_WRITE if found.node.writable else 0)
        # Also of a read-only folder: or C libraries leave out the right to write, and opening succeeds where it should say EROFS.
        inheriting = rights | Rights.FILE_READ | Rights.FILE_WRITE
    world.memory.pack(abi.FDSTAT, result, kind, flags, rights, inheriting)
    return 0


def fd_fdstat_set_flags(world: World, fd: int, flags: int) -> int:
    """Set or clear append; the other flags mean nothing here."""
    found = world.descriptor(fd)
    if flags & ~abi.FLAGS_KNOWN:
        raise Failed(Errno.INVAL)
    if isinstance(found, OpenFile):
        found.append = bool(flags & abi.FLAG_APPEND)
    return 0


def fd_fdstat_set_rights(world: World, fd: int, rights: int, inheriting: int) -> int:
    """Not supported, as in wasmtime: what a descriptor may do is fixed when it is opened."""
    world.descriptor(fd)
    raise Failed(Errno.NOTSUP)


def put_filestat(world: World, result: int, kind: FileType, size: int) -> None:
    """Write a file's status: no times, no inode, one link."""
    world.memory.pack(abi.FILESTAT, result, 0, 0, kind, 1, size, 0, 0, 0)


def fd_filestat_get(world: World, fd: int, result: int) -> int:
    """A descriptor's type and size."""
    found = world.descriptor(fd)
    if isinstance(found, OpenFile):
        put_filestat(world, result, FileType.REGULAR_FILE, found.node.size)
    elif isinstance(found, OpenDirectory):
        put_filestat(world, result, FileType.DIRECTORY, 0)
    else:
        put_filestat(world, result, FileType.UNKNOWN, 0)
    return 0


def resize(world: World, node: Node, size: int) -> None:
    """Cut a file, or extend it with zeros."""
    if isinstance(node, Directory):
        raise Failed(Errno.ISDIR)
    if not isinstance(node, File):
        raise Failed(Errno.ROFS)
    if size > MAX_OFFSET:
        raise Failed(Errno.INVAL)
    if size < node.size:
        world.used -= node.size - size
        del node.content[size:]
    else:
        _extend(world, node, size)


def fd_filestat_set_size(world: World, fd: int, size: int) -> int:
    """Cut or extend an open file."""
    _, node = _writable(world.descriptor(fd))
    resize(world, node, size)
    return 0


def fd_filestat_set_times(world: World, fd: int, access: int, modification: int, flags: int) -> int:
    """Accepted and forgotten: every time is zero."""
    found = world.descriptor(fd)
    if (isinstance(found, OpenFile) and isinstance(found.node, Blob)) or (isinstance(found, OpenDirectory) and not found.node.writable):
        raise Failed(Errno.ROFS)
    return 0


def fd_advise(world: World, fd: int, offset: int, length: int, advice: int) -> int:
    """Accepted: nothing to do."""
    _open_file(world, fd)
    if advice > 5:
        raise Failed(Errno.INVAL)
    return 0


def fd_allocate(world: World, fd: int, offset: int, length: int) -> int:
    """Make a file at least `offset + length` bytes long."""
    _, node = _writable(world.descriptor(fd))
    if not length or offset + length > MAX_OFFSET:
        raise Failed(Errno.INVAL)
    _extend(world, node, offset + length)
    return 0


def fd_sync(world: World, fd: int) -> int:
    """Nothing to do: output is kept when the unit ends."""
    world.descriptor(fd)
    return 0


def fd_prestat_get(world: World, fd: int, result: int) -> int:
    """The length of a preopened directory's name; EBADF past the last, which is how guests find the end."""
    found = world.descriptor(fd)
    if not isinstance(found, OpenDirectory) or found.preopened is None:
        raise Failed(Errno.BADF)
    world.memory.pack(abi.PRESTAT, result, 0, len(found.preopened))
    return 0


def fd_prestat_dir_name(world: World, fd: int, at: int, length: int) -> int:
    """The name of a preopened directory."""
    found = world.descriptor(fd)
    if not isinstance(found, OpenDirectory) or found.preopened is None:
        raise Failed(Errno.BADF)
    if length < len(found.preopened):
        raise Failed(Errno.NAMETOOLONG)
    world.memory.write(at, found.preopened)
    return 0


def _listing(directory: Directory) -> list[tuple[bytes, int]]:
    """Names and file types. Directories of input files may be large, and open a thousand times: theirs is made once."""
    if directory.listing is not None:
        return directory.listing
    entries = sorted((name, file_type(node)) for name, node in directory.listed().items())
    found: list[tuple[bytes, int]] = [(b".", FileType.DIRECTORY), (b"..", FileType.DIRECTORY), *entries]
    if not directory.writable:
        directory.listing = found
    return found


def fd_readdir(world: World, fd: int, at: int, room: int, cookie: int, used: int) -> int:
    """List a directory by the order of its names' bytes; the last entry is cut where the room ends."""
    found = world.directory(fd)
    if cookie == 0 or not found.listing:
        found.listing = _listing(found.node)
        world.spend(len(found.listing) * STEP_FUEL if found.node.writable else 0)
    window = world.memory.span(at, room)
    world.memory.check(used, 4)
    filled = 0
    for index in range(min(cookie, len(found.listing)), len(found.listing)):
        name, kind = found.listing[index]
        entry = abi.DIRENT.pack(index + 1, 0, len(name), kind) + name
        piece = entry[: room - filled]
        window[filled : filled + len(piece)] = piece
        filled += len(piece)
        world.spend(STEP_FUEL)
        if filled == room:
            break
    world.memory.pack(abi.U32, used, filled)
    return 0
