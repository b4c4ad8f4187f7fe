"""Content ids: the SHA-256 of some bytes, written `sha256:<hex>`."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from surge.errors import InvalidInput

ContentId = NewType("ContentId", str)
"""`sha256:` and 64 lower-case hex digits."""

_CONTENT_ID = re.compile(r"sha256:([0-9a-f]{64})\Z")


def content_id(data: bytes) -> ContentId:
    """The content id of `data`.

    >>> content_id(b"")[:14]
    'sha256:e3b0c44'
    """
    return write_content_id(hashlib.sha256(data).digest())


def write_content_id(digest: bytes) -> ContentId:
    """A 32-byte digest as a content id."""
    return ContentId("sha256:" + digest.hex())


def parse_content_id(text: str) -> bytes:
    """The 32-byte digest in a content id. Raises `InvalidInput`."""
    found = _CONTENT_ID.match(text)
    if not found:
        raise InvalidInput(f"{text!r} is no content id: write sha256: and 64 hex digits", text=text)
    return bytes.fromhex(found[1])
