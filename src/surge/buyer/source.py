"""Finding a function's source, so that it can travel: from a module, a script, a notebook or a prompt.

What cannot be found by name at the top level of some source is refused here, before anything is spent, with what to do instead.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import keyword
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surge.errors import InvalidInput

_NOT_MODULES = frozenset(sys.stdlib_module_names) | {"surge", "numpy", "pandas", "scipy", "sklearn", "_host"}
"""Names a script's module must not take in the guest, where they mean something else."""


@dataclass(frozen=True, slots=True)
class Located:
    """A function and the source it lives in."""

    module: str
    """The name its module has in the guest, such as `package.work`."""
    name: str
    """The function's name in it."""
    text: str
    """The module's source."""
    place: str
    """Where the module lies in the bundle, such as `package/work.py`."""
    roots: tuple[Path, ...] = field(default=())
    """Folders in which modules that it imports are looked for."""


class FileFunction:
    """A function named by its file, without importing the file here."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Not here: the file is not imported on this side."""
        raise InvalidInput(f"{self.path}:{self.__name__} runs on providers; to rehearse it, use Network.check")


def function_in_file(path: Path, name: str) -> FileFunction:
    """The function `name` of a Python file. Raises `InvalidInput` if the file has none at its top level."""
    names = _top_level(_parse(_read(path), str(path)))
    if name not in names:
        close = f"; it has {', '.join(sorted(names)[:8])}" if names else ""
        raise InvalidInput(f"{path} has no function {name!r} at its top level{close}", path=str(path), name=name)
    return FileFunction(path, name)


def locate(function: Callable[..., Any]) -> Located:
    """Where a function's source is. Raises `InvalidInput` for one that cannot travel."""
    if isinstance(function, FileFunction):
        return _in_script(function.path, function.__name__)
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if isinstance(function, functools.partial) or name is None:
        raise InvalidInput(f"{function!r} has no name to find it by: write a function at the top level of a module that calls it")
    if "<lambda>" in name:
        raise InvalidInput("a lambda cannot travel: write `def name(item): ...` at the top level of a module, and pass that")
    if "<locals>" in name:
        raise InvalidInput(
            f"{name.rsplit('.', 1)[-1]} is defined inside a function, so its variables cannot travel: "
            "move it to the top level of a module, and pass what it needs as part of each item"
        )
    if isinstance(function, types.MethodType) or "." in name:
        raise InvalidInput(f"{name} is a method: write a function at the top level of a module that calls it")
    module_name = getattr(function, "__module__", None)
    module = sys.modules.get(module_name or "")
    if isinstance(function, types.BuiltinFunctionType | type) and not _has_source(module):
        raise InvalidInput(f"{name} has no Python source: write a function of your own that calls it")
    if module is None or module_name is None:
        raise InvalidInput(f"the module of {name} is not loaded, so its source cannot be found: put it into a file and import it")
    if module_name == "__main__":
        return _in_main(function, name, module)
    return _in_module(name, module_name, module)


def imported(text: str, place: str, roots: Iterable[Path]) -> dict[str, str]:
    """The project's own modules that a module imports, and those they import: place in the bundle to source."""
    roots = list(roots)
    found: dict[str, str] = {}
    waiting = [(text, place)]
    while waiting:
        text, place = waiting.pop()
        for name in _imports(_parse(text, place), place):
            for path, where in _resolve(name, roots):
                if where not in found:
                    found[where] = _read(path)
                    waiting.append((found[where], where))
    return found


