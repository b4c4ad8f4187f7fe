"""Functions that the buyer's tests send to providers."""

from __future__ import annotations

import datetime
import os
import random
import time
import uuid
from typing import Any

import numpy


def add_one(item: int) -> int:
    return item + 1


def same(item: Any) -> Any:
    return item


def broken(item: int) -> int:
    if item == 3:
        raise ValueError("three is not for me")
    return item


def draw(item: Any) -> Any:
    return item, random.random(), str(uuid.uuid4()), time.time(), os.urandom(4).hex()


def draw_all(item: Any) -> Any:
    generator = numpy.random.default_rng()
    turn(100_000)
    return [
        *(item, random.random(), random.gauss(0, 1), numpy.random.rand(3), generator.standard_normal(2), os.urandom(4)),
        *(str(uuid.uuid4()), str(uuid.uuid1()), time.time(), time.perf_counter_ns(), datetime.datetime.now(), float("nan")),
    ]


def shout(text: str, *, twice: bool = False) -> str:
    return text.upper() * (2 if twice else 1)


def where(item: int) -> list[str]:
    return sorted(os.listdir("/job"))


def spin(item: int) -> int:
    state = item
    for _ in range(300_000):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return state


def turn(rounds: int) -> int:
    for _ in range(rounds):
        pass
    return rounds


def shout_one(text: str) -> str:
    return text.upper()


def zeros(size: int) -> bytes:
    return bytes(size)
