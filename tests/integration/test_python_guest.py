"""Python in the guest: setups kept as snapshots, units that start from them, items that do not see each other."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import hashlib
import math
import uuid
import zipfile
import zoneinfo
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from sandbox_support import pieces
from surge.core import canonical, values
from surge.core.units import Limits, Outcome, OutputBytes, Status
from surge.errors import GuestFault
from surge.sandbox import Execution, Sandbox

SEED = bytes(range(32))


class Job:
    """A module in a sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path, sources: Mapping[str, str | bytes], setup: Mapping[str, Any]) -> None:
        self.sandbox = sandbox
        self.file = folder / f"{hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]}.zip"
        with zipfile.ZipFile(self.file, "w") as bundle:
            for name, text in sorted(sources.items()):
                bundle.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
        self.bundle = hashlib.sha256(self.file.read_bytes()).digest()
        self.description = canonical.encode(dict(setup))

    async def setup(self, **limits: int) -> Execution:
        return await self.sandbox.python.setup(self.bundle, self.file, self.description, Limits(**limits))

    async def unit(
        self, function: str, items: Sequence[Any], *, first: int = 0, style: int = 0, seed: bytes = SEED, **limits: int
    ) -> tuple[Outcome, OutputBytes]:
        entry = canonical.encode([function, style, first, seed])
        encoded = values.dumps(list(items))
        ran = await self.sandbox.python.run(self.bundle, self.file, self.description, entry, encoded, Limits(**limits))
        return ran.outcome, pieces(ran)

    async def results(self, function: str, items: Sequence[Any], **options: Any) -> list[Any]:
        outcome, output = await self.unit(function, items, **options)
        assert outcome.status is Status.FINISHED, output.stderr
        found = values.loads(output.value)
        assert len(found) == len(items)
        return found

    async def values(self, function: str, items: Sequence[Any], **options: Any) -> list[Any]:
        found = await self.results(function, items, **options)
        assert all(len(entry) == 2 and entry[0] == "ok" for entry in found), found
        return [entry[1] for entry in found]


@contextlib.asynccontextmanager
async def open_sandbox(cache: Path, **options: Any) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(cache, **{"workers": 1, "memory": 2 << 30, **options})
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


Make = Callable[..., Job]


@pytest.fixture
async def make(python_cache: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes jobs from one module's source, and other files by name."""
    async with open_sandbox(python_cache, workers=2) as sandbox:

        def job(source: str, files: Mapping[str, str | bytes] | None = None, **setup: Any) -> Job:
            return Job(sandbox, tmp_path, {"entry.py": source, **(files or {})}, {"module": "entry", **setup})

        yield job


# Values


async def test_values_cross_both_ways_as_they_are(make: Make) -> None:
    job = make("import numpy, pandas, decimal, uuid, zoneinfo\ndef same(x): return x\ndef kind(x): return type(x).__name__\n")
    items: list[Any] = [
        None,
        True,
        -(2**100),
        -0.0,
        math.inf,
        1 + 2j,
        "\U0001f600\0",
        b"\xff",
        [1, (2, {3})],
        {"b": 1, (1, 2): frozenset({b""})},
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.UTC),
        datetime.timedelta(-1, 5),
        decimal.Decimal("1.10"),
        uuid.UUID(int=5),
    ]
    found = await job.values("same", items)
    assert [repr(one) for one in found] == [repr(one) for one in items]
    assert math.isnan((await job.values("same", [math.nan]))[0])
    array = numpy.array([(1, "x")], dtype=[("a", ">i2"), ("b", "U2")])
    scalar, back = await job.values("same", [numpy.float32(1.5), array])
    assert type(scalar) is numpy.float32
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    frame = pandas.DataFrame({"a": [1, 2], "t": ["x", None], "w": pandas.to_datetime(["2024-01-01", None])}, index=["i", "j"])
    (frame_back,) = await job.values("same", [frame])
    pandas.testing.assert_frame_equal(frame_back, frame)
    assert await job.values("kind", [frame, array, numpy.int8(1), decimal.Decimal(1)]) == ["DataFrame", "ndarray", "int8", "Decimal"]


async def test_an_item_may_be_arguments(make: Make) -> None:
    job = make("def f(a, b=2, *, c=3): return [a, b, c]\n")
    assert await job.values("f", [((1,), {}), ((1, 5), {"c": 6})], style=1) == [[1, 2, 3], [1, 5, 6]]
    (wrong,) = await job.results("f", [((), {})], style=1)
    assert wrong[1] == "TypeError"


