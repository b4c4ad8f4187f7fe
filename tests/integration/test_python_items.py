"""Python in the guest: what an item draws, and what its clock says, does not depend on the items before it."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from python_support import Make
from surge.core.units import Status

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
