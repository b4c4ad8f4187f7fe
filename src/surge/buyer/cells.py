"""Functions typed in a notebook or at a prompt: the source they need, out of all that was typed.

What travels is what the function needs, not the session: the statements that define the names it uses, those that change them, and so
on; in the order in which they ran.
"""

from __future__ import annotations

import ast
import inspect
import symtable
import types
from collections.abc import Callable, Iterable
from typing import Any

from surge.errors import InvalidInput

_TRANSPARENT = frozenset({"time", "capture", "prun"})
"""Cell magics whose cell runs in the session, as if the magic were not there."""

_AWAITS = ast.Await | ast.AsyncFor | ast.AsyncWith


def needed_of_cells(name: str, cells: Iterable[str]) -> str:
    """Of the cells that ran, in order, the statements that the function `name` needs.

    Raises `InvalidInput` if none defines it, or if one that is needed is more than Python.
    """
    statements = [statement for cell in cells for statement in _statements(cell)]
    needed = _needed(name, statements)
    if not any(name in defined(statements[place]) for place in needed):
        raise InvalidInput(f"the cell that defines {name} cannot be found: run it again, or put {name} into a file and import it")
    for place in sorted(needed):
        _check_plain(name, statements[place])
    futures = [place for place, each in enumerate(statements) if isinstance(each, ast.ImportFrom) and each.module == "__future__"]
    order = [*futures, *sorted(needed - set(futures))]
    return "\n\n".join(ast.unparse(statements[place]) for place in order) + "\n"


def _statements(cell: str) -> list[ast.stmt]:
    """A cell's statements, those under a magic such as %%time included; none of a cell that never ran."""
    for text in (cell, "\n".join(line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!", "?")))):
        try:
            found = ast.parse(text).body
        except SyntaxError:
            continue
        return [each for statement in found for each in _under_magic(statement)]
    return []


def _under_magic(statement: ast.stmt) -> list[ast.stmt]:
    """What runs when a statement does: IPython writes a cell magic as `get_ipython().run_cell_magic(name, line, cell)`."""
    match statement:
        case ast.Expr(ast.Call(ast.Attribute(attr="run_cell_magic"), [ast.Constant(magic), _, ast.Constant(str(cell))])):
            return _statements(cell) if magic in _TRANSPARENT else []
    return [statement]


def _check_plain(name: str, statement: ast.stmt) -> None:
    """Refuse a statement that only a notebook can run."""
    own = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    if "get_ipython" in used(statement):
        what = "a magic or a shell command"
    elif not own and any(isinstance(node, _AWAITS) for node in _at_top(statement)):
        what = "await outside a function"
    else:
        return
    text = ast.unparse(statement).splitlines()[0][:80]
    raise InvalidInput(f"{name} needs `{text}`, which uses {what}: bind what it gives to a plain value in a cell of its own", name=name)


def _needed(name: str, statements: list[ast.stmt]) -> set[int]:
    """The places of the statements that a name needs: its last definition, the changes after that, and what those read."""
    chosen: set[int] = set()
    asked: set[str] = set()
    waiting = [name]
    while waiting:
        wanted = waiting.pop()
        if wanted in asked:
            continue
        asked.add(wanted)
        for place in range(len(statements) - 1, -1, -1):
            statement = statements[place]
            defines = wanted in defined(statement)
            changes = wanted in _changed(statement)
            if (defines or changes) and place not in chosen:
                chosen.add(place)
                waiting += used(statement)
            if defines and not changes:
                break
    return chosen


def needed_at_prompt(name: str, function: Callable[..., Any]) -> str:
    """The source of a function typed at a prompt, with that of the functions, modules and plain values it uses.

    Raises `InvalidInput` for what has no source and is no plain value.
    """
    names = function.__globals__ if isinstance(function, types.FunctionType) else {}
    pieces: dict[str, str] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in pieces or each not in names:
            continue
        value = names[each]
        if isinstance(value, types.ModuleType):
            pieces[each] = f"import {value.__name__} as {each}" if value.__name__ != each else f"import {each}"
        elif isinstance(value, types.FunctionType | type) and value.__module__ == "__main__":
            try:
                text = inspect.cleandoc("\n" + inspect.getsource(value))
            except (OSError, TypeError) as error:
                raise InvalidInput(f"the source of {each} cannot be found: put it into a file and import it", name=each) from error
            pieces[each] = text
            waiting += used(ast.parse(text))
        elif isinstance(value, types.FunctionType | types.BuiltinFunctionType | type) and value.__module__:
            pieces[each] = f"from {value.__module__} import {value.__qualname__} as {each}"
        elif isinstance(value, int | float | str | bytes | bool | None | list | tuple | dict) and _is_literal(value):
            pieces[each] = f"{each} = {value!r}"
        else:
            raise InvalidInput(f"{name} uses {each}, a {type(value).__name__} that cannot travel from a prompt: put both into a file")
    if name not in pieces:
        raise InvalidInput(f"the source of {name} cannot be found: put it into a file and import it", name=name)
    return "\n\n".join(reversed(pieces.values())) + "\n"


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


# What a statement does to names


def defined(statement: ast.stmt) -> list[str]:
    """The names a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    return [
        name
        for node in _at_top(statement)
        for name in (
            [node.id]
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            else defined(node)
            if node is not statement
            and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)
            else []
        )
    ]


def used(statement: ast.stmt | ast.expr | ast.Module) -> list[str]:
    """The names of its module that a statement reads: not what functions in it have under the same names for themselves."""
    try:
        table = symtable.symtable(ast.unparse(statement), "", "exec")
    except SyntaxError:  # await outside a function, and the like: too many names are better than too few
        return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    found: dict[str, None] = {}
    waiting = [table]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        own = table.get_type() == "function"
        for each in table.get_symbols():
            if each.is_declared_global() or (each.is_referenced() and (each.is_global() or not own)):
                found[each.get_name()] = None
    return list(found)


def _changed(statement: ast.stmt) -> set[str]:
    """The names whose values a statement changes, or binds anew from what they were: x += 1, x[0] = 1, x.append(1), x = x + 1."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return set()
    names: set[str] = set()
    for node in _at_top(statement):
        if isinstance(node, ast.AugAssign):
            names.update(_roots([node.target]))
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            names.update(_roots([node]))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            names.update(_roots([node.value.func]))
    return names | (set(defined(statement)) & set(used(statement)))


def _at_top(statement: ast.stmt) -> list[ast.AST]:
    """The nodes of a statement that run with it: not the bodies of functions and classes in it."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if node is statement or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


def _roots(nodes: Iterable[ast.expr]) -> list[str]:
    names = []
    for node in nodes:
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if isinstance(node, ast.Name):
            names.append(node.id)
    return names
