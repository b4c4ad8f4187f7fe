"""What a buyer's process takes to move 64 MiB through one unit, there and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from network_support import Town

TESTS = Path(__file__).parent.parent

MIB = 1 << 20

SCRIPT = """
import json, os, sys
import surge
from buyer_functions import same

def most():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

with surge.connect(sys.argv[1]) as network:
    data = os.urandom(64 << 20)
    network.submit(same, 1).result()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins anew
    before = most()
    found = list(network.map(same, [data], output=65 << 20))
    print(json.dumps([found == [data], most() - before]))
"""


def test_a_large_item_and_its_result_take_little_more_than_themselves(tmp_path: Path) -> None:
    """Beside the user's own two objects there is a copy of one of them at a time, and some pieces."""
    with Town(tmp_path, providers=1) as town:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(town.file)], cwd=TESTS, capture_output=True, text=True, timeout=60, check=True
        )
    same, grown = json.loads(done.stdout)
    assert same
    assert grown < (64 + 64 + 40) * MIB, f"{grown / MIB:.0f} MiB"
