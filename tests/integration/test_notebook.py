"""A real notebook: IPython's kernel runs its cells, and the functions that they define run on providers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from network_support import Town

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=1, relays=1) as town:
        yield town


def run(folder: Path, *cells: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the cells print, each; they are run in order in one kernel."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(each.get("text", "") for each in cell.outputs if each.output_type == "stream") for cell in notebook.cells]


def test_functions_of_a_notebooks_cells_are_checked_and_mapped(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(
        tmp_path,
        f"import math\nimport surge\nnetwork = surge.connect({str(town.file)!r})",
        "%%time\nOFFSET = 1",
        "heavy = object()\nOFFSET = 40  # a cell that was run again",
        "def root(x):\n    return math.isqrt(x) + OFFSET",
        "def score(x):\n    '''Needs another cell's function, and its value.'''\n    return [root(x), __name__]",
        "print(network.check(score, 9).value)",
        "print([value for value, _ in network.map(score, range(20))])",
        "OFFSET = 7",
        "print([value for value, _ in network.map(score, [4])])",
        "future = network.submit(score, 16)\nprint(future.result()[0])\nnetwork.close()",
        monkeypatch=monkeypatch,
    )
    assert said[5].startswith("[43, '")
    assert said[6] == f"{[int(x**0.5) + 40 for x in range(20)]}\n"
    assert said[8] == "[9]\n"
    assert said[9] == "11\n"


def test_an_error_in_a_notebooks_function_names_the_cells_line(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(nbclient.exceptions.CellExecutionError) as caught:
        run(
            tmp_path,
            f"import surge\nnetwork = surge.connect({str(town.file)!r})",
            "def broken(x):\n    return 1 // x",
            "list(network.map(broken, [1, 0]))",
            monkeypatch=monkeypatch,
        )
    assert "RemoteError" in str(caught.value)
    assert "ZeroDivisionError" in str(caught.value)
    assert "return 1 // x" in str(caught.value)


def test_a_cell_that_a_shell_command_made_is_refused_by_name(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: Any = run(
        tmp_path,
        f"import surge\nnetwork = surge.connect({str(town.file)!r})",
        "names = !echo hello",
        "def use(x):\n    return names",
        "try:\n    network.check(use, 1)\nexcept surge.InvalidInput as error:\n    print(error)",
        monkeypatch=monkeypatch,
    )[-1]
    assert "which uses a magic or a shell command" in said
