"""Functions found by their source, with what they import; refusals say what to do."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle_support import names, script
from surge.buyer.bundle import make_bundle
from surge.buyer.source import function_in_file, locate
from surge.core import canonical
from surge.errors import InvalidInput


def at_top(item: object) -> object:
    """A function that can travel."""
    return item


def outer() -> Callable[[], object]:
    def inner() -> object:
        return at_top

    return inner


class Thing:
    def method(self, item: object) -> object:
        return item

    def __call__(self, item: object) -> object:
        return item


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda item: item, "write `def name"),
        (outer(), "top level of a module"),
        (Thing().method, "write a function"),
        (Thing.method, "write a function"),
        (Thing(), "write a function"),
        (functools.partial(at_top, 1), "write a function"),
        (len, "function of your own"),
        (json.dumps, "packages="),
        (pytest.approx, "packages="),
        (dict, "function of your own"),
        (5, "write a function"),
        ("at_top", "write a function"),
    ],
)
def test_what_cannot_travel_is_refused_with_advice(function: Any, advice: str) -> None:
    with pytest.raises(InvalidInput, match=advice):
        locate(function)


async def waits(item: object) -> object:
    return item


def gives_many(item: object) -> Iterator[object]:
    yield item


def holds_a_generator(item: object) -> list[object]:
    def inner() -> Iterator[object]:
        yield item

    return [*inner(), *(each for each in [item])]


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(item: object) -> object:
        return function(item)

    return wrapper


@bare
def decorated(item: object) -> object:
    return item


@functools.lru_cache
def cached(item: object) -> object:
    return item


@pytest.mark.parametrize(("function", "advice"), [(waits, "async"), (gives_many, "return a list"), (Thing, "is a class")])
def test_what_gives_no_data_is_refused(function: Any, advice: str) -> None:
    with pytest.raises(InvalidInput, match=advice):
        locate(function)


def test_a_function_is_found_by_the_name_its_module_has_for_it() -> None:
    assert locate(decorated).name == "decorated"
    assert locate(cached).name == "cached"
    assert locate(holds_a_generator).name == "holds_a_generator"


def test_setup_is_told_what_the_function_imports_when_called(tmp_path: Path) -> None:
    text = (
        "import json\n"
        "def unrelated():\n    import matplotlib\n"
        "def helper():\n    from os import path\n    return Thing()\n"
        "class Thing:\n    def method(self):\n        import decimal, surge\n"
        "def run(item):\n    import numpy as np\n    return helper()\n"
    )
    bundle = make_bundle(script(tmp_path, text), tmp_path / "out")
    assert canonical.decode(bundle.setup) == {"module": "job", "imports": ["decimal", "numpy", "os", "os.path"]}
    assert "imports" not in canonical.decode(make_bundle(script(tmp_path / "plain"), tmp_path / "out").setup)


@pytest.mark.usefixtures("project")
def test_imports_are_followed_and_nothing_else_travels(tmp_path: Path) -> None:
    work = importlib.import_module("shop.work")
    bundle = make_bundle(work.run, tmp_path / "out")
    assert names(bundle) == [
        "lazy.py",
        "lazy2.py",
        "loose.py",
        "shop/__init__.py",
        "shop/deep/__init__.py",
        "shop/deep/inner.py",
        "shop/prices.py",
        "shop/sibling.py",
        "shop/tools.py",
        "shop/work.py",
    ]
    assert (canonical.decode(bundle.setup)["module"], bundle.function) == ("shop.work", "run")
    assert bundle.path.name == f"{bundle.digest.hex()}.zip"
    assert hashlib.sha256(bundle.path.read_bytes()).digest() == bundle.digest


def test_a_script_travels_under_its_own_name_or_a_harmless_one(tmp_path: Path) -> None:
    for stem, module in (("my_job", "my_job"), ("numpy", "job_numpy"), ("my-job", "my_job"), ("1st", "job_1st"), ("json", "job_json")):
        script = tmp_path / f"{stem}.py"
        script.write_text("def run(item):\n    return item\n\nif __name__ == '__main__':\n    def hidden(): ...\n")
        located = locate(function_in_file(script, "run"))
        assert (located.module, located.place, located.name) == (module, f"{module}.py", "run")
        with pytest.raises(InvalidInput, match=r"no function 'hidden'.*run"):
            function_in_file(script, "hidden")


def test_a_file_in_a_package_travels_as_the_module_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop" / "sales"
    folder.mkdir(parents=True)
    for path, text in {
        "shop/__init__.py": "def top(x):\n    return x\n",
        "shop/sales/__init__.py": "",
        "shop/sales/clean.py": "def clean(x):\n    return x\n",
        "shop/sales/analysis.py": "from . import clean\n\ndef run(x):\n    return clean.clean(x)\n",
    }.items():
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop", "shop.sales", "shop.sales.analysis"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module, package = importlib.import_module("shop.sales.analysis"), importlib.import_module("shop")
    for function, file in ((module.run, folder / "analysis.py"), (package.top, tmp_path / "shop" / "__init__.py")):
        by_file = locate(function_in_file(file, function.__name__))
        assert by_file == locate(function)
    assert locate(function_in_file(folder / "analysis.py", "run")).module == "shop.sales.analysis"
    (folder / "__init__.py").unlink()
    with pytest.raises(InvalidInput, match="no __init__"):
        locate(function_in_file(folder / "analysis.py", "run"))


@pytest.mark.parametrize(
    ("text", "part"),
    [("import numpy as run", "is a module"), ("run = 3", "is data"), ("run = [1]\nrun = {}", "is data")],
)
def test_what_is_no_function_is_refused(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "job.py").write_text(text)
    with pytest.raises(InvalidInput, match=part):
        locate(function_in_file(tmp_path / "job.py", "run"))
    (tmp_path / "job.py").write_text("run, other = len, max")
    assert locate(function_in_file(tmp_path / "job.py", "run")).name == "run"


def test_the_main_script_is_found_by_its_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = project / "job.py"
    script.write_text("import loose\n\ndef run(item):\n    return item\n")
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    exec(compile(script.read_text(), str(script), "exec"), main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    bundle = make_bundle(main.run, project / "out")
    assert names(bundle) == ["job.py", "lazy2.py", "loose.py"]


def test_a_module_run_with_dash_m_keeps_its_place_in_its_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "shop" / "__main__.py"
    path.write_text("from .tools import json\n\ndef run(item):\n    return item\n")
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    main.__spec__ = importlib.machinery.ModuleSpec("shop.__main__", None)
    main.run = types.FunctionType(at_top.__code__, main.__dict__, "run")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", main)
    located = locate(main.run)
    assert (located.module, located.place) == ("shop.__main__", "shop/__main__.py")
    assert {"shop/__init__.py", "shop/tools.py"} <= set(names(make_bundle(main.run, project / "out")))


def test_source_is_utf8_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_bytes(b"# coding: latin-1\ndef run(item): return '\xe9'\n")
    with pytest.raises(InvalidInput, match="save it as UTF-8"):
        function_in_file(path, "run")
    path.write_bytes("\ufeff# coding: utf-8\r\ndef run(item): return 'é'\r\n".encode())
    located = locate(function_in_file(path, "run"))
    assert located.text == "# coding: utf-8\ndef run(item): return 'é'\n"


@pytest.mark.parametrize("text", ["def run(:", "x = '\0'", "\udcff"])
def test_a_file_that_is_no_python_is_refused(tmp_path: Path, text: str) -> None:
    script = tmp_path / "job.py"
    script.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInput):
        function_in_file(script, "run")
    with pytest.raises(InvalidInput, match="cannot be read"):
        function_in_file(tmp_path / "absent.py", "run")