async def test_large_items_and_results_go_through_files(make: Make) -> None:
    job = make("def f(x): return x[::-1]\n")
    data = bytes(range(256)) * 8192
    assert await job.values("f", [data, data[1:]]) == [data[::-1], data[1:][::-1]]


# Errors


async def test_a_large_item_takes_twice_its_size_and_one_too_large_says_so(make: Make) -> None:
    job = make("def size(x): return len(x)\n")
    assert await job.values("size", [bytes(90_000_000)], memory=256 << 20) == [90_000_000]
    for size, memory in ((120_000_000, 256), (200_000_000, 256), (300_000_000, 256), (35_000_000, 64)):
        outcome, output = await job.unit("size", [bytes(size)], memory=memory << 20)
        assert outcome.status is Status.EXITED, size
        assert b"MemoryError: the items do not fit into the unit's memory: raise memory=" in output.stderr, size


async def test_an_items_error_is_its_own_and_the_others_go_on(make: Make) -> None:
    job = make(
        "import sys\n"
        "class Odd(Exception):\n"
        "    def __str__(self): raise RuntimeError('no')\n"
        "class Rude(Exception):\n"
        "    @property\n"
        "    def __cause__(self): raise SystemExit\n"
        "def inner(x):\n"
        "    raise KeyError(x)\n"
        "def f(x):\n"
        "    if x == 'exit': sys.exit(3)\n"
        "    if x == 'interrupt': raise KeyboardInterrupt\n"
        "    if x == 'key': inner(x)\n"
        "    if x == 'odd': raise Odd\n"
        "    if x == 'rude': raise Rude\n"
        "    if x == 'surrogate': raise ValueError('\\udc80')\n"
        "    if x == 'deep': return f(x)\n"
        "    if x == 'generator': raise GeneratorExit\n"
        "    if x == 'value': return [1, {'a': f}]\n"
        "    if x == 'chain':\n"
        "        try: inner(x)\n"
        "        except KeyError as error: raise ValueError('outer') from error\n"
        "    if x == 'long': raise ValueError('x' * 10**6)\n"
        "    return x\n"
    )
    names = ["exit", "interrupt", "key", "odd", "rude", "surrogate", "deep", "generator", "value", "chain", "long"]
    items = [one for name in names for one in (name, 1)]
    found = await job.results("f", items)
    assert found[1::2] == [["ok", 1]] * len(names)
    errors = dict(zip(names, found[::2], strict=True))
    assert all(len(entry) == 4 and entry[0] == "error" for entry in errors.values())
    assert errors["exit"][1:3] == ["SystemExit", "3"]
    assert errors["interrupt"][1] == "KeyboardInterrupt"
    assert errors["key"][1:3] == ["KeyError", "'key'"]
    assert 'File "/job/entry.py", line 8, in inner' in errors["key"][3]
    assert "raise KeyError(x)" in errors["key"][3]
    assert "harness" not in errors["key"][3]
    assert errors["odd"][1] == "Odd"
    assert "cannot be shown" in errors["odd"][2]
    assert "if x == 'odd': raise Odd" in errors["odd"][3]
    assert "in f\n" in errors["rude"][3]
    assert errors["surrogate"][2] == "\\udc80"
    assert errors["deep"][1] == "RecursionError"
    assert errors["generator"][1] == "GeneratorExit"
    assert errors["value"][1] == "NotData"
    assert "value[1]['a']" in errors["value"][2]
    assert "direct cause" in errors["chain"][3]
    assert len(errors["long"][2]) == 4000


REACHING = """
import ctypes, multiprocessing, os, socket, subprocess, threading, urllib.request
from concurrent.futures import ThreadPoolExecutor
def fork(): return os.fork()
def system(): return os.system("id")
def run(): return subprocess.run(["id"])
def workers():
    with multiprocessing.Pool(2) as pool: return pool.map(abs, [1])
def thread(): threading.Thread(target=print).start()
def threads():
    with ThreadPoolExecutor(2) as pool: return list(pool.map(abs, [1, 2]))
def connect(): return socket.create_connection(("127.0.0.1", 80))
def listen(): return socket.create_server(("127.0.0.1", 0))
def fetch(): return urllib.request.urlopen("http://127.0.0.1/").read()
def resolve(): return socket.gethostbyname("localhost")
def native(): return ctypes.CDLL(None).getpid()
def passwords(): return open("/etc/passwd").read()
def above(): return open("/job/../etc/passwd").read()
def code(): open("/job/entry.py", "a")
def beside(): open("/usr/local/lib/new", "w")
def link(): os.symlink("/etc/passwd", "/out/link"); return open("/out/link").read()
def reach(name): return globals()[name]()
"""


