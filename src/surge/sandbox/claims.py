"""What a worker says of a unit, held against what can be true: the worker has run a stranger's code."""

from __future__ import annotations

import math

from surge.core.units import EXACT, PROVABLE, Limits, Part, Status, are_files
from surge.sandbox.protocol import Done

MAX_EXIT_CODE = 2**32 - 1

CLOCK_STEP = 0.1
"""Seconds by which the clocks of time and of the processor may differ."""


def false_claim(done: Done, limits: Limits, *, witness: bool = False) -> str | None:
    """What cannot be true in a reply, or None. That digests are those of the output is for whoever reads it to check.

    `witness` says whether the request asked for one.

    1. The status is one, and has an exit code only if it is the one that does.
    2. Pieces have digests and sizes, no more bytes together than the limit, and none if the ending is local.
    3. Files are as the guest could have made them: plain relative paths, each once, in order.
    4. A witness is there, and of its size, if and only if it was asked for and the ending is provable.
    5. Fuel and memory are within the limits; fuel is the limit where the rule says so; no thread used more time than passed.
    """
    # 1.
    try:
        status = Status(done.status)
    except ValueError:
        return f"status {done.status}"
    if not 0 <= done.exit_code <= MAX_EXIT_CODE or (done.exit_code != 0) != (status is Status.EXITED):
        return f"exit code {done.exit_code} of {status.name}"
    # 2.
    parts = [done.value, done.stdout, done.stderr, *(part for _, part in done.files)]
    size = sum(part.size for part in parts)
    if not all(_is_part(part) for part in parts) or size > limits.output:
        return f"{size} bytes of output"
    if status not in PROVABLE and (size or done.files or done.state):
        return f"output of {status.name}"
    if len(done.state) not in (0, 32):
        return "a state that is no digest"
    # 3.
    if done.files and not are_files([path for path, _ in done.files]):
        return "files that cannot be"
    # 4.
    if len(done.witness) != (32 if witness and status in PROVABLE else 0):
        return f"a witness of {len(done.witness)} bytes"
    # 5.
    least, most = (0, limits.fuel) if status in EXACT else (limits.fuel,) * 2 if status in PROVABLE else (0, 0)
    if not least <= done.fuel <= most:
        return f"{done.fuel} fuel of {status.name}"
    if not 0 <= done.peak_memory <= limits.memory:
        return f"{done.peak_memory} bytes of memory"
    if not (math.isfinite(done.seconds) and 0 <= done.cpu_seconds <= done.seconds + CLOCK_STEP):
        return f"{done.cpu_seconds} s of a processor in {done.seconds} s"
    return None


def _is_part(part: Part) -> bool:
    return len(part.digest) == 32 and part.size >= 0
