"""The engine: wasmtime's version and settings, which together with the instruction set decide what compiled code is.

Importing this module does not load wasmtime: the parent of the workers needs only the engine's identity.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from surge.core.canonical import digest
from surge.errors import InternalFault

if TYPE_CHECKING:
    import wasmtime

WASMTIME: Final = "49.0.0"
"""The wasmtime release whose fuel counts and traps a unit's result stands on."""

WASM_STACK: Final = 8 << 20
"""Bytes of stack a guest may use; below 4 MiB CPython's own recursion guard comes too late."""

THREAD_STACK: Final = WASM_STACK + (4 << 20)
"""Bytes of stack of the thread that runs guests: more than theirs, or deep recursion kills the process."""

SETTINGS: Final[dict[str, bool | int | str]] = {
    "consume_fuel": True,
    "epoch_interruption": True,
    "max_wasm_stack": WASM_STACK,
    "cranelift_nan_canonicalization": True,
    "cranelift_opt_level": "speed",
    "wasm_relaxed_simd_deterministic": True,
    "wasm_threads": False,
    "shared_memory": False,
    # One 32-bit memory per guest, and no heap but that memory: what a unit may take is then one number.
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    # The Python image unwinds with exceptions.
    "wasm_exceptions": True,
}
"""Properties of wasmtime's Config, by name. Any change makes another engine."""


def instruction_set() -> str:
    """Name this machine's instruction set as the engine's identity names it."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def identity() -> bytes:
    """32 bytes: two engines with the same identity give the same results and the same fuel."""
    return digest(["wasmtime", WASMTIME, sorted(SETTINGS.items()), instruction_set()])


def label() -> str:
    """The identity for people, such as `wasmtime-49.0.0 x86_64 1f2e3d4c`."""
    return f"wasmtime-{WASMTIME} {instruction_set()} {identity().hex()[:8]}"


def check_installed() -> None:
    """Check that the engine installed is the one results are defined by.

    Raises:
        InternalFault: it is another release, or there is none.
    """
    from importlib import metadata

    try:
        found = metadata.version("wasmtime")
    except metadata.PackageNotFoundError as missing:
        raise InternalFault(f"wasmtime is not installed: pip install wasmtime=={WASMTIME}") from missing
    if found != WASMTIME:
        raise InternalFault(f"wasmtime {found} is installed, and results are defined by {WASMTIME}", found=found)


def make_engine(*, parallel: bool = False) -> wasmtime.Engine:
    """The engine, loading wasmtime. `parallel` compiles on every core; the compiled code is the same."""
    import wasmtime
    from wasmtime import _ffi

    config = wasmtime.Config()
    # Raised first, or an engine with more than 2 MiB of guest stack aborts the process.
    _ffi.wasmtime_config_async_stack_size_set(config.ptr(), WASM_STACK)
    for name, value in SETTINGS.items():
        setattr(config, name, value)
    config.parallel_compilation = parallel
    return wasmtime.Engine(config)
