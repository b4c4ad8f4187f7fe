"""Runs units of work that nobody trusts, and says exactly how each ended.

    sandbox = Sandbox(cache, workers=2, memory=4 << 30)
    await sandbox.start()
    await sandbox.compile(module, image=sha256)
    execution = await sandbox.run_command(sha256, ["prog"], [], b"input", None, Limits(), seed)

A unit runs in a fresh WebAssembly instance, in a worker process without rights, in a world that is a function of the
unit alone; it cannot hang or harm this process. What it cost and what it gave are in the `Execution`. This room does
not know who asked, what it is paid, or where bytes came from. It is the only one that imports wasmtime, and only its
workers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surge.sandbox.execution import CompiledImage, Execution, Output
    from surge.sandbox.facade import Sandbox

__all__ = ["CompiledImage", "Execution", "Output", "Sandbox"]


def __getattr__(name: str) -> Any:
    """Load the front door when it is asked for: workers import this package too and must stay small."""
    if name == "Sandbox":
        from surge.sandbox.facade import Sandbox

        return Sandbox
    if name in __all__:
        from surge.sandbox import execution

        return getattr(execution, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
