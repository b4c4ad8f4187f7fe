"""Finding a function's source, so that it can travel: from a module, a script, a notebook or a prompt.

What cannot be found by name at the top level of some source is refused here, before anything is spent, with what to do instead.
"""

from __future__ import annotations

import ast
import builtins
import functools
import io
import keyword
import sys
import sysconfig
import tokenize
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surge.buyer.cells import defined, needed_at_prompt, needed_of_cells, used
from surge.errors import InvalidInput

_DATA = ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set | ast.JoinedStr
"""What cannot be called, whatever is in it."""

MAX_IMPORTS = 100
"""Modules that a setup is asked to load for the function's own imports."""

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

    def imports(self) -> list[str]:
        """The modules that the function, and what it uses of its module, import when called: setup loads them ahead of time."""
        tree = _parse(self.text, self.place)
        defining: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            for each in defined(statement):
                defining.setdefault(each, []).append(statement)
        reached: set[ast.stmt] = set()
        waiting = [self.name]
        while waiting:
            for statement in defining.pop(waiting.pop(), []):
                if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement not in reached:
                    reached.add(statement)
                    waiting += used(statement)
        names = {name for statement in reached for name in _imports(statement, self.place)}
        return sorted(name for name in names if name.split(".")[0] != "surge" and not name.endswith("*"))[:MAX_IMPORTS]


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
        return _in_file(function.path, function.__name__)
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if isinstance(function, functools.partial) or not callable(function) or type(name) is not str:
        raise InvalidInput(f"{function!r} has no name to find it by: write a function at the top level of a module that calls it")
    if "<lambda>" in name:
        raise InvalidInput("a lambda cannot travel: write `def name(item): ...` at the top level of a module, and pass that")
    if isinstance(function, types.FunctionType):
        name = _bound_name(function) or name
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
    if isinstance(function, type):
        raise InvalidInput(f"{name} is a class: write a function that makes one and returns data")
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
    roots = [each.resolve() for each in first]
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        if path.is_dir() and not _is_installed(path) and path not in roots:
            roots.append(path)
    return tuple(roots)


@functools.cache
def _installation() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _is_installed(path: Path) -> bool:
    """Whether a file is of Python's installation or of a package installed there, and so no part of the user's project."""
    path = path.resolve()
    return any(path.is_relative_to(each) for each in _installation()) or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


# Where functions live


def _bound_name(function: types.FunctionType) -> str | None:
    """The name by which a function's module knows it, which a decorator may have made another than its own."""
    space = vars(sys.modules.get(function.__module__ or "", types.ModuleType("")))
    own: str = function.__name__
    return own if space.get(own) is function else next((name for name, value in space.items() if value is function), None)


def _has_source(module: types.ModuleType | None) -> bool:
    return str(getattr(module, "__file__", None) or "").endswith(".py") or getattr(module, "__name__", "") == "__main__"


def _in_module(name: str, module_name: str, module: types.ModuleType) -> Located:
    file = Path(getattr(module, "__file__", None) or "")
    if file.suffix != ".py":
        raise InvalidInput(f"{module_name}.{name} has no Python source: write a function of your own that calls it")
    return _in_project(name, module_name, file)


def _in_project(name: str, module_name: str, file: Path) -> Located:
    """A function of a module that is known by its full name."""
    parts = module_name.split(".")
    package = file.name == "__init__.py"
    root = file.resolve().parents[len(parts) if package else len(parts) - 1]
    if _is_installed(file):
        raise InvalidInput(
            f"{module_name}.{name} belongs to an installed package, which does not travel: write a function of your own that calls it, "
            "and ship the package with packages=, if the guest lacks it"
        )
    text = _read(file)
    _require(name, text, str(file))
    place = "/".join(parts) + ("/__init__.py" if package else ".py")
    return Located(module_name, name, text, place, project_roots(root))


