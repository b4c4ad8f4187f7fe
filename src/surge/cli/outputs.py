"""Files that commands write: an old one is replaced once the new one is whole, and otherwise stays as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from surge.errors import InvalidInput

STANDARD_OUTPUT = "standard output"


@contextlib.contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Say which file it was that the system does not let us write. Raises `InvalidInput`."""
    try:
        yield
    except BrokenPipeError:  # whoever read our output has enough
        raise
    except OSError as error:
        if target == STANDARD_OUTPUT:
            drop_standard_output()
        raise InvalidInput(f"{target} cannot be written ({error.strerror}): name another place, or make room", path=str(target)) from error


def drop_standard_output() -> None:
    """Nobody takes our output any more; the interpreter flushes it once more at its end."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


@contextlib.contextmanager
def output_file(target: str) -> Iterator[TextIO]:
    """A text file that takes its name when the block ends well, or standard output for `-`; devices and pipes are written to as they are.

    Raises `InvalidInput` at once where it cannot be made.
    """
    if target == "-":
        yield sys.stdout
        with writing(STANDARD_OUTPUT):
            sys.stdout.flush()
        return
    path = Path(target).resolve()
    with writing(target):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        special = path.exists() and not path.is_file()
        beside = path if special else path.with_name(f".{path.name}.{os.getpid()}.tmp")
        file = beside.open("w", encoding="utf-8")
        if path.is_file():
            shutil.copymode(path, beside)
    try:
        yield file
        with writing(target):
            file.close()
            if not special:
                beside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it was said already
            file.close()
        if not special:
            beside.unlink(missing_ok=True)
