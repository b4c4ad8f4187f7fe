"""Compiling one module, inside a worker that is already stripped.

What is compiled is checked first: it must be the module that was named, import nothing the sandbox lacks, and export
what its kind is started by. wasmtime itself checks that it is well-formed and uses only the features that are on.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

import wasmtime

from surge.sandbox import _native as native
from surge.sandbox.engine import make_engine
from surge.sandbox.host import map_file
from surge.sandbox.instance import MEMORY, PAGE
from surge.sandbox.protocol import Compile, Compiled
from surge.sandbox.wasi import abi
from surge.sandbox.wasi.imports import I64, IMPORTS

_PYTHON_EXPORTS: Final = {"turn": "ii", "host_alloc": "i"}
"""What the Python image is driven by, and its parameters."""


class Unusable(ValueError):
    """The module cannot be run here; says why to whoever sent it."""


def compile_module(request: Compile, source: int, target: int) -> Compiled:
    """Compile the module in one file into another.

    Raises:
        Unusable: it is not the module named, not a valid one, or needs what the sandbox lacks.
    """
    wasm = map_file(source)
    if hashlib.sha256(wasm).digest() != request.image:
        raise Unusable("the module's bytes are not the ones its hash names")
    if bytes(wasm[:4]) != b"\0asm":
        raise Unusable("not a WebAssembly module: it does not begin as one")
    try:
        module = wasmtime.Module(make_engine(parallel=True), bytes(wasm))
    except (wasmtime.WasmtimeError, TypeError) as wrong:
        raise Unusable(f"not a WebAssembly module this engine takes: {_one_line(wrong)}") from wrong
    _check_imports(module, python=request.python)
    minimum = _check_exports(module, python=request.python)
    code = native.serialize(module)
    try:
        rest = code.view()
        size = len(rest)
        while rest:
            rest = rest[os.write(target, rest) :]
    finally:
        code.close()
    return Compiled(size=size, minimum_memory=minimum)


def _one_line(wrong: Exception) -> str:
    return " ".join(str(wrong).split())[:500]


def _kinds(types: list[wasmtime.ValType]) -> str:
    return "".join({"i32": "i", "i64": I64}.get(str(kind), "?") for kind in types)


def _check_imports(module: wasmtime.Module, *, python: bool) -> None:
    for wanted in module.imports:
        name = f"{wanted.module}.{wanted.name}"
        if wanted.module == abi.MODULE and wanted.name in IMPORTS:
            kinds = IMPORTS[wanted.name][0]
        elif python and name == "host.call":
            kinds = "iiii"
        else:
            raise Unusable(f"it imports {name}, which the sandbox does not have; build it for WASI preview 1 (wasm32-wasip1)")
        kind = wanted.type
        results = "" if wanted.name == "proc_exit" else "i"
        if not isinstance(kind, wasmtime.FuncType) or _kinds(kind.params) != kinds or _kinds(kind.results) != results:
            raise Unusable(f"it imports {name} as {kind}, which is not its type in WASI preview 1")


def _check_exports(module: wasmtime.Module, *, python: bool) -> int:
    """Bytes of linear memory it starts with."""
    exports = {export.name: export.type for export in module.exports}
    for name, kinds in (_PYTHON_EXPORTS if python else {"_start": ""}).items():
        kind = exports.get(name)
        if not isinstance(kind, wasmtime.FuncType):
            raise Unusable(f"it has no function {name}; a command module has one, a library has not")
        if _kinds(kind.params) != kinds or (name == "_start" and kind.results):
            raise Unusable(f"its {name} takes or gives values it should not")
    memory = exports.get(MEMORY.decode())
    if isinstance(memory, wasmtime.MemoryType):
        return int(memory.limits.min) * PAGE
    return 0