def _in_file(path: Path, name: str) -> Located:
    """A function of a file that was not imported: its packages are the folders above it that hold an `__init__.py`.

    Not our own, which is inert in the guest: what we ship as a job, like the demonstration's, travels as a script.
    """
    folder, parts = path.resolve().parent, [] if path.name == "__init__.py" else [path.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, parts = folder.parent, [folder.name, *parts]
    if folder != path.resolve().parent and parts[0] != "surge" and all(part.isidentifier() for part in parts):
        return _in_project(name, ".".join(parts), path)
    if any(isinstance(statement, ast.ImportFrom) and statement.level for statement in _parse(_read(path), str(path)).body):
        raise InvalidInput(f"{path} imports from its own package, but there is no __init__.py beside it: make one", path=str(path))
    return _in_script(path, name)


def _in_script(path: Path, name: str) -> Located:
    text = _read(path)
    _require(name, text, str(path))
    module = _module_name(path.stem)
    return Located(module, name, text, f"{module}.py", project_roots(path.parent))


def _in_main(function: Callable[..., Any], name: str, main: types.ModuleType) -> Located:
    file = getattr(main, "__file__", None)
    shell = getattr(builtins, "get_ipython", None)
    if shell is None and file and Path(file).is_file():
        spec = getattr(main, "__spec__", None)
        if spec is not None and "." in spec.name:  # python -m package.module
            return _in_module(name, spec.name, main)
        return _in_script(Path(file), name)
    if shell is not None:
        cells = [cell for cell in getattr(shell().history_manager, "input_hist_parsed", []) if cell]
        text = needed_of_cells(name, cells)
    else:
        text = needed_at_prompt(name, function)
    _require(name, text, "what was typed")
    return Located("job_cells", name, text, "job_cells.py", project_roots(Path.cwd()))


def _module_name(stem: str) -> str:
    """A name for a script's module: its own, where that is a name and means nothing else in the guest."""
    name = "".join(letter if letter.isidentifier() or letter.isdigit() else "_" for letter in stem)
    if not name.isidentifier() or keyword.iskeyword(name) or name in _NOT_MODULES:
        name = f"job_{name}"
    return name


def _require(name: str, text: str, where: str) -> None:
    """Refuse a name that is not bound at a module's top level, or that is bound to what gives no data."""
    tree = _parse(text, where)
    if name not in _top_level(tree):
        raise InvalidInput(f"{name} cannot be found at the top level of {where}: define it there with def", name=name)
    binding = [statement for statement in tree.body if name in defined(statement)]
    if binding and all(isinstance(statement, ast.Import) for statement in binding):
        raise InvalidInput(f"{name} is a module that {where} imports: name a function", name=name)
    if binding and all(_binds_data(statement) for statement in binding):
        raise InvalidInput(f"{name} is data in {where}: name a function", name=name)
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or statement.name != name:
            continue
        if isinstance(statement, ast.ClassDef):
            raise InvalidInput(f"{name} is a class: write a function that makes one and returns data", name=name)
        if isinstance(statement, ast.AsyncFunctionDef):
            raise InvalidInput(f"{name} is async, and nothing in the guest awaits it: write a plain function", name=name)
        if _yields(statement) and not statement.decorator_list:
            raise InvalidInput(f"{name} gives a generator, which is no data: return a list", name=name)


def _binds_data(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, _DATA):
        return False
    return all(isinstance(target, ast.Name) for target in statement.targets)


def _yields(function: ast.FunctionDef) -> bool:
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


# Reading source


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        if encoding not in ("utf-8", "utf-8-sig"):
            raise InvalidInput(f"{path} is written in {encoding}: save it as UTF-8", path=str(path))
        return io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", path=str(path)) from error


def _parse(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise InvalidInput(f"{where} is not Python that this interpreter can read: {error}", where=where) from error


def _top_level(tree: ast.Module) -> set[str]:
    """The names a module binds at its top level, also under if and try, that may be functions."""
    names: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.If | ast.Try | ast.With):
            if isinstance(statement, ast.If) and "__name__" in used(statement.test):
                continue
            waiting += [each for each in ast.iter_child_nodes(statement) if isinstance(each, ast.stmt)]
            waiting += [each for handler in getattr(statement, "handlers", []) for each in handler.body]
        else:
            names.update(defined(statement))
    return names


def _imports(tree: ast.AST, place: str) -> set[str]:
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