def project_roots(*first: Path) -> tuple[Path, ...]:
    """Folders of the user's own modules: the ones given, then what is on `sys.path` outside Python's installation."""
    installed = {Path(each).resolve() for each in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    roots = [each.resolve() for each in first]
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        inside = any(path.is_relative_to(each) for each in installed) or "site-packages" in path.parts
        if path.is_dir() and not inside and path not in roots:
            roots.append(path)
    return tuple(roots)


# Where functions live


def _has_source(module: types.ModuleType | None) -> bool:
    return str(getattr(module, "__file__", None) or "").endswith(".py") or getattr(module, "__name__", "") == "__main__"


def _in_module(name: str, module_name: str, module: types.ModuleType) -> Located:
    file = Path(getattr(module, "__file__", None) or "")
    if file.suffix != ".py":
        raise InvalidInput(f"{module_name}.{name} has no Python source: write a function of your own that calls it")
    parts = module_name.split(".")
    package = file.name == "__init__.py"
    root = file.resolve().parents[len(parts) if package else len(parts) - 1]
    installed = any(file.resolve().is_relative_to(Path(each).resolve()) for each in (sys.prefix, sys.base_prefix))
    if installed or "site-packages" in file.parts:
        raise InvalidInput(
            f"{module_name}.{name} belongs to an installed package, which does not travel: write a function of your own that calls it, "
            "and ship the package with packages=, if the guest lacks it"
        )
    text = _read(file)
    _require(name, text, str(file))
    place = "/".join(parts) + ("/__init__.py" if package else ".py")
    return Located(module_name, name, text, place, project_roots(root))


def _in_script(path: Path, name: str) -> Located:
    text = _read(path)
    _require(name, text, str(path))
    module = _module_name(path.stem)
    return Located(module, name, text, f"{module}.py", project_roots(path.parent))


def _in_main(function: Callable[..., Any], name: str, main: types.ModuleType) -> Located:
    file = getattr(main, "__file__", None)
    shell = getattr(builtins, "get_ipython", None)
    if shell is None and file and Path(file).is_file():
        return _in_script(Path(file), name)
    if shell is not None:
        cells = [cell for cell in getattr(shell().history_manager, "input_hist_parsed", []) if cell]
        text = _slice(name, cells)
    else:
        text = _from_globals(name, function)
    return Located("job_cells", name, text, "job_cells.py", project_roots(Path.cwd()))


def _module_name(stem: str) -> str:
    """A name for a script's module: its own, where that is a name and means nothing else in the guest."""
    name = "".join(letter if letter.isidentifier() or letter.isdigit() else "_" for letter in stem)
    if not name.isidentifier() or keyword.iskeyword(name) or name in _NOT_MODULES:
        name = f"job_{name}"
    return name


def _require(name: str, text: str, where: str) -> None:
    if name not in _top_level(_parse(text, where)):
        raise InvalidInput(f"{name} cannot be found at the top level of {where}: define it there with def", name=name)


# Notebooks and prompts


def _slice(name: str, cells: list[str]) -> str:
    """Of the cells that ran, the statements that a function needs: its own, and those of the names it uses, and so on."""
    defining: dict[str, ast.stmt] = {}
    order: dict[ast.stmt, int] = {}
    for cell in cells:
        plain = "\n".join(line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!", "?")))
        try:
            body = ast.parse(plain).body
        except SyntaxError:
            continue
        for statement in body:
            order[statement] = len(order)
            for each in _defined(statement):
                defining[each] = statement
    if name not in defining:
        raise InvalidInput(f"the cell that defines {name} cannot be found: run it again, or put {name} into a file and import it")
    needed: set[ast.stmt] = set()
    waiting = [name]
    while waiting:
        wanted = defining.get(waiting.pop())
        if wanted is not None and wanted not in needed:
            needed.add(wanted)
            waiting += _used(wanted)
    futures = [each for each in order if isinstance(each, ast.ImportFrom) and each.module == "__future__"]
    return "\n\n".join(ast.unparse(each) for each in [*futures, *sorted(needed - set(futures), key=order.__getitem__)]) + "\n"


def _from_globals(name: str, function: Callable[..., Any]) -> str:
    """A function typed at a prompt: its source, and that of the functions, modules and plain values it uses."""
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
            waiting += _used(ast.parse(text))
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


# Reading source


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", path=str(path)) from error


def _parse(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise InvalidInput(f"{where} is not Python that this interpreter can read: {error}", where=where) from error


def _defined(statement: ast.stmt) -> list[str]:
    """The names a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _used(statement: ast.AST) -> list[str]:
    """The names a statement reads."""
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]


def _top_level(tree: ast.Module) -> set[str]:
    """The names a module binds at its top level, also under if and try, that may be functions."""
    names: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.If | ast.Try | ast.With):
            if isinstance(statement, ast.If) and "__name__" in _used(statement.test):
                continue
            waiting += [each for each in ast.iter_child_nodes(statement) if isinstance(each, ast.stmt)]
            waiting += [each for handler in getattr(statement, "handlers", []) for each in handler.body]
        else:
            names.update(_defined(statement))
    return names


def _imports(tree: ast.Module, place: str) -> set[str]:
    """The dotted names a module may import, relative ones made absolute."""
    package = place.removesuffix(".py").split("/")[:-1]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module:
                names.add(module)
            names.update(f"{module}.{alias.name}" if module else alias.name for alias in node.names)
    return names


def _resolve(name: str, roots: Iterable[Path]) -> list[tuple[Path, str]]:
    """The project's files behind a dotted name: the module's own, and the packages' it lies in."""
    parts = name.split(".")
    for root in roots:
        found = []
        for depth in range(1, len(parts) + 1):
            stem = Path(*parts[:depth])
            for candidate in (stem / "__init__.py", stem.with_suffix(".py") if depth == len(parts) else None):
                if candidate is not None and (root / candidate).is_file():
                    found.append((root / candidate, candidate.as_posix()))
        if found and parts[0] != "surge":
            return found
    return []
