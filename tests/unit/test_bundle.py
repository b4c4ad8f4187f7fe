"""What travels: functions found by their source, refusals that say what to do, and bundles whose bytes depend on content alone."""

from __future__ import annotations

import builtins
import functools
import hashlib
import importlib
import importlib.machinery
import json
import os
import re
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from surge.buyer.bundle import Bundle, make_bundle, write_zip
from surge.buyer.cells import needed_of_cells
from surge.buyer.source import FileFunction, function_in_file, locate
from surge.core import canonical
from surge.errors import InvalidInput

PROJECT = {
    "shop/__init__.py": "from .prices import LOW\n",
    "shop/prices.py": "LOW = 1\n",
    "shop/work.py": (
        "import json\nfrom . import tools\nfrom .deep.inner import more\nimport loose\n\ndef run(item):\n    import lazy\n    return item\n"
    ),
    "shop/tools.py": "import json\nimport surge\n",
    "shop/deep/__init__.py": "",
    "shop/deep/inner.py": "from ..sibling import thing\n\ndef more(): ...\n",
    "shop/sibling.py": "thing = 1\n",
    "shop/unused.py": "import never\n",
    "loose.py": "import lazy2\n",
    "lazy.py": "",
    "lazy2.py": "import loose\n",
    "never.py": "",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "project"
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(root)
    before = set(sys.modules)
    yield root
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(bundle: Bundle) -> list[str]:
    with zipfile.ZipFile(bundle.path) as archive:
        return archive.namelist()


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


def script(folder: Path, text: str = "def run(item):\n    return item\n") -> FileFunction:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.py").write_text(text)
    return function_in_file(folder / "job.py", "run")


def test_the_same_content_has_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    made = []
    for number, order in enumerate((["a.txt", "b.txt"], ["b.txt", "a.txt"])):
        folder = tmp_path / f"place{number}"
        function = script(folder)
        for name in order:
            (folder / name).write_text(name)
            os.utime(folder / name, (number * 10**6, number * 10**6))
            (folder / name).chmod(0o600 if number else 0o755)
        made.append(make_bundle(function, tmp_path / f"out{number}", files={name: folder / name for name in order}))
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert made[0].digest == made[1].digest
    assert list((tmp_path / "out0").iterdir()) == [made[0].path]


def test_the_same_content_has_the_same_bytes_in_every_process(project: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "import shop.work\nfrom pathlib import Path\nfrom surge.buyer.bundle import make_bundle\n"
        "bundle = make_bundle(shop.work.run, Path(sys.argv[1]))\nprint(bundle.digest.hex(), bundle.setup.hex())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, str(project / f"out{seed}")],
            env={"PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"},
            cwd=project,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_files_travel_under_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = script(tmp_path)
    (tmp_path / "data" / ".git").mkdir(parents=True)
    (tmp_path / "data" / "x.csv").write_text("x")
    (tmp_path / "data" / ".git" / "secret").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert names(make_bundle(function, tmp_path / "out", files=["data/x.csv"])) == ["data/x.csv", "job.py"]
    assert names(make_bundle(function, tmp_path / "out", files="data")) == ["data/x.csv", "job.py"]
    assert names(make_bundle(function, tmp_path / "out", files=[tmp_path / "data" / "x.csv"])) == ["job.py", "x.csv"]
    assert names(make_bundle(function, tmp_path / "out", files={"in/y.csv": "data/x.csv"})) == ["in/y.csv", "job.py"]


def test_a_folder_is_shipped_without_what_is_nobodys_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("x", "deep/y", ".env", "__pycache__/a.pyc", "node_modules/m.js", "venv/pyvenv.cfg", "venv/lib/site.py", "deep/.ssh/id"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    (data / "inside").symlink_to(data / "x")
    (data / "loop").symlink_to(data)
    bundle = make_bundle(script(tmp_path), tmp_path / "out", files={"data": data})
    assert names(bundle) == ["data/deep/y", "data/inside", "data/x", "job.py"]
    (data / "deep" / "out").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="link out of the folder"):
        make_bundle(script(tmp_path), tmp_path / "out", files={"data": data})


def test_a_private_key_never_travels(tmp_path: Path) -> None:
    from surge.wallet import Keystore

    store = Keystore(tmp_path / "data" / "keys")
    store.create("plain")
    store.create("closed", passphrase="secret")
    (tmp_path / "server.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nMHcC\n")
    (tmp_path / "fine.json").write_text('{"key": 1}')
    function = script(tmp_path)
    for path in (tmp_path / "data", tmp_path / "data/keys/plain.json", tmp_path / "data/keys/closed.json", tmp_path / "server.pem"):
        with pytest.raises(InvalidInput, match="private key"):
            make_bundle(function, tmp_path / "out", files=[path])
    assert names(make_bundle(function, tmp_path / "out", files=[tmp_path / "fine.json"])) == ["fine.json", "job.py"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\\b", "a\0b", "job.py", "./job.py"])
def test_names_that_leave_or_collide_are_refused(tmp_path: Path, name: str) -> None:
    function = script(tmp_path)
    (tmp_path / "x").write_text("x")
    with pytest.raises(InvalidInput):
        make_bundle(function, tmp_path / "out", files={name: tmp_path / "x"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("files", [{"a": "f", "a/b": "f"}, {"a/b": "f", "a": "f"}, {"job.py/x": "f"}])
def test_a_name_cannot_be_a_file_and_a_folder(tmp_path: Path, files: dict[str, str]) -> None:
    function = script(tmp_path)
    (tmp_path / "f").write_text("x")
    with pytest.raises(InvalidInput, match="folder"):
        make_bundle(function, tmp_path / "out", files={name: tmp_path / path for name, path in files.items()})


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    function = script(tmp_path / "p")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text(folder)
    with pytest.raises(InvalidInput, match="twice"):
        make_bundle(function, tmp_path / "out", files=[tmp_path / "a" / "x", tmp_path / "b" / "x"])
    with pytest.raises(InvalidInput, match="no file"):
        make_bundle(function, tmp_path / "out", files=[tmp_path / "absent"])


def wheel(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_a_pure_wheel_is_unpacked(tmp_path: Path) -> None:
    made = wheel(tmp_path / "tiny-1.0-py3-none-any.whl", {"tiny/__init__.py": "", "tiny-1.0.dist-info/METADATA": ""})
    bundle = make_bundle(script(tmp_path), tmp_path / "out", packages=[made])
    assert names(bundle) == [".packages/tiny-1.0.dist-info/METADATA", ".packages/tiny/__init__.py", "job.py"]


def test_a_wheels_data_goes_where_pip_would_put_it(tmp_path: Path) -> None:
    members = {"tiny-1.0.data/purelib/tiny/a.py": "", "tiny-1.0.data/scripts/tool": "", "tiny-1.0.data/platlib/b.py": "", "c.py": ""}
    made = wheel(tmp_path / "tiny-1.0-py3-none-any.whl", members)
    bundle = make_bundle(script(tmp_path), tmp_path / "out", packages=[made])
    assert names(bundle) == [".packages/b.py", ".packages/c.py", ".packages/tiny/a.py", "job.py"]


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("tiny-1.0-cp311-cp311-linux_x86_64.whl", {"tiny.py": ""}, "one platform"),
        ("tiny-1.0-py3-none-any.whl", {"tiny/fast.so": ""}, "native code"),
        ("tiny-1.0-py3-none-any.whl", {"../escape.py": ""}, "leaves"),
        ("tiny-1.0-py3-none-any.whl", {"/etc/escape.py": ""}, "leaves"),
        ("tiny-1.0.tar.gz", {"tiny.py": ""}, "no wheel"),
    ],
)
def test_wheels_that_cannot_run_or_leave_are_refused(tmp_path: Path, name: str, members: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_bundle(script(tmp_path), tmp_path / "out", packages=[wheel(tmp_path / name, members)])


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny-1.0-py3-none-any.whl").write_bytes(b"PK no zip")
    with pytest.raises(InvalidInput, match="readable wheel"):
        make_bundle(script(tmp_path), tmp_path / "out", packages=[tmp_path / "tiny-1.0-py3-none-any.whl"])


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="too many"):
        write_zip({str(number): b"" for number in range(10_001)}, tmp_path)
