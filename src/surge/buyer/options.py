"""What a user may ask of a job, checked and turned into limits and wishes."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

from surge.buyer.plan import Wishes
from surge.core.credibility import HIGHEST
from surge.core.types import address
from surge.core.units import Limits
from surge.errors import InvalidInput

MAX_CHUNK_ITEMS = 65_536
"""Items in one unit, when the user chooses."""

MAX_COPIES = 16
"""Devices that one unit may be given to."""


class Asked(TypedDict, total=False):
    """Options that every kind of job takes.

    Limits of one unit: `memory` and `output` in bytes, `fuel`, `timeout` in seconds of wall time, `open_files`.
    Wishes: `max_price` in wei a gigafuel, `budget` in wei, `region`, `providers` (how many, or which devices), `deadline` in
    seconds from now or a `datetime`. `name` is what listings call the job.
    Trust: `certainty` is how probably a result is right, at least (0.99 by default): results are checked as often as that needs. With
    `copies` every unit is run by so many devices of different operators, and `quorum` of them (more than half, by default) must agree.
    `disputable=False` keeps the job's code and inputs from jurors: none of its results can be disputed.
    """

    memory: int
    fuel: int
    timeout: float
    output: int
    open_files: int
    max_price: int
    budget: int
    region: str
    providers: int | Sequence[str]
    deadline: float | datetime.datetime
    name: str
    certainty: float
    copies: int
    quorum: int
    disputable: bool


_KNOWN = frozenset(Asked.__annotations__)

_PARAMETERS = "files of every job, packages and seed of a function, chunk, errors and total of a map"
"""What calls take besides, as parameters of their own."""


def limits_of(asked: Asked) -> Limits:
    """The limits of one unit. Raises `InvalidInput` for one out of bounds."""
    changes: dict[str, int] = {}
    for name in ("memory", "fuel", "output", "open_files"):
        value = asked.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInput(f"{name}={value!r} is no whole number", name=name)
            changes[name] = value
    timeout = asked.get("timeout")
    if timeout is not None:
        changes["wall_ms"] = round(_seconds("timeout", timeout) * 1000)
    return replace(Limits(), **changes)


def wishes_of(asked: Asked) -> Wishes:
    """What is asked of providers. Raises `InvalidInput`."""
    for name in ("max_price", "budget"):
        value = asked.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise InvalidInput(f"{name}={value!r} is no amount: write whole wei, such as {name}=5 * 10**18", name=name)
    for name in ("region", "name"):
        text = asked.get(name)
        if text is not None and not isinstance(text, str):
            raise InvalidInput(f"{name}={text!r} is no text", name=name)
    return Wishes(
        max_price=asked.get("max_price"),
        budget=asked.get("budget"),
        region=asked.get("region"),
        providers=_providers(asked.get("providers")),
        deadline_ms=_deadline(asked.get("deadline")),
        certainty_ppm=_certainty(asked.get("certainty")),
        **_copies(asked.get("copies"), asked.get("quorum")),
        disputable=_flag("disputable", asked.get("disputable", True)),
    )


def check_known(asked: Asked) -> None:
    """Raise `TypeError` for an option that does not exist, as a function does."""
    unknown = set(asked) - _KNOWN
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}; there are {', '.join(sorted(_KNOWN))}; and {_PARAMETERS}")


def chunk_of(chunk: int | str) -> int:
    """Items in a unit; 0 for "auto"."""
    if chunk == "auto":
        return 0
    if isinstance(chunk, bool) or not isinstance(chunk, int) or not 1 <= chunk <= MAX_CHUNK_ITEMS:
        raise InvalidInput(f'chunk={chunk!r} is neither "auto" nor a number from 1 to {MAX_CHUNK_ITEMS}', chunk=chunk)
    return chunk


def _providers(value: int | Sequence[str] | None) -> int | tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, int):
        if isinstance(value, bool) or not 1 <= value <= 256:
            raise InvalidInput(f"providers={value!r} is no number from 1 to 256", providers=value)
        return value
    if isinstance(value, str):
        value = [value]
    found = tuple(address(each) for each in value)
    if not found:
        raise InvalidInput("providers= names nobody: leave it out, or name devices")
    return found


def _certainty(value: float | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= HIGHEST:
        raise InvalidInput(f"certainty={value!r} is no number from 0 to {HIGHEST}", certainty=value)
    return round(value * 1_000_000)


def _copies(copies: int | None, quorum: int | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value, most in (("copies", copies, MAX_COPIES), ("quorum", quorum, copies or 1)):
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidInput(f"{name}={value!r} is no number from 1 to {most}", value=value)
            found[name] = value
    return found


def _deadline(value: float | datetime.datetime | None) -> int | None:
    if value is None:
        return None
    seconds = value.timestamp() - time.time() if isinstance(value, datetime.datetime) else _seconds("deadline", value)
    if seconds <= 0:
        raise InvalidInput("the deadline has passed already", deadline=value)
    return round(seconds * 1000)


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}={value!r} is neither True nor False", name=name)
    return value


def _seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"{name}={value!r} is no number of seconds", name=name)
    return value
