"""Listings for people and for programs: tables, rows by themselves, and JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from surge.cli.console import WIDE, out, print_json
from surge.core.text import printable

MOST_WHOLE = 14
"""Characters of a word in a table that is never folded: an id of twelve digits with its 0x."""

LONG = 200
"""Rows from which a listing is no table."""


def show(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    as_json: bool,
    title: str | None = None,
    empty: str = "nothing yet",
    money: Sequence[str] = (),
) -> None:
    """A listing: a table for people, or with `--json` one array of objects. Columns of `money` hold wei, which people see in SURGE.

    Where a terminal is narrow, free text is folded; numbers and ids are not. Where they leave no room, each row has lines of its own.
    """
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        out.print(empty)
        return
    narrow = out.width < WIDE
    cells: dict[str, Sequence[Any]] = {}
    numbers: set[str] = set()
    for column in columns:
        values: list[Any] = [row.get(column) for row in rows]
        name = column.replace("_", " ") + (("\n" if narrow else " ") + "SURGE" if column in money else "")
        cells[name] = _amounts(values) if column in money else values
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            numbers.add(name)
    if sum(_least(name, said) + 1 for name, said in cells.items()) - 1 > out.width:
        _show_by_row(cells, title)
        return
    if len(rows) > LONG:
        _show_lines(cells, numbers, title)
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, collapse_padding=narrow, header_style="bold")
    for name, said in cells.items():
        whole = name in numbers or all(len(word := _words(value)) <= MOST_WHOLE and " " not in word for value in said)
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=whole, overflow="ellipsis" if whole else "fold")
    for line in zip(*cells.values(), strict=True):
        table.add_row(*map(_cell, line))
    out.print(table)


_ID = re.compile("(0x)?[0-9a-f]{40,}")
"""An address, or a longer id."""


def _least(name: str, values: Sequence[Any]) -> int:
    """Characters that a column takes at least: its short words and its ids stay whole."""
    words = [word for value in (name, *values) for word in _words(value).split()]
    return max((len(word) if _ID.fullmatch(word) else min(len(word), MOST_WHOLE) for word in words), default=0)


def _show_by_row(cells: Mapping[str, Sequence[Any]], title: str | None) -> None:
    """Each row by itself, a line for each column that says something, so that an address can be copied whole."""
    if title:
        out.print(title, markup=False, style="italic")
    names = [name.replace("\n", " ") for name in cells]
    widest = max(map(len, names))
    for number, line in enumerate(zip(*cells.values(), strict=True)):
        if number:
            out.print()
        for name, value in zip(names, line, strict=True):
            if words := _in_line(value):
                out.print(f"{name:<{widest}}  {words}", markup=False, soft_wrap=True)


def _show_lines(cells: Mapping[str, Sequence[Any]], numbers: Collection[str], title: str | None) -> None:
    """A line for each row, nothing folded: a table takes seconds to lay thousands of rows out."""
    if title:
        out.print(title, markup=False, style="italic")
    columns = []
    for name, said in cells.items():
        words = [name.replace("\n", " "), *map(_in_line, said)]
        widest = max(map(cell_len, words))
        pads = [" " * (widest - cell_len(word)) for word in words]
        columns.append([pad + word if name in numbers else word + pad for word, pad in zip(words, pads, strict=True)])
    head, *lines = ("  ".join(line).rstrip() for line in zip(*columns, strict=True))
    out.print(head, markup=False, style="bold", soft_wrap=True)
    out.file.write("".join(f"{line}\n" for line in lines))


def _cell(value: Any) -> Text:
    """A value in a table's cell, as it is: nothing in it is markup, and it stays in its row."""
    return Text(_in_line(value))


def _in_line(value: Any) -> str:
    return printable(_words(value)).replace("\n", "\\n")


def _words(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _amounts(values: Sequence[Any]) -> list[str]:
    """Amounts of one column in SURGE, with the same decimals: as few as show something of each, and no zeros that all of them end in."""
    least = min((abs(value) for value in values if value), default=10**18)
    decimals = next(places for places in (6, 9, 12, 18) if least >= 10 ** (18 - places))
    parts = [divmod(abs(value), 10**18) for value in values]
    shown = [f"{part:018d}"[:decimals] for _, part in parts]
    needed = max((len(each.rstrip("0")) for each in shown), default=0)
    points = ["." + each[:needed] if needed else "" for each in shown]
    return [f"{'-' if value < 0 else ''}{whole:,}{point}" for value, (whole, _), point in zip(values, parts, points, strict=True)]