async def test_what_reaches_for_the_device_is_an_items_error_that_says_so(make: Make) -> None:
    processes, network = ["fork", "system", "run", "workers", "thread", "threads"], ["connect", "listen", "fetch", "resolve"]
    others = ["native", "passwords", "above", "code", "beside", "link"]
    found = await make(REACHING).results("reach", [*processes, *network, *others])
    assert [entry[0] for entry in found] == ["error"] * len(found)
    said = {name: entry[3] for name, entry in zip([*processes, *network, *others], found, strict=True)}
    for name in processes:
        assert "one thread, and no other processes" in said[name], name
    for name in network:
        assert "has no network" in said[name], name
    for name in others:
        assert said[name].rstrip().splitlines()[-1].startswith(("OSError", "FileNotFoundError", "PermissionError")), name


async def test_endless_recursion_ends_the_unit_and_not_the_worker(make: Make) -> None:
    job = make("import sys\ndef f(x):\n    sys.setrecursionlimit(10**9)\n    return f(x + 1)\ndef same(x): return x\n")
    outcome, _ = await job.unit("f", [1])
    assert outcome.status is Status.NATIVE_STACK
    assert await job.values("same", [1]) == [1]
    assert len(job.sandbox._pool.members) == 1


async def test_running_out_of_memory_is_an_items_error_where_python_says_so(make: Make) -> None:
    job = make("def f(x):\n    return len(bytearray(x << 20))\n")
    found = await job.results("f", [1, 1000, 1], memory=128 << 20)
    assert found[0] == found[2] == ["ok", 1 << 20]
    assert found[1][1] == "MemoryError"


async def test_a_unit_that_cannot_go_on_ends_provably(make: Make) -> None:
    job = make(
        "import os\n"
        "def loop(x):\n    while True: pass\n"
        "def stop(x): os._exit(5)\n"
        "def abort(x): os.abort()\n"
        "def much(x):\n    while True: print('x' * 1000)\n"
        "def result(x): return bytes(1 << 20)\n"
        "def loud(x):\n    import sys\n    print('out', x)\n    print('err', x, file=sys.stderr)\n"
        "    open(f'/out/{x}', 'w').write('file')\n"
    )
    outcome, _ = await job.unit("loop", [1], fuel=50_000_000)
    assert (outcome.status, outcome.fuel) == (Status.OUT_OF_FUEL, 50_000_000)
    outcome, _ = await job.unit("stop", [1])
    assert (outcome.status, outcome.exit_code) == (Status.EXITED, 5)
    outcome, _ = await job.unit("abort", [1])
    assert outcome.status is Status.TRAPPED
    outcome, _ = await job.unit("much", [1], output=1 << 20)
    assert outcome.status is Status.OUTPUT_LIMIT
    outcome, _ = await job.unit("result", [1, 2], output=1 << 20)
    assert outcome.status is Status.OUTPUT_LIMIT
    outcome, _ = await job.unit("loop", [1], wall_ms=300)
    assert outcome.status is Status.WALL_TIME
    outcome, output = await job.unit("missing", [1])
    assert (outcome.status, outcome.exit_code) == (Status.EXITED, 1)
    assert b"has no attribute 'missing'" in output.stderr
    outcome, output = await job.unit("loud", ["a", "b"])
    assert outcome.status is Status.FINISHED
    assert (output.stdout, output.stderr) == (b"out a\nout b\n", b"err a\nerr b\n")
    assert [path for path, _ in outcome.files] == ["a", "b"]


# Time and randomness


DRAWS = """
{imports}
import datetime, os, secrets, time
def draw(x):
    import random, tempfile, uuid
    import numpy
    import {module}
    found = [
        random.random(), random.gauss(0, 1), random.sample(range(1000), 3), random.Random().random(),
        float(numpy.random.rand()), float(numpy.random.standard_normal()), float(numpy.random.default_rng().random()),
        float(numpy.random.RandomState().rand()), numpy.random.permutation(50).tolist(),
        os.urandom(8), secrets.token_hex(8), str(uuid.uuid4()), str(uuid.uuid1()), str(uuid.uuid7()),
        tempfile.mkdtemp(), next(tempfile._get_candidate_names()),
        time.time_ns(), time.monotonic_ns(), time.perf_counter(), datetime.datetime.now().isoformat(),
        {module}.DRAWN,
    ]
    time.sleep(10)
    return found + [time.time()]
def clock(x):
    import time
    return time.time_ns()
"""
HELPER = "import os, random, time\nimport numpy\nDRAWN = [random.random(), os.urandom(8), time.time(), numpy.random.rand()]\n"


