"""Memory that a provider freed stays with it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from surge.provider.memory import keep_freed

kept = {kept} and keep_freed()
blocks = [bytearray(1 << 19) for _ in range(4)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    blocks.clear()
    blocks += [bytearray(1 << 19) for _ in range(4)]
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, kept: bool) -> tuple[bool, int]:
    """Whether the allocator was told, and pages that were touched for the first time while blocks came and went."""
    done = subprocess.run([sys.executable, "-c", FAULTS.format(kept=kept)], capture_output=True, text=True, check=True, timeout=60)
    told, count = done.stdout.split()
    return told == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_what_was_freed_is_used_again_and_not_given_back() -> None:
    told, few = faults(kept=True)
    _, many = faults(kept=False)
    assert told
    assert few < 2000 < many, "200 times two megabytes are 100,000 pages"
