"""Complex numbers, Decimal and UUID: what stands under their tags, and back."""

from __future__ import annotations

from .wire import COMPLEX, DECIMAL, UUID, ValueRefused, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DIGITS = 10_000
"""Characters of a Decimal: reading one costs more than its length."""


def _encode_decimal(value: Any) -> tuple[int, Any]:
    text = str(value)
    if len(text) > MAX_DIGITS:
        raise ValueRefused(f"a Decimal of {len(text)} characters is longer than {MAX_DIGITS}")
    return DECIMAL, text


def _decode_decimal(value: Any) -> Any:
    from decimal import Decimal, InvalidOperation

    if type(value) is not str or len(value) > MAX_DIGITS:
        raise ValueRefused(f"a Decimal is text of at most {MAX_DIGITS} characters")
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise ValueRefused(f"{value!r:.80} is no Decimal") from None
    if str(found) != value:
        raise ValueRefused(f"{value!r:.80} is not how a Decimal is written")
    return found


def _decode_uuid(value: Any) -> Any:
    import uuid

    if type(value) is not bytes or len(value) != 16:
        raise ValueRefused("a UUID has 16 bytes")
    return uuid.UUID(bytes=value)


WRITERS: dict[type, Any] = {complex: lambda value: (COMPLEX, [value.real, value.imag])}
"""By type: gives a value's tag, and what stands under it. Each part has its own."""

LATER = (("decimal", "Decimal", _encode_decimal), ("uuid", "UUID", lambda value: (UUID, value.bytes)))
"""The same for types that need a module: only where it is loaded can a value of it be."""

READERS: dict[int, Any] = {
    COMPLEX: lambda value: complex(*expect(value, float, float)),
    DECIMAL: _decode_decimal,
    UUID: _decode_uuid,
}
"""By tag: makes the value of what stands under it. What does not fit may raise more than `ValueRefused`."""