async def test_a_watched_module_may_load_within_others(make: Make) -> None:
    """`random` loads `hashlib` and more: it is taken up when it is whole, however deep it was first asked for."""
    job = make(
        "def f(x):\n    import helper\n    import random\n    return [x.tzname(), random.random()]\n",
        {"helper.py": "import outer\n", "outer.py": "import random\n"},
    )
    summer = datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))
    whole = await job.values("f", [summer] * 3)
    assert whole == [(await job.values("f", [summer], first=index))[0] for index in range(3)]
    assert [found[0] for found in whole] == ["CEST"] * 3
    assert len({found[1] for found in whole}) == 3


@pytest.mark.parametrize("imports", ["", "import random, uuid, tempfile, numpy", "import helper", "from numpy.random import rand"])
async def test_draws_and_clocks_do_not_depend_on_how_items_are_cut_into_units(make: Make, imports: str) -> None:
    job = make(DRAWS.format(imports=imports, module="helper"), {"helper.py": HELPER})
    items = ["same"] * 9
    whole = await job.values("draw", items)
    singly = [(await job.values("draw", ["same"], first=index))[0] for index in range(9)]
    sevens = await job.values("draw", items[:7]) + await job.values("draw", items[7:], first=7)
    assert singly == whole == sevens
    draws = [repr(found[:16]) for found in whole]
    assert len(set(draws)) == 9
    for column in range(16):
        assert len({repr(found[column]) for found in whole}) == 9, column
    assert await job.values("draw", items[:2], seed=bytes(32)) != whole[:2]
    assert await job.values("draw", items[:2]) == whole[:2]


async def test_another_generator_behind_numpys_functions_is_reseeded_too(make: Make) -> None:
    job = make("import numpy\nnumpy.random.set_bit_generator(numpy.random.PCG64(1))\ndef f(x): return float(numpy.random.rand())\n")
    whole = await job.values("f", [1, 1, 1])
    assert len(set(whole)) == 3
    assert (await job.values("f", [1], first=2)) == whole[2:]


async def test_the_harness_is_only_the_jobs_own_to_break(make: Make) -> None:
    """Whatever a job says to the host itself, the unit ends, the same way each time, and the worker lives on."""
    job = make(
        "import _host\n"
        "def say(x):\n    for _ in range(x[0]): _host.call(x[1])\n"
        "def ask(x): return [_host.call(b'i'), _host.call(b''), _host.call(b'?')]\n"
        "def value(x): _host.call(b'v' + bytes(x))\n"
        "def twist(x):\n    import sys, builtins\n    sys.modules.clear()\n    del builtins.len\n"
    )
    assert await job.values("ask", [1]) == [[b"", b"", b""]]
    deep, unknown, large, back = await job.results("say", [(5000, b"(x"), (10, b"\xff\x00"), (1, b"?" * 10_000), (5000, b")")])
    assert deep[0] == large[0] == "error"
    assert unknown == back == ["ok", None]
    assert await job.values("value", [10, 1000]) == [None, None]
    outcome, _ = await job.unit("value", [1 << 20] * 2, output=1 << 20)
    assert outcome.status is Status.OUTPUT_LIMIT
    assert (await job.unit("twist", [1, 2])) == (await job.unit("twist", [1, 2]))
    assert await job.values("ask", [1]) == [[b"", b"", b""]]


async def test_the_clock_starts_anew_for_each_item_and_sleeping_takes_no_time(make: Make) -> None:
    job = make("import time\ndef f(x):\n    start = time.time_ns()\n    time.sleep(3600)\n    return [start, time.time_ns() - start]\n")
    found = await job.values("f", [1, 2, 3])
    assert found[0] == found[1] == found[2]
    assert found[0][0] == 1_700_000_000_001_000_000
    assert found[0][1] >= 3600 * 10**9


