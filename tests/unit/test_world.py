"""The world's version names what guests see: whoever changes that decides whether it is another world."""

from __future__ import annotations

import hashlib
from pathlib import Path

import surge.sandbox
from surge.core.units import WORLD
from surge.sandbox import guest
from surge.sandbox.python_image import IMAGE

SEEN = {"surge-world/1": "514583fff36248c56bf9eaca379c20d342f38f4a6b087703dfc0ea07cce66584"}
"""By world: the digest of the sources that its guests meet."""

ROOM = Path(surge.sandbox.__file__).parent


def digest() -> str:
    """Over what runs in the guest beside the user's code, and what answers its calls."""
    parts = [IMAGE, guest.identity()]
    parts += [
        hashlib.sha256(path.read_bytes()).digest() for path in (*sorted((ROOM / "wasi").glob("*.py")), ROOM / "vfs.py", ROOM / "library.py")
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_world_has_a_new_version_when_guests_see_something_else() -> None:
    """Two devices of one world must give the same results and the same fuel.

    If a guest could tell the change, by a result or its fuel, raise `WORLD` once the one before was released. Then write the digest here.
    """
    assert SEEN.get(WORLD) == digest()
