"""`make bench`: every measurement in one run, as one table, kept under `benchmarks/results/`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import audits, challenges, disputes, economies, files, gas, networks, receipts, rows, sandboxes
from surge.cli.image import ensure_image

PARTS = {
    "receipts": receipts.measure,
    "economies": economies.measure,
    "audits": audits.measure,
    "gas": gas.measure,
    "challenges": challenges.measure,
    "sandboxes": sandboxes.measure,
    "disputes": disputes.measure,
    "files": files.measure,
    "networks": networks.measure,
}
"""What is measured, in this order."""


def main() -> None:
    """Measure the parts named, or all of them; only a run of all of them is kept."""
    networks.environment()
    ensure_image()
    wanted = sys.argv[1:] or list(PARTS)
    found = []
    for name in wanted:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        for row in PARTS[name]():
            print(f"  {row.measure}: {rows.figure(row.value)} {row.unit}", file=sys.stderr, flush=True)
            found.append(row)
    rows.show(found)
    if wanted == list(PARTS):
        rows.keep(found, Path(__file__).parent / "results")


if __name__ == "__main__":
    main()
