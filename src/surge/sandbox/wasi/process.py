"""Arguments, environment, clocks, randomness, waiting and ending; and the sockets there are not."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from surge.core.units import Status
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.abi import Errno
from surge.sandbox.wasi.memory import Failed
from surge.sandbox.wasi.world import (
    CLOCK_LAST,
    CLOCK_START,
    CLOCK_STEP,
    ENTROPY_PIECE,
    RANDOM_FUEL,
    STEP_FUEL,
    Ending,
    Input,
    Output,
    World,
)

MAX_SUBSCRIPTIONS: Final = 1024
"""Events one `poll_oneoff` may wait for."""

REALTIME: Final = 0
CLOCKS: Final = 4
"""Realtime, monotonic, and the processor times of process and thread: one clock, the first with a date."""


def _sizes(world: World, strings: Sequence[bytes], count_at: int, size_at: int) -> int:
    world.memory.pack(abi.U32, count_at, len(strings))
    world.memory.pack(abi.U32, size_at, sum(len(text) + 1 for text in strings))
    return 0


def _strings(world: World, strings: Sequence[bytes], pointers: int, at: int) -> int:
    offsets = []
    for text in strings:
        offsets.append(at)
        at += len(text) + 1
    if at > 2**32:
        raise Failed(Errno.FAULT)
    block = b"".join(text + b"\0" for text in strings)
    world.memory.check(pointers, 4 * len(strings))
    world.memory.write(at - len(block), block)
    world.memory.write(pointers, struct.pack(f"<{len(offsets)}I", *offsets))
    return 0


def args_sizes_get(world: World, count_at: int, size_at: int) -> int:
    """How many arguments, and bytes for all of them."""
    return _sizes(world, world.argv, count_at, size_at)


def args_get(world: World, pointers: int, at: int) -> int:
    """The arguments."""
    return _strings(world, world.argv, pointers, at)


def environ_sizes_get(world: World, count_at: int, size_at: int) -> int:
    """How many environment variables, and bytes for all of them."""
    return _sizes(world, world.env, count_at, size_at)


def environ_get(world: World, pointers: int, at: int) -> int:
    """The environment variables."""
    return _strings(world, world.env, pointers, at)


def clock_res_get(world: World, clock: int, result: int) -> int:
    """The step of every clock."""
    if clock >= CLOCKS:
        raise Failed(Errno.INVAL)
    world.memory.pack(abi.U64, result, CLOCK_STEP)
    return 0


def clock_time_get(world: World, clock: int, precision: int, result: int) -> int:
    """One reading of a clock, which moves them all on."""
    if clock >= CLOCKS:
        raise Failed(Errno.INVAL)
    world.memory.check(result, 8)
    now = world.reading()
    world.memory.pack(abi.U64, result, now + CLOCK_START if clock == REALTIME else now)
    return 0


def random_get(world: World, at: int, length: int) -> int:
    """Bytes of the unit's random stream."""
    room = world.memory.span(at, length)
    world.spend(length * RANDOM_FUEL)
    for start in range(0, length, ENTROPY_PIECE):
        piece = min(ENTROPY_PIECE, length - start)
        room[start : start + piece] = world.random(piece)
        world.look_at_the_wall()
    return 0


def poll_oneoff(world: World, subscriptions: int, events: int, count: int, result: int) -> int:
    """Wait for the first of several things.

    Reading and writing never wait. If there is only time to wait for, the clock moves to the earliest of the times
    asked for, and nobody waits.
    """
    if not 0 < count <= MAX_SUBSCRIPTIONS:
        raise Failed(Errno.INVAL)
    memory = world.memory
    world.spend(count * STEP_FUEL)
    asked = list(abi.SUBSCRIPTION.iter_unpack(memory.span(subscriptions, count * abi.SUBSCRIPTION.size)))
    memory.check(events, count * abi.EVENT.size)
    memory.check(result, 4)
    ready: list[bytes] = []
    timers: list[tuple[int, int]] = []
    for user_data, tag, subject, timeout, _precision, flags in asked:
        if tag == abi.SUBSCRIBE_CLOCK:
            if subject >= CLOCKS or flags & ~abi.CLOCK_ABSOLUTE:
                ready.append(abi.EVENT.pack(user_data, Errno.INVAL, tag, 0, 0))
            elif flags & abi.CLOCK_ABSOLUTE:
                timers.append((timeout - (CLOCK_START if subject == REALTIME else 0), user_data))
            else:
                timers.append((world.now + timeout, user_data))
        elif tag in (abi.SUBSCRIBE_READ, abi.SUBSCRIBE_WRITE):
            error, size = _readiness(world, subject, tag)
            ready.append(abi.EVENT.pack(user_data, error, tag, size, 0))
        else:
            raise Failed(Errno.INVAL)
    if not ready and timers:
        earliest = min(time for time, _ in timers)
        world.now = min(max(world.now, earliest), CLOCK_LAST - CLOCK_START)
    for time, user_data in timers:
        if time <= world.now or (not ready and world.now == CLOCK_LAST - CLOCK_START):
            ready.append(abi.EVENT.pack(user_data, 0, abi.SUBSCRIBE_CLOCK, 0, 0))
    memory.write(events, b"".join(ready))
    memory.pack(abi.U32, result, len(ready))
    return 0


def _readiness(world: World, fd: int, tag: int) -> tuple[int, int]:
    """An error and the bytes that are there to read."""
    try:
        found = world.descriptor(fd)
    except Failed as failed:
        return failed.errno, 0
    if isinstance(found, Input):
        return (0, len(found.data) - found.at) if tag == abi.SUBSCRIBE_READ else (Errno.BADF, 0)
    if isinstance(found, Output) and tag == abi.SUBSCRIBE_READ:
        return Errno.BADF, 0
    return 0, 0


def proc_exit(world: World, code: int) -> int:
    """End the unit: finished for 0, an exit code for anything else."""
    if code == 0:
        raise Ending(Status.FINISHED)
    raise Ending(Status.EXITED, exit_code=code)


def sched_yield(world: World) -> int:
    """Nothing else runs."""
    return 0


def proc_raise(world: World, signal: int) -> int:
    """Not supported: there are no signals."""
    raise Failed(Errno.NOTSUP)


def sock_accept(world: World, fd: int, flags: int, result: int) -> int:
    """Not supported: there are no sockets."""
    raise Failed(Errno.NOTSUP)


def sock_recv(world: World, fd: int, data: int, count: int, flags: int, received: int, out_flags: int) -> int:
    """Not supported: there are no sockets."""
    raise Failed(Errno.NOTSUP)


def sock_send(world: World, fd: int, data: int, count: int, flags: int, sent: int) -> int:
    """Not supported: there are no sockets."""
    raise Failed(Errno.NOTSUP)


def sock_shutdown(world: World, fd: int, how: int) -> int:
    """Not supported: there are no sockets."""
    raise Failed(Errno.NOTSUP)
