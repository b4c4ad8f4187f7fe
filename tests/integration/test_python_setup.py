"""Python in the guest: a job's module is set up once, with its files, packages and imports, or says why it cannot be."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from python_support import SEED, Make, open_sandbox
from sandbox_support import pieces
from surge.core import canonical, values
from surge.core.units import Limits, Status
from surge.errors import GuestFault


async def test_a_module_is_set_up_once_and_every_unit_starts_from_there(make: Make) -> None:
    job = make(
        "print('setting up', __name__)\nSTATE = []\ndef f(x):\n    STATE.append(x)\n    return list(STATE)\n"
        "if __name__ == '__main__':\n    1/0\n"
    )
    made = await job.setup()
    output = pieces(made)
    assert made.outcome.status is Status.FINISHED
    assert output.stdout == b"setting up entry\n"
    assert len(made.outcome.state) == 32
    assert job.sandbox.python.snapshot(job.bundle, job.description) == made.outcome
    for _ in range(2):
        _, output = await job.unit("f", [1])
        assert values.loads(output.value) == [["ok", [1]]]
        assert output.stdout == b""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1/0\n", "ZeroDivisionError"),
        ("def f(:\n", "SyntaxError"),
        ("import nowhere\n", "No module named 'nowhere'"),
        ("import sys; sys.exit('no')\n", "no"),
        ("import surge\nnetwork = surge.connect()\n", "surge.connect() does not work inside a unit of work"),
        ("import surge\nwith surge.connect() as network:\n    pass\n", "Put it under `if __name__"),
        ("KEEP = open('data.txt')\n", "close /job/data.txt"),
        ("KEEP = open('/out/made', 'w')\n", "close /out/made"),
        ("import os\nKEEP = os.open('/job', os.O_RDONLY)\n", "close /job"),
        ("import os\nos.close(0)\n", "descriptor 0 (closed)"),
        ("raise RuntimeError('\\udc80')\n", "RuntimeError"),
    ],
)
async def test_a_setup_that_fails_says_why_and_leaves_nothing(make: Make, source: str, said: str) -> None:
    job = make(source, {"data.txt": "x"})
    made = await job.setup()
    output = pieces(made)
    assert (made.outcome.status, made.outcome.exit_code, made.outcome.state) == (Status.EXITED, 1, b"")
    assert said in output.stderr.decode()
    assert "importlib" not in output.stderr.decode()
    assert job.sandbox.python.snapshot(job.bundle, job.description) is None
    with pytest.raises(GuestFault, match="EXITED"):
        await job.unit("f", [1])


async def test_a_setup_is_bounded_like_a_unit(make: Make) -> None:
    job = make("while True: pass\n")
    made = await job.setup(fuel=600_000_000)
    assert (made.outcome.status, made.outcome.fuel) == (Status.OUT_OF_FUEL, 600_000_000)
    job = make("X = bytearray(1000 << 20)\n")
    made = await job.setup(memory=128 << 20)
    assert made.outcome.status is Status.EXITED
    assert b"MemoryError" in pieces(made).stderr


@pytest.mark.parametrize(
    "setup",
    [
        b"",
        b"\xff",
        canonical.encode({}),
        canonical.encode([1]),
        canonical.encode({"module": 1}),
        canonical.encode({"module": "entry", "imports": [1]}),
    ],
)
async def test_a_setup_that_cannot_be_read_is_refused_alike_everywhere(make: Make, setup: bytes) -> None:
    job = make("")
    job.description = setup
    made = await job.setup(fuel=1000)
    assert (made.outcome.status, made.outcome.fuel) == (Status.TRAPPED, 1000)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        canonical.encode([]),
        canonical.encode(["f", 2, 0, SEED]),
        canonical.encode(["f", 0, -1, SEED]),
        canonical.encode([1, 0, 0, SEED]),
    ],
)
async def test_an_entry_that_cannot_be_read_is_refused_alike_everywhere(make: Make, entry: bytes) -> None:
    job = make("def f(x): return x\n")
    ran = await job.sandbox.python.run(job.bundle, job.file, job.description, entry, values.dumps([1]), Limits(fuel=1000))
    assert (ran.outcome.status, ran.outcome.fuel) == (Status.TRAPPED, 1000)


async def test_a_bundle_that_is_no_zip_is_refused_alike_everywhere(make: Make) -> None:
    job = make("")
    job.file.write_bytes(b"PK no zip")
    made = await job.setup(fuel=1000)
    assert (made.outcome.status, made.outcome.fuel) == (Status.TRAPPED, 1000)


async def test_items_that_are_no_list_end_the_unit_alone(make: Make) -> None:
    job = make("def f(x): return x\n")
    entry = canonical.encode(["f", 0, 0, SEED])
    for items in (b"", b"\x01", b"garbage", values.dumps(5)):
        ran = await job.sandbox.python.run(job.bundle, job.file, job.description, entry, items, Limits())
        assert (ran.outcome.status, ran.outcome.exit_code) == (Status.EXITED, 1)
    assert await job.values("f", [1]) == [1]


async def test_the_job_sees_its_files_its_modules_and_its_packages(make: Make) -> None:
    job = make(
        "import os\nfrom inside.work import twice\nimport wheel_made\n"
        "DATA = open('data/numbers.txt').read()\n"
        "def f(x): return [twice(x), DATA, wheel_made.NAME, open('data/numbers.txt').read(), sorted(os.listdir('.')), os.getcwd()]\n"
        "def write(x): open('/job/new', 'w')\n",
        {
            "inside/__init__.py": "",
            "inside/work.py": "def twice(x): return 2 * x\n",
            ".packages/wheel_made.py": "NAME = 'w'\n",
            "data/numbers.txt": "12",
        },
    )
    assert await job.values("f", [4]) == [[8, "12", "w", "12", [".packages", "data", "entry.py", "inside"], "/job"]]
    (refused,) = await job.results("write", [1])
    assert refused[1] in {"PermissionError", "OSError"}


async def test_temporary_files_are_made_in_the_one_writable_folder(make: Make) -> None:
    job = make(
        "import tempfile\nwith tempfile.TemporaryFile() as early: early.write(b'setup')\n"
        "def f(x):\n    with tempfile.TemporaryDirectory() as folder, open(folder + '/kept', 'w+') as file:\n"
        "        file.write(x)\n        file.seek(0)\n        return [file.read(), folder.startswith('/out/')]\n"
        "def keep(x): return tempfile.mkstemp(prefix=x)[1]\n"
    )
    assert await job.values("f", ["a", "b"]) == [["a", True], ["b", True]]
    outcome, output = await job.unit("keep", ["one", "two"])
    kept = [entry[1] for entry in values.loads(output.value)]
    assert [f"/out/{path}" for path, _ in outcome.files] == kept


@pytest.mark.parametrize("imports", [[], ["matplotlib", "matplotlib.pyplot"]])
async def test_matplotlib_finds_its_fonts_and_draws_the_same_each_time(make: Make, imports: list[str]) -> None:
    job = make(
        "import io\ndef f(x):\n    import matplotlib\n    matplotlib.use('agg')\n    from matplotlib import pyplot\n"
        "    figure, axes = pyplot.subplots()\n    axes.plot([1, 2, x])\n    axes.set_title('one')\n"
        "    made = io.BytesIO()\n    figure.savefig(made, format='png')\n    pyplot.close(figure)\n    return made.getvalue()\n",
        imports=imports,
    )
    whole = await job.values("f", [3, 4, 3])
    assert all(drawn.startswith(b"\x89PNG") for drawn in whole)
    assert whole[0] == whole[2] != whole[1]
    assert await job.values("f", [4], first=1) == whole[1:2]


async def test_a_module_that_loads_itself_late_is_not_loaded_by_setup(make: Make) -> None:
    job = make(
        "import importlib.util, random, sys, numpy\n"
        "spec = importlib.util.find_spec('late')\nspec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "late = sys.modules['late'] = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(late)\n"
        "sys.modules['strange'] = None\n"
        "def f(x): return late.X\n",
        {"late.py": "print('loaded')\nX = 5\n"},
    )
    assert pieces(await job.setup()).stdout == b""
    assert await job.values("f", [1]) == [5]


async def test_what_a_function_imports_when_called_can_be_loaded_by_setup(make: Make) -> None:
    source = "def f(x):\n    import wave, helper\n    return helper.X\n"
    plain = make(source, {"helper.py": "X = 5\n"})
    ready = make(source, {"helper.py": "X = 5\n"}, imports=["wave", "helper", "nowhere", "broken"])
    slow, _ = await plain.unit("f", [1])
    fast, output = await ready.unit("f", [1])
    assert values.loads(output.value) == [["ok", 5]]
    assert fast.fuel < slow.fuel // 3


async def test_surge_is_inert_in_the_guest(make: Make) -> None:
    job = make(
        "import surge\nimport surge.errors as errors\nfrom surge import InvalidInput, RemoteError, connect\n"
        "from surge.api import Network\n"
        "LIMITS = surge.Limits(memory=1)\n"
        "def g(network: Network | None, other: connect | None) -> surge.Network: ...\n"
        "class Mine(surge.Network, RemoteError): pass\n"
        "def f(x):\n    try: raise errors.InvalidInput('a')\n    except InvalidInput as error: return str(error)\n"
        "def use(x): return surge.connect().map\n"
        "def limits(x): return LIMITS.memory()\n"
    )
    assert await job.values("f", [1]) == ["a"]
    for name in ("use", "limits"):
        (entry,) = await job.results(name, [1])
        assert entry[1] == "RuntimeError"
        assert "does not work inside a unit" in entry[2]


async def test_a_bundle_made_from_a_function_runs(python_cache: Path, tmp_path: Path) -> None:
    from surge.buyer.bundle import make_bundle
    from surge.buyer.source import function_in_file

    (tmp_path / "job.py").write_text(
        "import helper, tiny\nTEXT = open('words/a.txt').read()\n"
        "def run(item):\n    import numpy as np\n    return [helper.double(item), tiny.NAME, TEXT, int(np.arange(item).sum())]\n"
        "if __name__ == '__main__':\n    import surge\n    surge.connect()\n"
    )
    (tmp_path / "helper.py").write_text("def double(x): return 2 * x\n")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("text")
    with zipfile.ZipFile(tmp_path / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/__init__.py", "NAME = 'tiny'\n")
    bundle = make_bundle(
        function_in_file(tmp_path / "job.py", "run"),
        tmp_path / "bundles",
        files={"words": tmp_path / "words"},
        packages=[tmp_path / "tiny-1.0-py3-none-any.whl"],
    )
    async with open_sandbox(python_cache) as sandbox:
        entry = canonical.encode([bundle.function, 0, 0, SEED])
        ran = await sandbox.python.run(bundle.digest, bundle.path, bundle.setup, entry, values.dumps([4]), Limits())
    assert values.loads(pieces(ran).value) == [["ok", [8, "tiny", "text", 6]]]
    assert ran.outcome.fuel < 10_000_000  # NumPy was loaded by the setup
