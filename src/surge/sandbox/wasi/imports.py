"""Every import a guest may have: its name, its type and the function behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from surge.sandbox.wasi import descriptors, paths, process

I32: Final = "i"
I64: Final = "I"

_SIGNATURES: Final = """
args_get ii  args_sizes_get ii  environ_get ii  environ_sizes_get ii
clock_res_get ii  clock_time_get iIi  random_get ii  poll_oneoff iiii
proc_exit i  proc_raise i  sched_yield -
sock_accept iii  sock_recv iiiiii  sock_send iiiii  sock_shutdown ii
fd_advise iIIi  fd_allocate iII  fd_close i  fd_datasync i  fd_sync i
fd_fdstat_get ii  fd_fdstat_set_flags ii  fd_fdstat_set_rights iII
fd_filestat_get ii  fd_filestat_set_size iI  fd_filestat_set_times iIIi
fd_pread iiiIi  fd_prestat_get ii  fd_prestat_dir_name iii  fd_pwrite iiiIi
fd_read iiii  fd_readdir iiiIi  fd_renumber ii  fd_seek iIii  fd_tell ii  fd_write iiii
path_create_directory iii  path_filestat_get iiiii  path_filestat_set_times iiiiIIi
path_link iiiiiii  path_open iiiiiIIii  path_readlink iiiiii  path_remove_directory iii
path_rename iiiiii  path_symlink iiiii  path_unlink_file iii
"""
"""Parameters by name: i is an i32, I an i64, - none. All give an i32 but `proc_exit`, which gives nothing."""

Function = Callable[..., int]


def _function(name: str) -> Function:
    for module in (process, descriptors, paths):
        found: Function | None = getattr(module, "fd_sync" if name == "fd_datasync" else name, None)
        if found is not None:
            return found
    raise LookupError(name)


def _table() -> dict[str, tuple[str, Function]]:
    words = _SIGNATURES.split()
    return {name: (kinds.strip("-"), _function(name)) for name, kinds in zip(words[::2], words[1::2], strict=True)}


IMPORTS: Final[dict[str, tuple[str, Function]]] = _table()
"""Parameters and function by name, all in the module `wasi_snapshot_preview1`."""
