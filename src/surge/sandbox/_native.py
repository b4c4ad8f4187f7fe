"""wasmtime's C functions as a worker calls them for every unit and every host call.

wasmtime-py wraps each of these in Python objects that cost more than the calls themselves (16 µs a host call against
2 µs here), so this module, and only it, binds the C library once more with plain integers for pointers. Everything
that is not on the path of each unit (compiling, loading, linking) goes through wasmtime-py.

Handles are integers; a result that is a pointer is 0 for "none". An error or a trap handed back is owned by the
caller, who frees it with `take_error` or `take_trap`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from wasmtime import _ffi

_POINTER: Final = ctypes.c_void_p
_SIZE: Final = ctypes.c_size_t
_U64: Final = ctypes.c_uint64
_I64: Final = ctypes.c_int64

HostFunction: Final = ctypes.CFUNCTYPE(_SIZE, _POINTER, _POINTER, _POINTER, _SIZE)
"""(environment, caller, arguments and results, their number) -> a trap, or 0. Each value takes `VALUE` bytes."""

VALUE: Final = ctypes.sizeof(_ffi.wasmtime_val_raw_t)
EXTERN: Final = ctypes.sizeof(_ffi.wasmtime_extern_t)
EXTERN_KIND: Final = _ffi.wasmtime_extern_t.kind.offset
EXTERN_ITEM: Final = _ffi.wasmtime_extern_t.of.offset
"""Where a function's or a memory's handle stands inside an extern."""
INSTANCE: Final = ctypes.sizeof(_ffi.wasmtime_instance_t)
FUNC_KIND: Final = _ffi.WASMTIME_EXTERN_FUNC.value
MEMORY_KIND: Final = _ffi.WASMTIME_EXTERN_MEMORY.value


def _bind(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    bound: Callable[..., Any] = ctypes.CFUNCTYPE(result, *arguments)((name, _ffi.dll))
    return bound


store_new = _bind("wasmtime_store_new", _POINTER, _POINTER, _POINTER, _POINTER)
store_context = _bind("wasmtime_store_context", _POINTER, _POINTER)
store_delete = _bind("wasmtime_store_delete", None, _POINTER)
store_limiter = _bind("wasmtime_store_limiter", None, _POINTER, _I64, _I64, _I64, _I64, _I64)
set_fuel = _bind("wasmtime_context_set_fuel", _POINTER, _POINTER, _U64)
get_fuel = _bind("wasmtime_context_get_fuel", _POINTER, _POINTER, _POINTER)
set_epoch_deadline = _bind("wasmtime_context_set_epoch_deadline", None, _POINTER, _U64)
increment_epoch = _bind("wasmtime_engine_increment_epoch", None, _POINTER)
instantiate = _bind("wasmtime_instance_pre_instantiate", _POINTER, _POINTER, _POINTER, _POINTER, _POINTER)
export_get = _bind("wasmtime_instance_export_get", ctypes.c_bool, _POINTER, _POINTER, ctypes.c_char_p, _SIZE, _POINTER)
caller_export_get = _bind("wasmtime_caller_export_get", ctypes.c_bool, _POINTER, ctypes.c_char_p, _SIZE, _POINTER)
call = _bind("wasmtime_func_call_unchecked", _POINTER, _POINTER, _POINTER, _POINTER, _SIZE, _POINTER)
memory_data = _bind("wasmtime_memory_data", _POINTER, _POINTER, _POINTER)
memory_data_size = _bind("wasmtime_memory_data_size", _SIZE, _POINTER, _POINTER)
memory_grow = _bind("wasmtime_memory_grow", _POINTER, _POINTER, _POINTER, _U64, _POINTER)
define_func = _bind(
    "wasmtime_linker_define_func_unchecked",
    _POINTER,
    *(_POINTER, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _POINTER, HostFunction, _POINTER, _POINTER),
)
trap_new = _bind("wasmtime_trap_new", _POINTER, ctypes.c_char_p, _SIZE)
_trap_code = _bind("wasmtime_trap_code", ctypes.c_bool, _POINTER, _POINTER)
_trap_message = _bind("wasm_trap_message", None, _POINTER, _POINTER)
_trap_delete = _bind("wasm_trap_delete", None, _POINTER)
_error_message = _bind("wasmtime_error_message", None, _POINTER, _POINTER)
_error_delete = _bind("wasmtime_error_delete", None, _POINTER)
_bytes_delete = _bind("wasm_byte_vec_delete", None, _POINTER)
_module_serialize = _bind("wasmtime_module_serialize", _POINTER, _POINTER, _POINTER)


def address(managed: Any) -> int:
    """The handle inside one of wasmtime-py's objects, which must stay alive for as long as it is used."""
    return ctypes.addressof(managed.ptr().contents)


_memory_view = ctypes.PYFUNCTYPE(ctypes.py_object, _POINTER, ctypes.c_ssize_t, ctypes.c_int)(("PyMemoryView_FromMemory", ctypes.pythonapi))
_WRITABLE: Final = 0x200


def view(at: int, size: int) -> memoryview:
    """A writable window on this process's own memory. Whoever asks knows how long it is there."""
    window: memoryview = _memory_view(at, size, _WRITABLE)
    return window


class Vector:
    """A `wasm_byte_vec_t` that C filled; frees it when closed."""

    def __init__(self) -> None:
        self._vector = _ffi.wasm_byte_vec_t()
        self.handle = ctypes.addressof(self._vector)

    def view(self) -> memoryview:
        """The bytes where C put them, valid until `close`."""
        if not self._vector.size:
            return memoryview(b"")
        return view(ctypes.addressof(self._vector.data.contents), self._vector.size)

    def close(self) -> None:
        """Free the bytes."""
        _bytes_delete(self.handle)


def _text(vector: Vector) -> str:
    try:
        return bytes(vector.view()).rstrip(b"\0").decode(errors="replace")
    finally:
        vector.close()


def take_error(error: int) -> str:
    """The error's message; frees it."""
    vector = Vector()
    _error_message(error, vector.handle)
    _error_delete(error)
    return _text(vector)


def take_trap(trap: int) -> tuple[int | None, str]:
    """The trap's code (None when the host made it) and its message; frees it."""
    code = ctypes.c_uint8(0)
    known = _trap_code(trap, ctypes.addressof(code))
    vector = Vector()
    _trap_message(trap, vector.handle)
    _trap_delete(trap)
    return (code.value if known else None), _text(vector)


def serialize(module: Any) -> Vector:
    """A module's compiled code where wasmtime put it: wasmtime-py would copy its hundreds of megabytes twice.

    Raises:
        MemoryError: wasmtime could not serialise it.
    """
    vector = Vector()
    if error := _module_serialize(address(module), vector.handle):
        raise MemoryError(take_error(error))
    return vector
