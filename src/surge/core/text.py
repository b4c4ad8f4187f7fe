"""Text for people: numbers of things; and what strangers said, for a guest's words must not steer the terminal that shows them."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but newline and tab, what turns the direction of writing, line separators, and halves of characters."""


def printable(text: str) -> str:
    r"""The text with everything that steers a terminal written out.

    >>> printable("a\x1b[2J\tb")
    'a\\x1b[2J\tb'
    """
    return _STEERING.sub(_written_out, text)


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "item"), counted(2500, "item")
    ('1 item', '2,500 items')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A time, as exactly as people need it.

    >>> span(1), span(150), span(3 * 3600), span(90_000 * 10)
    ('1 second', '2 minutes', '3 hours', '10 days')
    """
    for unit, size, upto in (("second", 1, 120), ("minute", 60, 7200), ("hour", 3600, 172_800)):
        if seconds < upto:
            return counted(max(0, int(seconds)) // size, unit)
    return counted(int(seconds) // 86_400, "day")


def size_text(size: int) -> str:
    """Bytes, as people read them; units are powers of 1000, as prices are by the gigabyte.

    >>> size_text(0), size_text(999), size_text(1_234_567), size_text(32 * 10**9)
    ('0 B', '999 B', '1.23 MB', '32 GB')
    """
    scaled, prefix = float(size), ""
    for larger in "kMGTPE":
        if scaled < 999.5:
            break
        scaled, prefix = scaled / 1000, larger
    return f"{scaled:.3g} {prefix}B"


def _written_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
