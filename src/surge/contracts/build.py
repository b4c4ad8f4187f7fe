"""Compile the contracts: `python -m surge.contracts.build`. Needs vyper and snekmate, which only developers have."""

# SPDX-License-Identifier: AGPL-3.0-only

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from surge.contracts import NAMES

ROOT = Path(__file__).parent


def build(name: str) -> dict[str, Any]:
    """What `name`.vy compiles to. The bytes do not depend on where the sources lie."""
    import snekmate
    from vyper.compiler import compile_from_file_input
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.compiler.settings import Settings

    site = Path(next(iter(snekmate.__path__))).parent  # snekmate is a namespace package and has no __file__
    bundle = FilesystemInputBundle([site, ROOT])
    output = compile_from_file_input(
        bundle.load_file(f"{name}.vy"),
        input_bundle=bundle,
        settings=Settings(evm_version="cancun"),  # optimised for gas, where a source does not ask for another way
        output_formats=["abi", "bytecode", "bytecode_runtime"],
    )
    return {"abi": output["abi"], "bytecode": output["bytecode"], "runtime": output["bytecode_runtime"]}


def main() -> None:
    """Write every contract's JSON."""
    for name in NAMES:
        text = json.dumps(build(name), separators=(",", ":"), sort_keys=True)
        (ROOT / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
