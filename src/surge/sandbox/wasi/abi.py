"""Numbers and layouts of WASI preview 1.

Source: the `wasi_snapshot_preview1` witx of the WebAssembly/WASI repository (legacy/preview1).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

MODULE: Final = "wasi_snapshot_preview1"


class Errno(IntEnum):
    """Error codes a guest may see here."""

    SUCCESS = 0
    BADF = 8
    EXIST = 20
    FAULT = 21
    FBIG = 22
    ILSEQ = 25
    INVAL = 28
    IO = 29
    ISDIR = 31
    MFILE = 33
    NAMETOOLONG = 37
    NOENT = 44
    NOMEM = 48
    NOSPC = 51
    NOTDIR = 54
    NOTEMPTY = 55
    NOTSUP = 58
    OVERFLOW = 61
    PERM = 63
    ROFS = 69
    SPIPE = 70


class FileType(IntEnum):
    """What a descriptor or a directory entry is."""

    UNKNOWN = 0
    DIRECTORY = 3
    REGULAR_FILE = 4


class Rights:
    """Bits of what a descriptor may do."""

    FD_DATASYNC = 1 << 0
    FD_READ = 1 << 1
    FD_SEEK = 1 << 2
    FD_FDSTAT_SET_FLAGS = 1 << 3
    FD_SYNC = 1 << 4
    FD_TELL = 1 << 5
    FD_WRITE = 1 << 6
    FD_ADVISE = 1 << 7
    FD_ALLOCATE = 1 << 8
    PATH_CREATE_DIRECTORY = 1 << 9
    PATH_CREATE_FILE = 1 << 10
    PATH_OPEN = 1 << 13
    FD_READDIR = 1 << 14
    PATH_RENAME_SOURCE = 1 << 16
    PATH_RENAME_TARGET = 1 << 17
    PATH_FILESTAT_GET = 1 << 18
    PATH_FILESTAT_SET_SIZE = 1 << 19
    PATH_FILESTAT_SET_TIMES = 1 << 20
    FD_FILESTAT_GET = 1 << 21
    FD_FILESTAT_SET_SIZE = 1 << 22
    FD_FILESTAT_SET_TIMES = 1 << 23
    PATH_REMOVE_DIRECTORY = 1 << 25
    PATH_UNLINK_FILE = 1 << 26
    POLL_FD_READWRITE = 1 << 27

    FILE_READ = FD_READ | FD_SEEK | FD_TELL | FD_ADVISE | FD_FILESTAT_GET | FD_FDSTAT_SET_FLAGS | POLL_FD_READWRITE
    FILE_WRITE = FD_WRITE | FD_DATASYNC | FD_SYNC | FD_ALLOCATE | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES
    DIRECTORY_READ = PATH_OPEN | FD_READDIR | PATH_FILESTAT_GET | FD_FILESTAT_GET
    DIRECTORY_WRITE = (
        PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_SET_TIMES
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE
    )


OPEN_CREATE: Final = 1
OPEN_DIRECTORY: Final = 2
OPEN_EXCLUSIVE: Final = 4
OPEN_TRUNCATE: Final = 8

FLAG_APPEND: Final = 1
FLAGS_KNOWN: Final = 0x1F
"""append, dsync, nonblock, rsync, sync: all but append change nothing here."""

SEEK_SET: Final = 0
SEEK_CURRENT: Final = 1
SEEK_END: Final = 2

SUBSCRIBE_CLOCK: Final = 0
SUBSCRIBE_READ: Final = 1
SUBSCRIBE_WRITE: Final = 2
CLOCK_ABSOLUTE: Final = 1

U16: Final = struct.Struct("<H")
U32: Final = struct.Struct("<I")
U64: Final = struct.Struct("<Q")
IOVEC: Final = struct.Struct("<II")
"""pointer, length"""
FDSTAT: Final = struct.Struct("<BxHxxxxQQ")
"""file type, flags, rights, inheriting rights"""
FILESTAT: Final = struct.Struct("<QQBxxxxxxxQQQQQ")
"""device, inode, file type, links, size, access, modification and change times"""
PRESTAT: Final = struct.Struct("<BxxxI")
"""tag (0: directory), length of its name"""
DIRENT: Final = struct.Struct("<QQIBxxx")
"""next cookie, inode, length of the name, file type"""
SUBSCRIPTION: Final = struct.Struct("<QB7xI4xQQH6x")
"""user data, tag, clock id or descriptor, timeout, precision, clock flags"""
EVENT: Final = struct.Struct("<QHB5xQH6x")
"""user data, error, tag, bytes ready, flags"""
