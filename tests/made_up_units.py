"""How units end on a made-up device: as a function over the items does, or as a test wants it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from surge.core import values
from surge.core.units import Status


@dataclass
class Ran:
    """What the made-up sandbox says of a unit."""

    status: Status = Status.FINISHED
    value: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    fuel: int = 1000
    seconds: float = 0.0
    local: str = ""
    exit_code: int = 0


class Ended(Exception):
    """Raised by a test's function to end the whole unit."""

    def __init__(self, status: Status, local: str = "") -> None:
        super().__init__(status.name)
        self.status = status
        self.local = local


def run_python(function: Callable[..., Any], style: int, first: int, data: bytes, fuel_each: int = 1000) -> Ran:
    """A Python unit: the function over the items, as the guest's harness does it."""
    entries: list[list[Any]] = []
    items = values.loads(data)
    for item in items:
        try:
            result = function(*item[0], **item[1]) if style else function(item)
            entries.append(["ok", result])
        except Ended as ended:
            return Ran(ended.status, fuel=0, stderr=str(ended).encode(), local=ended.local)
        except Exception as error:
            entries.append(["error", type(error).__name__, str(error), traceback.format_exc()])
    return Ran(value=values.dumps(entries), fuel=fuel_each * len(items))
