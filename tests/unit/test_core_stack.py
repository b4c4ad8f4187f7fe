"""A stranger's JSON cannot overflow the stack, whatever bound on recursion the user's imports have left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from surge.core.stack import parse_json


def test_json_is_read() -> None:
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
    with pytest.raises(ValueError, match="Expecting value"):
        parse_json(b"<html>")


@pytest.mark.parametrize("limit", [1_000, 1_000_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_nests_beyond_reason_is_refused_and_the_bound_kept(limit: int, opening: str) -> None:
    program = f"""
import sys
from surge.core.stack import parse_json
sys.setrecursionlimit({limit})
try:
    parse_json({opening!r} * 200_000)
except ValueError as error:
    print(error, sys.getrecursionlimit())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"it is nested too deeply {limit}\n")
