"""Case files from strangers: whatever is wrong with one is said, and breaks nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from surge.buyer import bundle, casefile
from surge.buyer.auditor import outcome_bytes
from surge.buyer.casefile import Case
from surge.buyer.cases import verify_case
from surge.core import canonical
from surge.core.channels import Answered
from surge.core.network import Contract, NetworkFile, RelayAddress
from surge.core.pricing import Prices
from surge.core.receipts import Receipt, Signed, Terms
from surge.core.types import ZERO, Address
from surge.core.units import EMPTY, Limits, Outcome, Status, UnitSpec
from surge.errors import InvalidInput, Unavailable
from surge.wallet import KeySigner

NOBODY = Address("0x" + "11" * 20)
NETWORK = NetworkFile(
    "tests",
    "public",
    5,
    ("http://127.0.0.1:1",),
    Contract(NOBODY, ZERO),
    Contract(NOBODY, ZERO),
    Contract(NOBODY, ZERO),
    Contract(NOBODY, ZERO),
    (RelayAddress("nats://127.0.0.1:1", NOBODY),),
    1,
)


def case() -> Case:
    """A case that is well formed."""
    device = KeySigner.random()
    receipt = Receipt(1, device.address, NOBODY, ZERO, 0, ZERO, ZERO, 5, 5, 5)
    return Case(
        network=NETWORK,
        terms=Terms(ZERO, ZERO, ZERO, ZERO, Prices(1, 1, 1, 1, 1), 1, 1, 1),
        signed=Signed(receipt, device.sign(receipt.digest(NETWORK.channels_domain))),
        answer=Answered(0, 0, True, 5, ZERO),
        count=1,
        root=ZERO,
        path=(),
        unit=UnitSpec("surge-world/1", ZERO, ZERO, ZERO, b"", b"", ZERO, Limits(1 << 20, 10**9, 1000, 1000, 10), ZERO),
        outcome=outcome_bytes(Outcome(Status.FINISHED, 0, EMPTY, EMPTY, EMPTY, (), b"", 5)),
    )


def outcome(*fields: Any) -> str:
    """An outcome's text."""
    return "0x" + canonical.encode(list(fields)).hex()


PART = [ZERO, 1]
ODD: dict[str, tuple[tuple[str, ...], Any]] = {
    "an index beyond 256 bits": (("acknowledgement", "index"), 1 << 300),
    "an amount beyond 256 bits": (("acknowledgement", "amount"), 1 << 300),
    "a count beyond 256 bits": (("proof", "count"), 1 << 300),
    "an outcome that is none": (("outcome",), "0xffff"),
    "an ending that is none": (("outcome",), outcome(99, 0, PART, PART, PART, [], b"")),
    "a size that is text": (("outcome",), outcome(0, 0, [ZERO, "x"], PART, PART, [], b"")),
    "a size that is a list": (("outcome",), outcome(0, 0, [ZERO, []], PART, PART, [], b"")),
    "a state that is a number": (("outcome",), outcome(0, 0, PART, PART, PART, [], 1 << 50)),
    "files that are a number": (("outcome",), outcome(0, 0, PART, PART, PART, 5, b"")),
    "a signature over the terms that is too short": (("terms_signature",), "0x11"),
    "a signature over the terms that is a number": (("terms_signature",), 5),
    "a network that is a list": (("network",), []),
    "contents that are a list": (("contents",), []),
}


def test_a_case_is_read_as_it_was_written() -> None:
    made = case()
    assert casefile.decode(casefile.encode(made)) == made


@pytest.mark.parametrize(("place", "value"), ODD.values(), ids=ODD.keys())
def test_a_case_file_with_odd_fields_is_refused(place: tuple[str, ...], value: Any) -> None:
    document = at = json.loads(casefile.encode(case()))
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    with pytest.raises(InvalidInput):
        casefile.decode(json.dumps(document).encode())


def test_a_case_file_that_nests_beyond_reason_is_refused_whatever_the_bound_on_recursion() -> None:
    program = """
import sys
from surge.buyer import casefile
from surge.errors import InvalidInput
sys.setrecursionlimit(1_000_000)
try:
    casefile.decode(b"[" * 200_000)
except InvalidInput as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "nested too deeply" in done.stdout) == (0, True)


def test_a_file_that_nests_beyond_reason_is_shipped_like_any_other(tmp_path: Path) -> None:
    odd = tmp_path / "odd.json"
    odd.write_text('{"":' * 2000)
    assert not bundle._holds_key(odd)


def test_a_port_on_which_nobody_listens_is_said_soon(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_bytes(casefile.encode(case()))
    began = time.monotonic()
    with pytest.raises(Unavailable, match=re.escape("http://127.0.0.1:1 does not answer (nobody listens there)")):
        verify_case(path, ["http://127.0.0.1:1"])
    assert time.monotonic() - began < 5
