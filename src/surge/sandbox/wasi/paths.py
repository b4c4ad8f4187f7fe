"""The `path_*` functions: names below a directory descriptor, and never above it.

A path is walked part by part from the descriptor's directory; `..` steps back only over what the walk itself stepped
into, so no path leaves. There are no links to follow.
"""

from __future__ import annotations

from typing import Final

from surge.sandbox.vfs import MAX_NAME, MAX_PATH, Directory, File, Node
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno, Rights
from surge.sandbox.wasi.descriptors import file_type, put_filestat, resize
from surge.sandbox.wasi.memory import Failed
from surge.sandbox.wasi.world import STEP_FUEL, OpenDirectory, OpenFile, World

MAX_GUEST_PATH: Final = 4096
"""Bytes in a path, as PATH_MAX on Linux."""


class _Place:
    """Where a path leads: the directory of its last part, that name, and what stands there, if anything does."""

    __slots__ = ("directory", "must_be_directory", "name", "node")

    def __init__(self, directory: Directory, name: bytes, node: Node | None, must_be_directory: bool) -> None:
        self.directory = directory
        self.name = name
        """Empty when the path names the descriptor's own directory, or ends in `..`."""
        self.node = node
        self.must_be_directory = must_be_directory


def _text(world: World, at: int, length: int) -> bytes:
    if length > MAX_GUEST_PATH:
        raise Failed(Errno.NAMETOOLONG)
    path = world.memory.read(at, length)
    world.spend((path.count(b"/") + 1) * STEP_FUEL)
    if b"\0" in path:
        raise Failed(Errno.INVAL)
    try:
        path.decode()
    except UnicodeDecodeError as wrong:
        raise Failed(Errno.ILSEQ) from wrong
    return path


def _walk(start: Directory, path: bytes) -> _Place:
    if not path:
        raise Failed(Errno.NOENT)
    if path.startswith(b"/"):
        raise Failed(Errno.PERM)
    parts = path.split(b"/")
    must_be_directory = parts[-1] in (b"", b".", b"..")
    parts = [part for part in parts if part not in (b"", b".")]
    steps = [start]
    place = _Place(start, b"", start, must_be_directory)
    for index, part in enumerate(parts):
        at = steps[-1]
        if part == b"..":
            if len(steps) == 1:
                raise Failed(Errno.PERM)
            steps.pop()
            place = _Place(steps[-1], b"", steps[-1], must_be_directory)
            continue
        if len(part) > MAX_NAME:
            raise Failed(Errno.NAMETOOLONG)
        node = at.children.get(part)
        place = _Place(at, part, node, must_be_directory)
        if index + 1 == len(parts):
            break
        if node is None:
            raise Failed(Errno.NOENT)
        if not isinstance(node, Directory):
            raise Failed(Errno.NOTDIR)
        steps.append(node)
    if must_be_directory and place.node is not None and not isinstance(place.node, Directory):
        raise Failed(Errno.NOTDIR)
    return place


def _existing(world: World, fd: int, at: int, length: int) -> Node:
    node = _walk(world.directory(fd).node, _text(world, at, length)).node
    if node is None:
        raise Failed(Errno.NOENT)
    return node


def _change(world: World, fd: int, at: int, length: int) -> _Place:
    """A place whose directory may be changed."""
    place = _walk(world.directory(fd).node, _text(world, at, length))
    if not place.directory.writable:
        raise Failed(Errno.ROFS)
    return place


def _length(directory: Directory, name: bytes) -> int:
    """Bytes in the path of a name in a directory of /out, from /out on."""
    return directory.path_length + len(name) + (1 if directory.parent is not None else 0)


def _check_length(directory: Directory, name: bytes) -> int:
    length = _length(directory, name)
    if length > MAX_PATH:
        raise Failed(Errno.NAMETOOLONG)
    return length


def path_open(
    world: World,
    fd: int,
    lookup: int,
    at: int,
    length: int,
    oflags: int,
    rights: int,
    inheriting: int,
    flags: int,
    result: int,
) -> int:
    """Open a file or a directory, making the file if asked."""
    base = world.directory(fd)
    path = _text(world, at, length)
    place = _walk(base.node, path)
    if oflags > 15 or flags & ~abi.FLAGS_KNOWN:
        raise Failed(Errno.INVAL)
    world.memory.check(result, 4)
    wants_to_write = bool(rights & Rights.FD_WRITE)
    node = place.node
    whole_path = (base.path + b"/" + path)[-MAX_GUEST_PATH:]
    if node is None:
        node = _create(world, place, oflags)
    elif oflags & abi.OPEN_CREATE and oflags & abi.OPEN_EXCLUSIVE:
        raise Failed(Errno.EXIST)
    if isinstance(node, Directory):
        if oflags & (abi.OPEN_TRUNCATE | abi.OPEN_CREATE) or (wants_to_write and not oflags & abi.OPEN_DIRECTORY):
            raise Failed(Errno.ISDIR)
        opened = world.install(OpenDirectory(node, whole_path))
        world.memory.pack(abi.U32, result, opened)
        return 0
    if oflags & abi.OPEN_DIRECTORY:
        raise Failed(Errno.NOTDIR)
    if (wants_to_write or oflags & abi.OPEN_TRUNCATE) and not isinstance(node, File):
        raise Failed(Errno.ROFS)
    descriptor = OpenFile(
        node,
        whole_path,
        readable=bool(rights & Rights.FD_READ),
        writable=wants_to_write,
        append=bool(flags & abi.FLAG_APPEND),
    )
    opened = world.install(descriptor)
    if isinstance(node, File):
        node.opened += 1
        if oflags & abi.OPEN_TRUNCATE:
            resize(world, node, 0)
    world.memory.pack(abi.U32, result, opened)
    return 0


