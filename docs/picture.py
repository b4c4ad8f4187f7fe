"""`make picture`: run the demonstration and draw what it says, as docs/demo.svg."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT

from surge.cli import console

WIDTH = 130
"""Columns: the longest line of the demonstration fits."""

SHOWN = "~/.local/share/surge"
"""Where a user's networks lie, shown in place of this run's own folder."""

TARGET = Path(__file__).with_name("demo.svg")


class Recorder(console.SafeConsole):
    """A console that keeps what it prints, and names no folder of this machine."""

    def __init__(self, folder: str) -> None:
        super().__init__(file=sys.stderr, record=True, width=WIDTH, highlight=False)
        self._folder = folder

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(each.replace(self._folder, SHOWN) if isinstance(each, str) else each for each in objects), **options)


def plain_format() -> str:
    """rich's format of a picture without the fonts that it has browsers fetch: a picture asks nobody for anything."""
    return re.sub(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SURGE_HOME"] = os.environ["XDG_STATE_HOME"] = folder
        recorder = Recorder(str(Path(folder).resolve()))
        console.out = console.err = recorder  # before the commands take them from there
        from surge.cli.app import surge

        recorder.print("[bold]$ surge demo[/]")
        code = console.run_command(surge, ["demo"])
    if code == 0:
        drawn = recorder.export_svg(title="surge demo", unique_id="demo", code_format=plain_format())
        TARGET.write_text(re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
