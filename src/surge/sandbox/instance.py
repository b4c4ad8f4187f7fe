"""A loaded image, and one guest of it: the only place where guest code runs.

    image = Image(engine, module, python=False)     # once per worker
    guest = Guest(image, world)                     # once per unit; raises Ending if even that fails
    ending = guest.run("_start")
    guest.close()

Guests of an image run one at a time, on one thread whose stack is `engine.THREAD_STACK` bytes, while another thread
counts the engine's epochs (`Image.tick`) every `TICK` seconds.
"""

from __future__ import annotations

import ctypes
import resource
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime import TrapCode

from surge.core.units import Status
from surge.sandbox import _native as native
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.imports import I64, IMPORTS, Function
from surge.sandbox.wasi.memory import Failed, GuestMemory
from surge.sandbox.wasi.world import Ending, World, no_allocation

TICK: Final = 0.02
"""Seconds between two epochs: how exactly a wall-time limit is kept."""

PAGE: Final = 64 << 10
"""Bytes in a page of linear memory."""

MAX_TABLE_ELEMENTS: Final = 1 << 20
"""Elements in one table; part of the world, as a refusal shows in the guest."""
MAX_TABLES: Final = 16

MAX_PARAMETERS: Final = 4
"""Values an export that the host calls may take."""

MEMORY: Final = b"memory"

_PROT_NONE: Final = 0
_PROT_READ_WRITE: Final = 3

_libc = ctypes.CDLL(None, use_errno=True)
_mprotect = _libc.mprotect
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_mprotect.restype = ctypes.c_int

_PROVABLE_REFUSALS: Final = ("exceeds memory limits", "exceeds table limits", "resource limit exceeded")
"""How wasmtime words a module that asks for more than the limits at once: the same everywhere."""

_UNCAUGHT: Final = "thrown Wasm exception"
"""How wasmtime words an exception that left the guest."""

_LOCAL_TRAPS: Final = {
    TrapCode.INTERRUPT.value: Status.WALL_TIME,
    # Where a stack overflows depends on the compiled code, so it is no evidence.
    TrapCode.STACK_OVERFLOW.value: Status.NATIVE_STACK,
    TrapCode.ALLOCATION_TOO_LARGE.value: Status.HOST_MEMORY,
}


class _Scratch:
    """Room for what C writes: one for all guests of an image, as they run one at a time, and one per nested call."""

    def __init__(self) -> None:
        self.instance = (ctypes.c_uint8 * native.INSTANCE)()
        self.memory = (ctypes.c_uint8 * native.EXTERN)()
        self.function = (ctypes.c_uint8 * native.EXTERN)()
        self.values = (ctypes.c_uint8 * (native.VALUE * MAX_PARAMETERS))()
        self.trap = ctypes.c_void_p()
        self.number = ctypes.c_uint64()
        self.instance_at = ctypes.addressof(self.instance)
        self.memory_at = ctypes.addressof(self.memory)
        self.function_at = ctypes.addressof(self.function)
        self.values_at = ctypes.addressof(self.values)
        self.trap_at = ctypes.addressof(self.trap)
        self.number_at = ctypes.addressof(self.number)


class Image:
    """A module with its imports resolved: what all units of a worker share."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module, *, python: bool) -> None:
        """`python` lets the module import `host.call` as well.

        Raises:
            wasmtime.WasmtimeError: it imports something that is not there.
        """
        self._engine = engine
        self._module = module
        self.python = python
        self.engine_handle = native.address(engine)
        self.scratch = _Scratch()
        self.guest: Guest | None = None
        """The one that is running; host functions find their world here."""
        self.caller = 0
        """The handle host functions were last called with."""
        self._callbacks: list[Any] = []
        linker = wasmtime.Linker(engine)
        for name, (kinds, function) in IMPORTS.items():
            self._define(linker, abi.MODULE, name, kinds, function)
        if python:
            self._define(linker, "host", "call", "iiii", _host_call)
        self._linker = linker
        self._pre = linker.instantiate_pre(module)
        self.pre_handle = native.address(self._pre)
        self.maximum = _maximum_memory(module)
        self.promises_first = host_may_refuse()

    def _define(self, linker: wasmtime.Linker, module: str, name: str, kinds: str, function: Function) -> None:
        gives = name != "proc_exit"
        types = [wasmtime.ValType.i64() if kind == I64 else wasmtime.ValType.i32() for kind in kinds]
        kind = wasmtime.FuncType(types, [wasmtime.ValType.i32()] if gives else [])
        callback = native.HostFunction(self._host_function(kinds, function))
        self._callbacks.append(callback)
        error = native.define_func(
            native.address(linker),
            *(module.encode(), len(module), name.encode(), len(name), native.address(kind), callback, None, None),
        )
        if error:
            raise wasmtime.WasmtimeError(native.take_error(error))

    def _host_function(self, kinds: str, function: Function) -> Callable[[int, int, int, int], int]:
        """A function as wasmtime calls it: numbers out of its array, an error code back into it, never an exception."""
        layout = struct.Struct("<" + "".join("Q8x" if kind == I64 else "I12x" for kind in kinds))
        buffer: Any = ctypes.c_char * max(layout.size, native.VALUE)
        unpack, pack = layout.unpack_from, abi.U32.pack_into
        image = self

        def host_function(_environment: int, caller: int, values: int, _count: int) -> int:
            guest = image.guest
            assert guest is not None
            image.caller = caller
            try:
                raw = buffer.from_address(values)
                pack(raw, 0, function(guest.world, *unpack(raw)))
            except Failed as failed:
                pack(raw, 0, failed.errno)
            except Ending as ending:
                return guest.stop(ending)
            except MemoryError:
                return guest.stop(Ending(Status.HOST_MEMORY, detail="the worker ran out of memory in a host function"))
            except BaseException as wrong:  # a bug here: it must neither pass through the engine nor look like a trap
                return guest.stop(Ending(Status.WORKER_LOST, detail=f"host function failed: {wrong!r}"))
            return 0 if guest.pay(guest.world.cost()) else guest.stop(guest.out_of_fuel())

        return host_function

    def tick(self) -> None:
        """One epoch has passed; safe from any thread."""
        native.increment_epoch(self.engine_handle)


def host_may_refuse() -> bool:
    """Whether this host counts memory before it is used, or limits it, and so may refuse a guest what is below its limit.

    Linux by default refuses nothing when memory grows: it ends a process when there is none left.
    """
    try:
        strict = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        strict = True
    limited = (resource.getrlimit(which)[0] for which in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    return strict or any(limit != resource.RLIM_INFINITY for limit in limited)


def _maximum_memory(module: wasmtime.Module) -> int:
    """Bytes the module's exported memory may grow to; 4 GiB when it does not say."""
    for export in module.exports:
        if export.name == MEMORY.decode() and isinstance(export.type, wasmtime.MemoryType):
            most = export.type.limits.max
            return 1 << 32 if most is None else most * PAGE
    return 0


