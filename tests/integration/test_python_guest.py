"""Python in the guest: what goes in and comes out, and how items and units fail."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from typing import Any

import numpy
import pandas

from python_support import Make
from surge.core.units import Status

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
    assert outcome.fuel < 10**9, "it is billed what it did"
    assert await job.unit("result", [1, 2], output=1 << 20) == (outcome, _)
    outcome, _ = await job.unit("loop", [1], wall_ms=300)
    assert outcome.status is Status.WALL_TIME
    outcome, output = await job.unit("missing", [1])
    assert (outcome.status, outcome.exit_code) == (Status.EXITED, 1)
    assert b"has no attribute 'missing'" in output.stderr
    outcome, output = await job.unit("loud", ["a", "b"])
    assert outcome.status is Status.FINISHED
    assert (output.stdout, output.stderr) == (b"out a\nout b\n", b"err a\nerr b\n")
    assert [path for path, _ in outcome.files] == ["a", "b"]