def _create(world: World, place: _Place, oflags: int) -> File:
    if not oflags & abi.OPEN_CREATE:
        raise Failed(Errno.NOENT)
    if oflags & abi.OPEN_DIRECTORY or place.must_be_directory:
        raise Failed(Errno.INVAL)
    if not place.directory.writable:
        raise Failed(Errno.ROFS)
    if world.full():
        raise Failed(Errno.MFILE)
    _check_length(place.directory, place.name)
    world.enter()
    node = File()
    place.directory.children[place.name] = node
    return node


def path_create_directory(world: World, fd: int, at: int, length: int) -> int:
    """Make a directory."""
    place = _change(world, fd, at, length)
    if place.node is not None:
        raise Failed(Errno.EXIST)
    path_length = _check_length(place.directory, place.name)
    world.enter()
    place.directory.children[place.name] = Directory(writable=True, parent=place.directory, path_length=path_length)
    return 0


def path_remove_directory(world: World, fd: int, at: int, length: int) -> int:
    """Remove an empty directory."""
    place = _change(world, fd, at, length)
    if place.node is None:
        raise Failed(Errno.NOENT)
    if not isinstance(place.node, Directory):
        raise Failed(Errno.NOTDIR)
    if not place.name:
        raise Failed(Errno.INVAL)
    if place.node.children:
        raise Failed(Errno.NOTEMPTY)
    _drop(world, place)
    return 0


def _drop(world: World, place: _Place) -> None:
    """Take a name away. A directory that is still open can hold nothing any more."""
    node = place.directory.children.pop(place.name)
    world.entries -= 1
    if isinstance(node, File):
        node.linked = False
        world.let_go(node)
    elif isinstance(node, Directory):
        node.writable = False


def path_unlink_file(world: World, fd: int, at: int, length: int) -> int:
    """Remove a file."""
    place = _change(world, fd, at, length)
    if place.node is None:
        raise Failed(Errno.NOENT)
    if isinstance(place.node, Directory):
        raise Failed(Errno.ISDIR)
    _drop(world, place)
    return 0


def path_rename(world: World, fd: int, at: int, length: int, to_fd: int, to_at: int, to_length: int) -> int:
    """Move a file or a directory, over a file or an empty directory if one stands there."""
    source = _change(world, fd, at, length)
    target = _change(world, to_fd, to_at, to_length)
    if source.node is None:
        raise Failed(Errno.NOENT)
    if not source.name or not target.name:
        raise Failed(Errno.INVAL)
    if source.node is target.node:
        return 0
    moving_directory = isinstance(source.node, Directory)
    if not moving_directory and target.must_be_directory:
        raise Failed(Errno.NOTDIR)
    if moving_directory:
        above: Directory | None = target.directory
        while above is not None:
            if above is source.node:
                raise Failed(Errno.INVAL)
            above = above.parent
    if isinstance(target.node, Directory):
        if not moving_directory:
            raise Failed(Errno.ISDIR)
        if target.node.children:
            raise Failed(Errno.NOTEMPTY)
    elif target.node is not None and moving_directory:
        raise Failed(Errno.NOTDIR)
    _move(world, source, target)
    return 0


def _move(world: World, source: _Place, target: _Place) -> None:
    node = source.node
    length = _check_length(target.directory, target.name)
    below: list[tuple[Directory, int]] = []
    if isinstance(node, Directory):
        # Every path below grows or shrinks with this one: all are checked before any is changed.
        waiting = [(node, length)]
        while waiting:
            directory, at_length = waiting.pop()
            below.append((directory, at_length))
            for name, child in directory.children.items():
                child_length = at_length + 1 + len(name)
                if child_length > MAX_PATH:
                    raise Failed(Errno.NAMETOOLONG)
                if isinstance(child, Directory):
                    waiting.append((child, child_length))
            world.spend(len(directory.children) * STEP_FUEL)
    if target.node is not None:
        _drop(world, target)
    del source.directory.children[source.name]
    assert node is not None
    target.directory.children[target.name] = node
    for directory, path_length in below:
        directory.path_length = path_length
    if isinstance(node, Directory):
        node.parent = target.directory


def path_filestat_get(world: World, fd: int, lookup: int, at: int, length: int, result: int) -> int:
    """A path's type and size."""
    node = _existing(world, fd, at, length)
    put_filestat(world, result, file_type(node), 0 if isinstance(node, Directory) else node.size)
    return 0


def path_filestat_set_times(world: World, fd: int, lookup: int, at: int, length: int, access: int, modification: int, flags: int) -> int:
    """Accepted and forgotten below /out: every time is zero."""
    node = _existing(world, fd, at, length)
    if not isinstance(node, File) and not (isinstance(node, Directory) and node.writable):
        raise Failed(Errno.ROFS)
    return 0


def path_readlink(world: World, fd: int, at: int, length: int, to: int, room: int, used: int) -> int:
    """EINVAL for whatever exists: nothing is a link."""
    _existing(world, fd, at, length)
    raise Failed(Errno.INVAL)


def path_symlink(world: World, at: int, length: int, fd: int, to: int, to_length: int) -> int:
    """Not supported: there are no links."""
    world.directory(fd)
    raise Failed(Errno.NOTSUP)


def path_link(world: World, fd: int, lookup: int, at: int, length: int, to_fd: int, to: int, to_length: int) -> int:
    """Not supported: there are no links."""
    _existing(world, fd, at, length)
    raise Failed(Errno.NOTSUP)
