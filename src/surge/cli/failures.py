"""Items that failed, for people: those that failed alike are told once, with their number at the end."""

from __future__ import annotations

import re
from collections.abc import Hashable

from surge.cli.console import err, in_options
from surge.core.text import counted
from surge.errors import GuestFault

MOST_KINDS = 1000
"""Kinds of failures that are told apart: a function whose items each fail in a way of their own does not fill the memory."""

_PLACE = re.compile(r'^ *File ".*", line \d+.*$', re.MULTILINE)


class Failures:
    """The items of a job that failed."""

    def __init__(self) -> None:
        self.count = 0
        """Items that failed."""
        self._like: dict[Hashable, tuple[int, str, int]] = {}

    def tell(self, index: int, error: GuestFault) -> None:
        """Item `index` failed: say so in full unless another failed like it."""
        self.count += 1
        kind = _kind(error)
        if kind in self._like:
            first, name, more = self._like[kind]
            self._like[kind] = (first, name, more + 1)
            return
        if len(self._like) < MOST_KINDS:
            self._like[kind] = (index, str(error.details.get("type") or error.message.partition("\n")[0]), 0)
        err.print(in_options(str(error)), style="red", markup=False)

    def sum_up(self) -> None:
        """Say how many more failed like those that were told."""
        for first, name, more in self._like.values():
            if more:
                text = f"... and {counted(more, 'more item')} failed like item {first}: {in_options(name)}"
                err.print(text, style="red", markup=False, soft_wrap=True)


def _kind(error: GuestFault) -> Hashable:
    """What failures have in common that are told once: the exception and where it was raised, or the ending of the unit."""
    details = error.details
    if "traceback" in details:
        return details.get("type"), tuple(_PLACE.findall(str(details["traceback"])))
    return details.get("status") or error.message, details.get("exit_code")
