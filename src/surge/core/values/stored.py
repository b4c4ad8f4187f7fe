"""Stored files: what stands for one in a value, and the path by which a guest opens it.

A name of a stored file (`surge.core.storage.stored.StoredName`) travels as what it stands for: the object, and the part of it that is the
file. Where it comes back it is text: a path that can be opened in a unit which was given the file.
"""

from __future__ import annotations

from .wire import STORED, ValueRefused, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = "/job/.stored"
"""Where a unit's stored files are."""

MAX_OBJECT = 1 << 48
"""Bytes of the largest object."""

MAX_NAME = 1024
"""Bytes of a name in UTF-8."""

MAX_STEP = 255
"""Bytes of each of its parts, as file systems have it."""


def stored_path(object_id: bytes, size: int, offset: int, length: int, name: str) -> str:
    """The path of a stored file in a guest. Raises `ValueRefused` for what stands for none.

    It ends in the file's whole name; what is before that differs between objects, and between the parts of one.
    """
    if len(object_id) != 32 or not 0 <= offset <= offset + length <= size <= MAX_OBJECT:
        raise ValueRefused("no part of an object is where a stored file says")
    steps = name.split("/")
    if len(name.encode()) > MAX_NAME or any(step in ("", ".", "..") or "\0" in step or len(step.encode()) > MAX_STEP for step in steps):
        raise ValueRefused(f"{name!r:.80} is no name of a stored file that a unit can open: its parts have 1 to {MAX_STEP} bytes")
    return f"{FOLDER}/{object_id[:8].hex()}.{offset}.{length}/{name}"


def _decode_stored(value: Any) -> Any:
    return stored_path(*expect(value, bytes, int, int, int, str))


def _encode_stored(value: Any) -> tuple[int, Any]:
    fields = value.resolved().fields()
    stored_path(*fields)
    return STORED, fields


LATER = (("surge.core.storage.stored", "StoredName", _encode_stored),)
READERS: dict[int, Any] = {STORED: _decode_stored}