async def test_hashes_are_fixed(make: Make) -> None:
    job = make("def f(x): return [hash('a'), list({'a', 'b', 'c', 'd'})]\n")
    (first,) = await job.values("f", [1])
    (again,) = await job.values("f", [1], first=9, seed=bytes(32))
    assert first == again


async def test_a_trivial_item_costs_the_guest_little(make: Make) -> None:
    """In fuel, which is the same on every machine; a gigafuel takes about a second in the interpreter."""
    job = make("def f(x): return x + 1\n")
    few, _ = await job.unit("f", range(100))
    many, _ = await job.unit("f", range(1100))
    assert (many.fuel - few.fuel) / 1000 < 40_000
    assert few.fuel < 5_000_000


# Setup


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
        "from surge.buyer.api import Network\n"
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


# Snapshots


HEAVY = (
    "import numpy, random, uuid\n"
    "TABLE = {str(i): numpy.arange(i) for i in range(100)}\n"
    "def f(x): return [random.random(), float(numpy.random.rand()), id(TABLE) % 997]\n"
)


async def test_state_results_and_fuel_are_the_same_in_every_process_and_with_plain_copies(python_cache: Path, tmp_path: Path) -> None:
    found = []
    for private in (True, False):
        cache = tmp_path / f"cache-{private}"
        (cache / "code").mkdir(parents=True, mode=0o700)
        (cache / "code").rmdir()
        (cache / "code").symlink_to(python_cache / "code")
        async with open_sandbox(cache, workers=2, private_mappings=private) as sandbox:
            job = Job(sandbox, tmp_path, {"entry.py": HEAVY}, {"module": "entry"})
            first, second = await asyncio.gather(job.setup(), job.setup())
            assert first.outcome == second.outcome
            units = await asyncio.gather(*(job.unit("f", [1, 2]) for _ in range(4)))
            assert len(sandbox._pool.members) == 2
            found += [(first.outcome, *unit) for unit in units]
    assert all(one == found[0] for one in found)
    assert found[0][1].status is Status.FINISHED


async def test_a_snapshot_serves_the_next_process_and_a_damaged_one_is_made_again(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache) as sandbox:
        job = Job(sandbox, tmp_path, {"entry.py": HEAVY}, {"module": "entry"})
        made = await job.setup()
        want = await job.unit("f", [1])
        path = sandbox.python.file(job.bundle, job.description)
    assert path.stat().st_blocks * 512 < path.stat().st_size  # sparse
    before = path.stat().st_ino
    for damage in (False, True):
        if damage:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                file.write(b"damage")
        async with open_sandbox(python_cache) as sandbox:
            job = Job(sandbox, tmp_path, {"entry.py": HEAVY}, {"module": "entry"})
            assert sandbox.python.snapshot(job.bundle, job.description) == made.outcome
            assert await job.unit("f", [1]) == want
        assert damage or path.stat().st_ino == before
    assert hashlib.sha256(path.read_bytes()).digest() == made.outcome.state


async def test_snapshots_keep_to_their_budget_and_what_was_evicted_is_made_again(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache, snapshot_budget=30 << 20) as sandbox:
        jobs = [Job(sandbox, tmp_path, {"entry.py": f"N = {index}\ndef f(x): return N + x\n"}, {"module": "entry"}) for index in range(3)]
        for index, job in enumerate(jobs):
            assert await job.values("f", [10]) == [10 + index]
        folder = sandbox.python.file(jobs[0].bundle, jobs[0].description).parent
        kept = list(folder.glob("*.memory"))
        assert sum(path.stat().st_blocks * 512 for path in kept) <= 30 << 20
        assert len(kept) < 3
        assert sandbox.python.snapshot(jobs[0].bundle, jobs[0].description) is None
        assert sandbox.python.snapshot(jobs[2].bundle, jobs[2].description) is not None
        assert await jobs[0].values("f", [10]) == [10]


async def test_a_snapshot_that_goes_before_its_unit_runs_is_made_again(python_cache: Path, tmp_path: Path) -> None:
    async with open_sandbox(python_cache) as sandbox:
        job = Job(sandbox, tmp_path, {"entry.py": "def f(x): return x\n"}, {"module": "entry"})
        await job.setup()
        lost = sandbox.python.file(job.bundle, job.description)
        run_request, calls = sandbox.run_request, 0

        async def lose_it_first(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                lost.unlink()
            return await run_request(*args, **options)

        sandbox.run_request = lose_it_first  # type: ignore[method-assign]
        assert await job.values("f", [7]) == [7]
        assert calls == 3