def _host_call(world: World, at: int, length: int, out_at: int, out_length: int) -> int:
    """`host.call`: a request in, an answer out, in memory the guest allocates for it. -1 when nothing answers."""
    if world.host_call is None:
        return 0xFFFFFFFF
    if length > world.limits.output + PAGE:
        raise world.over_output()
    memory = world.memory
    answer = world.host_call(memory.read(at, length))
    place = 0
    if answer:
        place = world.allocate(len(answer))
        if not place:
            raise Failed(abi.Errno.NOMEM)
        memory.write(place, answer)
    memory.pack(abi.U32, out_at, place)
    memory.pack(abi.U32, out_length, len(answer))
    return 0


class Guest:
    """One instance, for one unit."""

    def __init__(self, image: Image, world: World) -> None:
        """Instantiate, with all of the unit's memory promised by the host before the guest runs.

        Raises:
            Ending: the module's start function ended the unit, or its memory is over the limit, or the host refused.
        """
        self.image = image
        self.world = world
        self._scratch = image.scratch
        self._calling = False
        self._memory_at = 0
        limits = world.limits
        self._store = store = native.store_new(image.engine_handle, None, None)
        self._context = context = native.store_context(store)
        native.store_limiter(store, limits.memory, MAX_TABLE_ELEMENTS, 1, MAX_TABLES, 1)
        native.set_fuel(context, limits.fuel)
        native.set_epoch_deadline(context, int(limits.wall_ms / 1000 / TICK) + 2)
        world.memory = GuestMemory(self._fetch)
        image.guest = self
        image.caller = 0
        try:
            self._instantiate()
        except BaseException:
            self.close()
            raise
        if image.python:
            world.allocate = partial(self.call, "host_alloc")

    def _instantiate(self) -> None:
        image, scratch = self.image, self._scratch
        error = native.instantiate(image.pre_handle, self._context, scratch.instance_at, scratch.trap_at)
        if error:
            message = native.take_error(error)
            provable = any(words in message for words in _PROVABLE_REFUSALS)
            raise Ending(Status.MEMORY_LIMIT if provable else Status.HOST_MEMORY, detail=message)
        if scratch.trap.value:
            self._trapped(scratch)
        if (
            native.export_get(self._context, scratch.instance_at, MEMORY, len(MEMORY), scratch.memory_at)
            and scratch.memory[native.EXTERN_KIND] == native.MEMORY_KIND
        ):
            self._memory_at = scratch.memory_at + native.EXTERN_ITEM
            if image.promises_first:
                self._reserve()

    def _reserve(self) -> None:
        """Have the host promise the memory the guest may grow to, so that it cannot refuse a part of it later.

        Linux charges a private mapping when it first becomes writable and keeps the charge when it no longer is, so
        making the rest of the reservation writable for a moment is the promise (mm/mprotect.c, `mprotect_fixup`).
        """
        size = self.size
        most = min(self.world.limits.memory, self.image.maximum) // PAGE * PAGE
        if most <= size:
            return
        start = self.address + size
        if _mprotect(start, most - size, _PROT_READ_WRITE) or _mprotect(start, most - size, _PROT_NONE):
            raise Ending(Status.HOST_MEMORY, detail=f"the host refused {most} bytes of memory")

    def _fetch(self) -> memoryview:
        """Linear memory as it is now. In a start function the instance is not there yet, and its caller is asked."""
        if not self._memory_at:
            found = self._scratch.memory_at
            if (
                not self.image.caller
                or not native.caller_export_get(self.image.caller, MEMORY, len(MEMORY), found)
                or self._scratch.memory[native.EXTERN_KIND] != native.MEMORY_KIND
            ):
                return memoryview(b"")
            self._memory_at = found + native.EXTERN_ITEM
        return native.view(self.address, self.size)

    @property
    def address(self) -> int:
        """Where linear memory starts in this process."""
        address: int = native.memory_data(self._context, self._memory_at)
        return address

    @property
    def size(self) -> int:
        """Bytes of linear memory; it never shrinks."""
        if not self._memory_at:
            return 0
        size: int = native.memory_data_size(self._context, self._memory_at)
        return size

    def all_memory(self) -> memoryview:
        """Linear memory from its start to its end, valid until `close`; empty where the module exports none."""
        return native.view(self.address, self.size) if self._memory_at else memoryview(b"")

    @property
    def fuel_left(self) -> int:
        """Fuel not yet burnt; inexact after a trap."""
        native.get_fuel(self._context, self._scratch.number_at)
        return self._scratch.number.value

    def pay(self, fuel: int) -> bool:
        """Burn fuel for a host function. False when there is not so much left: then all of it is gone."""
        left: int = self.fuel_left - fuel
        native.set_fuel(self._context, max(left, 0))
        return left >= 0

    def out_of_fuel(self) -> Ending:
        """The ending of a unit that has none left."""
        return Ending(Status.OUT_OF_FUEL, detail=f"burnt {self.world.limits.fuel} fuel")

    def grow(self, size: int) -> None:
        """Make linear memory at least `size` bytes long.

        Raises:
            Ending: that is over the limit, or refused by the host.
        """
        pages = -(-(size - self.size) // PAGE)
        if pages <= 0:
            return
        if size > self.world.limits.memory:
            raise Ending(Status.MEMORY_LIMIT, detail=f"needs {size} bytes of memory")
        if error := native.memory_grow(self._context, self._memory_at, pages, self._scratch.number_at):
            raise Ending(Status.HOST_MEMORY, detail=native.take_error(error))

    def call(self, name: str, *arguments: int) -> int:
        """Call an export that takes i32s; the i32 it gives (unsigned), or 0 if it gives nothing.

        Works from inside a host function too.

        Raises:
            Ending: the call did not return.
        """
        nested = self._calling
        scratch = _Scratch() if nested else self._scratch
        encoded = name.encode()
        found = scratch.function_at
        instance = self._scratch.instance_at
        if (
            len(arguments) > MAX_PARAMETERS
            or not native.export_get(self._context, instance, encoded, len(encoded), found)
            or scratch.function[native.EXTERN_KIND] != native.FUNC_KIND
        ):
            raise Ending(Status.TRAPPED, detail=f"no function {name!r}")
        for index, argument in enumerate(arguments):
            abi.U64.pack_into(scratch.values, index * native.VALUE, argument & 0xFFFFFFFF)
        self._calling = True
        try:
            error = native.call(self._context, found + native.EXTERN_ITEM, scratch.values_at, MAX_PARAMETERS, scratch.trap_at)
        finally:
            self._calling = nested
        if error:
            raise self._engine_error(native.take_error(error))
        if scratch.trap.value:
            self._trapped(scratch)
        result: int = abi.U32.unpack_from(scratch.values)[0]
        return result

    def run(self, name: str) -> Ending:
        """Call an export to its end, whatever that is."""
        try:
            self.call(name)
        except Ending as ending:
            return ending
        return Ending(Status.FINISHED)

    def stop(self, ending: Ending) -> int:
        """Make a host function end the unit: the trap for it to give."""
        # Without its traceback, which would keep the whole unit alive in a circle.
        self.world.ending = ending.with_traceback(None)
        trap: int = native.trap_new(b"ended", 5)
        return trap

    def _trapped(self, scratch: _Scratch) -> None:
        """Turn a trap that was left behind into an `Ending`."""
        trap, scratch.trap.value = scratch.trap.value or 0, None
        code, message = native.take_trap(trap)
        if self.world.ending is not None:
            raise self.world.ending
        if code is None:
            raise self._engine_error(message)
        if code == TrapCode.OUT_OF_FUEL.value:
            raise self.out_of_fuel()
        raise Ending(_LOCAL_TRAPS.get(code, Status.TRAPPED), detail=message)

    def _engine_error(self, message: str) -> Ending:
        """What is neither a return nor a trap: an exception nobody caught, or no room for one, which is no evidence."""
        if self.world.ending is not None:
            return self.world.ending
        return Ending(Status.TRAPPED if _UNCAUGHT in message else Status.HOST_MEMORY, detail=message)

    def close(self) -> None:
        """Let the instance go. Calling it again does nothing."""
        if self._store:
            self.image.guest = None
            self.world.memory.forget()
            self.world.allocate = no_allocation
            native.store_delete(self._store)
            self._store = 0
