"""Functions of a notebook: the cells that they need travel, and no others."""

from __future__ import annotations

import builtins
import re
import sys
import types
from typing import Any

import pytest

from surge.buyer.cells import needed_of_cells
from surge.buyer.source import locate
from surge.errors import InvalidInput


class Shell:
    """As much of IPython as there is to ask."""

    def __init__(self, cells: list[str]) -> None:
        self.history_manager = types.SimpleNamespace(input_hist_parsed=["", *cells])


def notebook(monkeypatch: pytest.MonkeyPatch, cells: list[str], name: str = "run") -> str:
    """The source that travels when these cells were run, in order."""
    main = types.ModuleType("__main__")
    for cell in cells:
        if not cell.startswith(("%", "!")) and "SYNTAX" not in cell:
            exec(compile(cell, "<cell>", "exec"), main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(builtins, "get_ipython", lambda: Shell(cells), raising=False)
    return locate(getattr(main, name)).text


def test_a_notebook_ships_what_the_function_needs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        "import math, json",
        "%matplotlib inline",
        "unused = json.dumps({})\nbig = list(range(3))",
        "def helper(x):\n    return math.sqrt(x) + OFFSET",
        "OFFSET = 1",
        "def broken(: SYNTAX",
        "OFFSET = 2",
        "def run(item):\n    return helper(item)",
        "print(run(4))",
    ]
    text = notebook(monkeypatch, cells)
    space: dict[str, Any] = {"__name__": "job_cells"}
    exec(text, space)
    assert space["run"](4) == 4.0
    assert "OFFSET = 2" in text
    assert "OFFSET = 1" not in text
    assert not {"unused", "big"} & set(space)
    assert "print" not in text


def test_a_notebook_ships_what_changes_the_values_the_function_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        "import random\nimport math",
        "table = {}\ntotal = 99\nother = []",
        "table = {'a': 1}",
        "table['b'] = 2\ntable.update(c=3)",
        "total = 1\ntotal += 2\ntotal = total * 2",
        "for index in range(3):\n    table[index] = index",
        "if math.pi > 3:\n    def helper(): return total",
        "other.append(table)\nprint(table)",
        "class Box: pass\nbox = Box()\nbox.size = 5",
        "def run(item):\n    return [table, helper(), box.size]",
        "results = [run(1)]",
    ]
    text = notebook(monkeypatch, cells)
    space: dict[str, Any] = {"__name__": "job_cells"}
    exec(text, space)
    assert space["run"](0) == [{"a": 1, "b": 2, "c": 3, 0: 0, 1: 1, 2: 2}, 6, 5]
    assert not {"other", "results", "random"} & set(space)
    assert "99" not in text


def test_names_of_a_functions_own_bring_nothing_along(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        "item = 'HEAVY'\nresults = 'HEAVY'\neach = 'HEAVY'\nerror = 'HEAVY'",
        "default = 1\ncount = 0\nscale = 2\ndef helper(value): return value * scale",
        """
def run(item, more=default):
    global count
    count += 1
    def inner(results): return [helper(each) for each in results]
    try:
        return [*inner([item, more]), count]
    except ValueError as error:
        raise error
""",
    ]
    text = notebook(monkeypatch, cells)
    assert "HEAVY" not in text
    space: dict[str, Any] = {"__name__": "job_cells"}
    exec(text, space)
    assert space["run"](4) == [8, 2, 1]


def test_cells_under_a_magic_that_leaves_them_be_count(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        "get_ipython().run_cell_magic('time', '', 'scale = 2\\n')",
        "get_ipython().run_cell_magic('bash', '', 'scale = 3')",
        "get_ipython().run_line_magic('matplotlib', 'inline')\ntext = ('%s!'\n% 'hello')",
        "get_ipython().run_cell_magic('time', '', 'def run(item):\\n    return [item * scale, text]\\n')",
    ]
    space: dict[str, Any] = {"__name__": "job_cells"}
    exec(needed_of_cells("run", cells), space)
    assert space["run"](4) == [8, "hello!"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("files = get_ipython().getoutput('ls')", "`files = get_ipython().getoutput('ls')`, which uses a magic or a shell command"),
        ("files = await listing()", "await outside a function"),
        ("async with session() as files: pass", "await outside a function"),
    ],
)
def test_what_only_a_notebook_can_run_is_refused_where_it_is_needed(cell: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        needed_of_cells("run", [cell, "def run(item): return files[item]"])
    assert "files" not in needed_of_cells("run", [cell, "def run(item): return item"])
    assert "files" in needed_of_cells("run", [cell, "files = ['a']", "def run(item): return files[item]"])


def test_a_cell_run_again_counts_in_its_last_form(monkeypatch: pytest.MonkeyPatch) -> None:
    text = notebook(monkeypatch, ["def run(item):\n    return 1", "def run(item):\n    return 2"])
    assert "return 2" in text
    assert "return 1" not in text


def test_a_function_whose_cell_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    exec("def run(item): return 1", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(builtins, "get_ipython", lambda: Shell(["x = 1"]), raising=False)
    with pytest.raises(InvalidInput, match="run it again"):
        locate(main.run)
