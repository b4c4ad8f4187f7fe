"""What may be a key of a dict or a member of a set, and how a key is shown."""

from __future__ import annotations

from .wire import ValueRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_KEY_INTEGER = 4096
"""Bytes of an integer that is a key or in one: comparing it with a Decimal costs the square of its length."""


def check_keys(keys: list[Any]) -> None:
    """Refuse keys that cannot be hashed, and keys chosen so that a dict of them would cost the square of their number."""
    kinds = set(map(type, keys))
    if kinds <= {str, bytes}:
        return
    for key in keys:
        check_key(key)
    try:
        hashes = list(map(hash, keys))
    except TypeError:
        raise ValueRefused("a key or member is a container that changes") from None
    if len(set(hashes)) == len(hashes):
        return
    counts: dict[int, int] = {}
    comparisons = 0
    for each in hashes:
        before = counts.get(each, 0)
        counts[each] = before + 1
        comparisons += before
    if comparisons > 1000 + 4 * len(hashes):
        raise ValueRefused("keys were chosen to collide")


def check_key(key: Any) -> None:
    """Refuse a key that is too costly to compare."""
    kind = type(key)
    if kind is int:
        if key.bit_length() > 8 * MAX_KEY_INTEGER:
            raise ValueRefused(f"an integer of more than {MAX_KEY_INTEGER} bytes is no key or member")
    elif kind is tuple:  # a frozenset's members were checked when it was made
        for each in key:
            check_key(each)


def shown(key: Any) -> str:
    """A key, for people."""
    short = type(key) in (str, float, bytes, bool) or (type(key) is int and key.bit_length() < 256)
    return f"{key!r:.80}" if short else f"<a {type(key).__name__}>"
